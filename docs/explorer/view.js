/* What is shown of a state: the numbers that are computed (`compute`), the panels that show them (`panels`), and where the
 * panels stand (`layOut`). */
(function (root) {
"use strict";
const { Conv, Mistakes, Settings, CATALOGUE, Figure } = root;
const { range, split } = Conv;
const size = (shape) => shape.join(" × ");

/* A product is y[a] += w[b] · x[c]. For each mode: the letters that are shown for a, b and c, and which of the three is the
 * result; `name` is the result's. */
const MODES = {
  forward: { a: "y", b: "w", c: "x", result: "a", name: "y", formula: "y[a] += w[b] · x[c]" },
  im2col: { a: "y", b: "w", c: "x", result: "a", name: "y", formula: "y = W · columns" },
  dx: { a: "g", b: "w", c: "dx", result: "c", name: "dx", formula: "dx[c] += g[a] · w[b]" },
  dw: { a: "g", b: "dw", c: "x", result: "b", name: "dw", formula: "dw[b] += g[a] · x[c]" },
};
const NAMES = { y: "y", dx: "dX", dw: "dW" }; // of results, in sentences

const sameShape = (one, other) => one.shape.join() === other.shape.join();
const sameNumber = (one, other) => Object.is(one + 0, other + 0); // -0 is 0, NaN is NaN
const sameNumbers = (one, other) =>
  sameShape(one, other) && one.data.every((value, index) => sameNumber(value, other.data[index]));

function chosenMistake(state) {
  if (state.puzzle) return CATALOGUE[Settings.hash(state.puzzle) % CATALOGUE.length];
  return CATALOGUE.find((entry) => entry.name === state.mistake) || null;
}

/* Whether a mistake makes the result of the mode wrong at these settings. */
function shows(mistake, state) {
  const { name } = MODES[state.mode];
  const call = Settings.call(state);
  return mistake.results.includes(name) && !sameNumbers(Mistakes.wrong(mistake.name, call, name), Conv.result(call, name));
}

/* All numbers of a state. `covered`: the results are not shown, because a question about them is open. */
function compute(state, covered) {
  const call = Settings.call(state);
  const mode = MODES[state.mode];
  const view = { call, mode, covered, y: Conv.forward(call), dx: Conv.inputGradient(call), dw: Conv.weightGradient(call) };
  view.windows = Conv.outputSize(call);
  view.empty = Conv.count(view.windows) === 0;
  view.result = view[mode.name];
  view.mistake = state.do === "mistake" ? chosenMistake(state) : null;
  view.wrong =
    view.mistake && !view.empty && view.mistake.results.includes(mode.name)
      ? Mistakes.wrong(view.mistake.name, call, mode.name)
      : null;
  return view;
}

/* --- panels: what figure.js draws, and for each part `letter`, `data`, and the `name` of the number at a flat index --- */

/* Maps of channels; `first` is the number of the first one, `perGroup` how many make a group. */
function maps(letter, tensor, perGroup, title, more = {}) {
  const first = more.first || 0;
  const symbol = more.symbol || letter;
  return {
    kind: "maps",
    letter,
    ...tensor,
    offset: 0,
    group: (c) => Math.floor((first + c) / perGroup),
    label: (c) => `${symbol}${first + c}`,
    name: (index) => `${symbol}[${split(index, [Infinity, ...tensor.shape.slice(1)]).join(", ")}]`,
    title,
    note: size(tensor.shape),
    ...more,
  };
}

/* The weight or its gradient, as a matrix of kernels; names count the input channels through all groups. */
function kernels(letter, tensor, state, title, more = {}) {
  const group = (o) => Math.floor(o / (state.co / state.g));
  return {
    kind: "kernels",
    letter,
    ...tensor,
    channels: state.ci,
    group,
    name: (index) => {
      const [o, c, i, j] = split(index, tensor.shape);
      return `${letter === "wrong" ? "dw" : letter}[${o}, ${(group(o) * state.ci) / state.g + c}, ${i}, ${j}]`;
    },
    title,
    note: size(tensor.shape),
    ...more,
  };
}

function panels(state, view) {
  if (state.mode === "im2col") return im2colPanels(state, view);
  const { call, mode, wrong } = view;
  const ins = state.ci / state.g;
  const outs = state.co / state.g;
  const x = maps("x", call.x, ins, "x, the input");
  const w = kernels("w", call.weight, state, "w, the weight");
  if (view.empty) return [x, w];
  const g = maps("g", call.gradOutput, outs, state.mix ? "g, from the loss behind the 1×1" : "g, the upstream gradient");
  const bad = { wrong: true, symbol: mode.name };
  const title = `${NAMES[mode.name]} with the mistake`;
  if (mode.name === "dw") {
    const mistaken = wrong ? [kernels("wrong", wrong, state, title, bad)] : [];
    return [x, kernels("dw", view.dw, state, "dW, the gradient of w", { result: true }), ...mistaken, g];
  }
  if (mode.name === "dx") {
    const mistaken = wrong ? [maps("wrong", wrong, ins, title, bad)] : [];
    return [...mistaken, maps("dx", view.dx, ins, "dX, the gradient of x", { result: true }), w, g];
  }
  const mistaken = wrong ? [maps("wrong", wrong, outs, title, bad)] : [];
  const mixed = state.mix ? [maps("z", call.z, outs, "z, after the 1×1", { group: () => "none" })] : [];
  return [x, w, maps("y", view.y, outs, "y, the output", { result: true }), ...mistaken, ...mixed];
}

/* The image and the matrices of one group. */
function im2colPanels(state, view) {
  const { call } = view;
  const ins = state.ci / state.g;
  const outs = state.co / state.g;
  const first = state.block * ins;
  const offset = first * Conv.count(state.n);
  const x = { ...maps("x", call.x, ins, "x: drag the window", { first, offset }), shape: [ins, ...state.n] };
  x.note = size(x.shape);
  if (view.empty) return [x];
  const cover = { ...Conv.cover(call, view.windows) };
  cover.shape = [1, ...cover.shape];
  const counts = maps("cover", cover, ins, "col2im(im2col(ones))", { group: () => "none", label: () => "", note: "" });
  counts.name = (index) => `how often pixel [${split(index, state.n).join(", ")}] is read`;
  const columns = Conv.im2col(call);
  const length = ins * state.k[0] * state.k[1];
  const positions = Conv.count(view.windows);
  const part = (letter, title, shape, data, offset, name) => ({ letter, title, shape, data, offset, name });
  const weights = part(
    "w",
    "W",
    [outs, length],
    call.weight.data,
    state.block * outs * length,
    kernels("w", call.weight, state).name,
  );
  const entries = part(
    "col",
    "columns",
    [length, positions],
    columns.data,
    state.block * length * positions,
    (index) => `columns[${split(index, columns.shape).join(", ")}]`,
  );
  const y = part("y", "y", [outs, positions], view.y.data, state.block * outs * positions, maps("y", view.y, outs).name);
  const matmul = {
    kind: "matmul",
    shownGroup: state.block,
    weights,
    columns: entries,
    outputs: y,
    parts: [weights, entries, y],
    title: state.g > 1 ? `W · columns = y in group ${state.block}` : "W · columns = y",
    note: `(${size([outs, length])}) · (${size([length, positions])})`,
  };
  return [x, counts, matmul];
}

/* The place of each panel and the size of its cells, [placed, cell]: all panels side by side where that leaves them readable,
 * else below each other. im2col has the image and the counts on the left, the matrices on the right. */
function layOut(shown, narrow, width, height, rem) {
  const alone = (panel, across, down, largest) => {
    const { placed, cell } = Figure.fit([panel], across, down, 12);
    return [placed[0], Math.min(largest, Math.max(17, cell))];
  };
  if (!narrow && shown.at(-1).kind === "matmul") {
    const side = Math.max(11 * rem, width * 0.2);
    const left = [0, 1].map((at) => alone(shown[at], side, height * [0.6, 0.32][at], 40));
    return { together: true, panels: [...left, alone(shown[2], width - side - 3 * rem, height, 58)] };
  }
  if (!narrow) {
    const { placed, cell } = Figure.fit(shown, width, height, 2.4 * rem * shown.length);
    if (cell >= 15) return { together: true, panels: placed.map((each) => [each, Math.min(58, cell)]) };
  }
  return { together: false, panels: shown.map((panel) => alone(panel, width, Math.max(height, innerHeight * 0.6), 44)) };
}

root.View = { MODES, NAMES, size, sameShape, sameNumber, sameNumbers, shows, compute, panels, layOut };
})(globalThis);
