/* The state of the page, and its address: everything that can be set is in the part of the address behind the #.
 *
 *     ci, co, g     input channels, output channels, groups
 *     n, k, s, d    rows x columns of the image, of the kernel, of the stride, of the dilation
 *     p             padding: top, bottom, left, right
 *     seed          which numbers x, weight and g get
 *     e             edited numbers: x.0.1.2_7 is x[0, 1, 2] = 7; weights are w.output.input.row.column
 *     u             disturbed groups: x.1_2 changes x in group 1 for the second time
 *     mix           1 if a 1x1 convolution and a loss follow
 *     mode          forward, dx, dw, im2col; `block` is the group that im2col shows
 *     do            predict (with `task`), or mistake (with `mistake`, a name, or `puzzle`, a number)
 */
(function (root) {
"use strict";
const Conv = root.Conv || require("./conv.js");
const CATALOGUE = root.CATALOGUE || require("./catalogue.js");

const MODES = ["forward", "dx", "dw", "im2col"];
const DEFAULTS = {
  mode: "forward",
  ci: 4,
  co: 4,
  g: 2,
  n: [5, 5],
  k: [3, 3],
  s: [1, 1],
  p: [1, 1, 1, 1],
  d: [1, 1],
  seed: 1,
  mix: 0,
  block: 0,
  do: "",
  task: 1,
  mistake: "",
  puzzle: 0,
  edits: {},
  disturbed: {},
};
const LIMITS = {
  ci: [1, 8],
  co: [1, 8],
  g: [1, 8],
  n: [1, 8],
  k: [1, 3],
  s: [1, 3],
  p: [-1, 3],
  d: [1, 3],
  seed: [1, 9999],
  mix: [0, 1],
  block: [0, 7],
  task: [1, 12],
  puzzle: [0, 9999],
};
const SEPARATOR = { n: "x", k: "x", s: "x", d: "x", p: "," };
const WORDS = { mode: MODES, do: ["", "predict", "mistake"] };

const fresh = () => ({ ...DEFAULTS, edits: {}, disturbed: {} });

function commonDivisors(one, other) {
  return [1, 2, 3, 4, 5, 6, 7, 8].filter((divisor) => one % divisor === 0 && other % divisor === 0);
}

/* --- the numbers ------------------------------------------------------------------------------------------------- */

/* A pseudo-random integer from 0 to 2^32 - 1 that depends on all arguments. */
function hash(...numbers) {
  let h = 0x9e3779b9;
  for (const number of numbers) {
    h = Math.imul(h ^ (number + 0x7f4a7c15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h ^= h >>> 16;
  }
  return h >>> 0;
}

const CHOICES = { x: [0, 1, 2, 3, 4, 5, -1, -2, -3], w: [1, 2, 3, -1, -2, -3], g: [1, 2, 3, -1, -2, -3] };
const LETTERS = { x: 1, w: 2, g: 3, m: 4 };

/* A number of x, w or g at an index; those of w count input channels through all groups, so that a weight keeps its
 * number when the number of groups changes. */
function number(state, letter, group, ...index) {
  const key = `${letter}.${index.join(".")}`;
  if (key in state.edits) return state.edits[key];
  const draw = hash(state.seed, LETTERS[letter], ...index);
  const times = state.disturbed[`${letter}.${group}`] || 0;
  const steps = [1, 2, 3, -1, -2];
  let value = CHOICES[letter][draw % CHOICES[letter].length];
  for (let time = 1; time <= times; time++) value += steps[hash(draw, time) % steps.length];
  return value;
}

function build(shape, value) {
  return { shape, data: Conv.range(Conv.count(shape)).map((position) => value(...Conv.split(position, shape))) };
}

function window(state) {
  const [top, bottom, left, right] = state.p;
  return { stride: state.s, dilation: state.d, padding: [[top, bottom], [left, right]], groups: state.g };
}

/* The 1x1 convolution that follows if `mix` is set, as a call; its weights are 1 and -1. */
function mixing(state, y) {
  const weight = build([state.co, state.co, 1, 1], (o, c) => (hash(LETTERS.m, o, c) % 2 ? 1 : -1));
  return { x: y, weight, stride: [1, 1], dilation: [1, 1], padding: [[0, 0], [0, 0]], groups: 1 };
}

/* What the page computes with: x, weight, gradOutput and the window; with `mix` also z, the output of the 1x1. Then
 * gradOutput is the gradient of the loss ½·(sum of the squares of z), whose gradient with respect to z is z. */
function call(state) {
  const ins = state.ci / state.g;
  const outs = state.co / state.g;
  const group = (o) => Math.floor(o / outs);
  const made = {
    ...window(state),
    x: build([state.ci, ...state.n], (c, i, j) => number(state, "x", Math.floor(c / ins), c, i, j)),
    weight: build([state.co, ins, ...state.k], (o, c, i, j) =>
      number(state, "w", group(o), o, group(o) * ins + c, i, j),
    ),
  };
  if (state.mix) {
    const after = mixing(state, Conv.forward(made));
    made.z = Conv.forward(after);
    made.gradOutput = Conv.inputGradient({ ...after, gradOutput: made.z });
  } else {
    made.gradOutput = build([state.co, ...Conv.outputSize(made)], (o, p, q) => number(state, "g", group(o), o, p, q));
  }
  return made;
}

/* --- the address ------------------------------------------------------------------------------------------------- */

function numbers(name, text) {
  const parts = SEPARATOR[name] ? text.split(SEPARATOR[name]) : [text];
  const expected = Array.isArray(DEFAULTS[name]) ? DEFAULTS[name].length : 1;
  const [low, high] = LIMITS[name];
  const values = parts.map((part) => (/^-?\d{1,4}$/.test(part) ? Number(part) : NaN));
  if (values.length !== expected || !values.every((value) => value >= low && value <= high)) return null;
  return expected === 1 ? values[0] : values;
}

const EDIT = /^([xwg](?:\.\d){3,4})_(-?\d{1,3})$/;
const DISTURBED = /^([xwg]\.\d)_(\d{1,2})$/;

function entries(pattern, text, what, notes) {
  const found = {};
  for (const entry of text.split("~")) {
    const match = pattern.exec(entry);
    if (match) found[match[1]] = Number(match[2]);
    else notes.push(`“${entry}” is no ${what}.`);
  }
  return found;
}

/* Make the parts of a state fit each other; say what was changed. */
function normalise(state) {
  const notes = [];
  const divisors = commonDivisors(state.ci, state.co);
  if (!divisors.includes(state.g)) {
    const nearest = divisors.filter((divisor) => divisor <= state.g).pop();
    notes.push(
      `${state.g} groups cannot share ${state.ci} input and ${state.co} output channels evenly: G is ${nearest} now.`,
    );
    state.g = nearest;
  }
  state.block = Math.min(state.block, state.g - 1);
  const output = Conv.outputSize({
    ...window(state),
    x: { shape: [state.ci, ...state.n] },
    weight: { shape: [state.co, state.ci / state.g, ...state.k] },
  });
  const shapes = {
    x: [state.ci, ...state.n],
    w: [state.co, state.ci, ...state.k],
    g: [state.co, ...output],
  };
  for (const key of Object.keys(state.edits)) {
    const [letter, ...index] = key.split(".");
    const fits = index.length === shapes[letter].length && index.every((at, axis) => at < shapes[letter][axis]);
    if (fits) continue;
    notes.push(`There is no number ${letter}[${index.join(", ")}] at these settings.`);
    delete state.edits[key];
  }
  return notes;
}

/* The state that an address asks for, and notes on what it asks for in vain. */
function read(address) {
  const state = fresh();
  const notes = [];
  for (const [name, text] of new URLSearchParams(address)) {
    if (name in LIMITS) {
      const value = numbers(name, text);
      if (value === null) notes.push(`${name}=${text} is not possible here; the page uses its usual value.`);
      else state[name] = value;
    } else if (name in WORDS) {
      if (WORDS[name].includes(text)) state[name] = text;
      else notes.push(`${name}=${text} is unknown.`);
    } else if (name === "mistake") {
      if (CATALOGUE.some((entry) => entry.name === text)) state.mistake = text;
      else notes.push(`There is no mistake called “${text}”.`);
    } else if (name === "e") {
      state.edits = entries(EDIT, text, "edited number", notes);
    } else if (name === "u") {
      state.disturbed = entries(DISTURBED, text, "disturbed group", notes);
    }
  }
  notes.push(...normalise(state));
  return { state, notes };
}

/* The address of a state: what differs from the defaults. */
function write(state) {
  const parts = [];
  const add = (name, text) => parts.push(`${name}=${encodeURIComponent(text).replace(/%2C/g, ",")}`);
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const value = state[name];
    if (name === "edits" || name === "disturbed") continue;
    const text = Array.isArray(value) ? value.join(SEPARATOR[name]) : String(value);
    const usualText = Array.isArray(usual) ? usual.join(SEPARATOR[name]) : String(usual);
    if (text !== usualText) add(name, text);
  }
  for (const [name, found] of [["e", state.edits], ["u", state.disturbed]]) {
    const text = Object.entries(found).map(([key, value]) => `${key}_${value}`);
    if (text.length) add(name, text.join("~"));
  }
  return parts.join("&");
}

const Settings = { MODES, LIMITS, fresh, commonDivisors, hash, call, mixing, normalise, read, write };
root.Settings = Settings;
if (typeof module !== "undefined") module.exports = Settings;
})(globalThis);
