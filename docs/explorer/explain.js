/* What a number has to do with the others: the sum that makes it, written out, and what takes part in it.
 *
 * `number` gives {html, hot, here, window, column}: the text, the numbers to mark and to frame as [letter, index], and with
 * im2col the window of x to outline (an index into y) and the column to mark.
 */
(function (root) {
"use strict";
const { Conv, Settings, Figure, View } = root;
const { range, split } = Conv;
const { text, factor } = Figure;
const { NAMES, sameShape } = View;
const SLOTS = ["a", "b", "c"];
const list = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const title = (name, value, more = "") => `<p class="title"><b>${name}${value === "" ? "" : ` = ${value}`}</b> ${more}</p>`;

/* `scene` is {state, view, parts}: parts are the drawn tensors by letter. */
function number(scene, letter, index) {
  const found = explain(scene, letter, index);
  return { hot: [], here: [[letter, index]], window: null, column: null, ...found };
}

function explain(scene, letter, index) {
  const { state, view, parts } = scene;
  if (view.covered) return { html: `${title(parts.get(letter).name(index), "")}<p>Choose an answer above first.</p>` };
  if (letter === "z") return mixed(scene, index);
  if (letter === "cover") return pixel(scene, index, null);
  if (letter === "col") return columnEntry(scene, index);
  if (letter === "wrong" && !sameShape(view.wrong, view.result))
    return { html: title(`${parts.get(letter).name(index)} with the mistake`, text(view.wrong.data[index])) };
  const { mode } = view;
  const slot = letter === "wrong" ? mode.result : SLOTS.find((each) => mode[each] === letter);
  if (state.mode === "im2col" && slot === "c") return pixel(scene, index % Conv.count(state.n), index);
  const products = productsWith(view.call, slot, index);
  const hot = products.flatMap((product) =>
    SLOTS.filter((other) => other !== slot).map((other) => [mode[other], product[other]]),
  );
  return {
    html: slot === mode.result ? sum(scene, letter, index, products) : reach(scene, letter, index, products),
    hot,
    here: [[letter, index], [mode[slot], index]],
    window: slot === "a" ? index : null,
    column: slot === "a" && state.mode === "im2col" ? index % Conv.count(view.windows) : null,
  };
}

/* All products {a, b, c} whose `slot` has this index. They are products of its own output or input channel. */
function productsWith(call, slot, index) {
  const found = [];
  const [own] = split(index, { a: call.gradOutput, b: call.weight, c: call.x }[slot].shape);
  const visit = (a, b, c) => {
    const product = { a, b, c };
    if (product[slot] === index) found.push(product);
  };
  const wanted = (output, input) => (slot === "c" ? input : output) === own;
  Conv.forEachProduct(call, call.gradOutput.shape.slice(1), visit, wanted);
  return found;
}

function sum(scene, letter, index, products) {
  const { view, parts } = scene;
  const name = parts.get(view.mode.name).name(index);
  const more =
    letter === "wrong"
      ? `<span class="bad">with the mistake ${text(view.wrong.data[index])}</span>`
      : `<span>the sum of ${plural(products.length, "product")}</span>`;
  return title(name, text(view.result.data[index]), more) + lines(view, products) + leftOut(view, products.length);
}

/* The products in lines: those of y by input channel, of dx by output channel, of dw by row of the output. */
function lines({ call, mode }, products) {
  const x = ({ c }) => call.x.data[c];
  const w = ({ b }) => call.weight.data[b];
  const g = ({ a }) => call.gradOutput.data[a];
  const [one, other, label] = {
    y: [w, x, ({ c }) => `x${split(c, call.x.shape)[0]}`],
    dx: [g, w, ({ a }) => `g${split(a, call.gradOutput.shape)[0]}`],
    dw: [g, x, ({ a }) => `row ${split(a, call.gradOutput.shape)[1]}`],
  }[mode.name];
  const rows = new Map();
  for (const product of products) rows.set(label(product), [...(rows.get(label(product)) || []), product]);
  return table([...rows].map(([head, row]) => [head, row.map((product) => [one(product), other(product)])]));
}

/* Rows of [head, [[factor, factor], ...]], each with its sum. */
function table(rows) {
  if (!rows.length) return "";
  const body = rows.map(([head, pairs]) => {
    const terms = pairs.map(([one, other]) => `${factor(one)}·${factor(other)}`).join(" + ");
    const total = pairs.reduce((sum, [one, other]) => sum + one * other, 0);
    return `<tr><th scope="row">${head}</th><td>${terms}</td><td class="sub">= ${text(total)}</td></tr>`;
  });
  return `<table><tbody>${body.join("")}</tbody></table>`;
}

function leftOut({ call, mode }, products) {
  const missing = Conv.count(call.weight.shape.slice(1)) - products;
  const note = {
    y: missing && `${plural(missing, "tap")} of the window ${missing === 1 ? "lies" : "lie"} on the padding, where x is 0.`,
    dx: !products && "No window reads this pixel, so its gradient is 0.",
    dw: !products && "This tap sees padding alone, so its gradient is 0.",
  }[mode.name];
  return note ? `<p class="note">${note}</p>` : "";
}

/* What an operand takes part in. */
function reach({ state, view, parts }, letter, index, products) {
  const { mode, result } = view;
  const part = parts.get(letter);
  const head = title(part.name(index), text(part.data[index]));
  if (!products.length) return `${head}<p>No window reads it: it takes part in no product.</p>`;
  const reached = [...new Set(products.map((product) => product[mode.result]))];
  const channels = [...new Set(reached.map((each) => split(each, result.shape)[0]))].sort((one, other) => one - other);
  const where = { y: "in y", dx: "in dx", dw: "in the filters of y" }[mode.name];
  const further = state.mix && mode.name === "y" ? " Through the 1×1 it reaches all channels of z." : "";
  return (
    `${head}<p>It takes part in ${plural(products.length, "product")} and reaches ${reached.length} of ` +
    `${result.data.length} numbers of ${NAMES[mode.name]}, ${where}${list(channels.map(String))}.${further}</p>`
  );
}

/* A number of z, the output of the 1x1. */
function mixed({ state, view }, index) {
  const after = Settings.mixing(state, view.y);
  const pairs = [];
  const hot = [];
  Conv.forEachProduct(after, view.windows, (a, b, c) => {
    if (a !== index) return;
    pairs.push([after.weight.data[b], view.y.data[c]]);
    hot.push(["y", c]);
  });
  const name = `z[${split(index, view.y.shape).join(", ")}]`;
  const head = title(name, text(view.call.z.data[index]), "<span>every output channel takes part</span>");
  return { html: head + table([["y", pairs]]), hot };
}

/* --- im2col ---------------------------------------------------------------------------------------------------------- */

/* A window, by its number: the column that its pixels become. */
function window({ state, view, parts }, position) {
  const columns = view.windows[1];
  const [p, q] = [Math.floor(position / columns), position % columns];
  const index = ((state.block * state.co) / state.g) * Conv.count(view.windows) + position;
  return {
    html:
      title(`Window ${position}`, "", `<span>row ${p}, column ${q} of y</span>`) +
      `<p>Its ${parts.get("col").shape[0]} pixels are column ${position}, channel after channel and row after row, with 0 for ` +
      `the padding. W times this column gives y[·, ${p}, ${q}].</p>`,
    hot: productsWith(view.call, "a", index).map(({ c }) => ["x", c]),
    here: [],
    window: index,
    column: position,
  };
}

/* A pixel, of one channel (`index` into x) or of all (null): the entries of the columns that are its copies. */
function pixel({ state, view, parts }, at, index) {
  const pixels = Conv.count(state.n);
  const numbered = { shape: view.call.x.shape, data: range(view.call.x.data.length).map((each) => each + 1) };
  const copies = [];
  Conv.im2col({ ...view.call, x: numbered }).data.forEach((copied, entry) => {
    if (copied && (index === null ? (copied - 1) % pixels === at : copied - 1 === index)) copies.push(["col", entry]);
  });
  const x = parts.get("x");
  const maps = index === null ? range(x.shape[0]).map((c) => ["x", x.offset + c * pixels + at]) : [["x", index]];
  const name = index === null ? `Pixel [${split(at, state.n).join(", ")}]` : x.name(index);
  const reads = parts.get("cover").data[at];
  return {
    html:
      title(name, index === null ? "" : text(x.data[index])) +
      `<p>${plural(reads, "tap")} of all windows ${reads === 1 ? "reads" : "read"} it: im2col copies it ` +
      `${plural(reads, "time")}, and col2im adds ${plural(reads, "value")} to it.</p>`,
    hot: [...copies, ...maps, ["cover", at]],
    here: [index === null ? ["cover", at] : ["x", index]],
  };
}

function columnEntry({ state, view, parts }, index) {
  const part = parts.get("col");
  const [row, position] = split(index, [Infinity, part.shape[1]]);
  const [c, i, j] = split(row, [Infinity, ...state.k]);
  const [p, q] = split(position, view.windows);
  const [y, x] = [Conv.pixelUnder(view.call, 0, p, i), Conv.pixelUnder(view.call, 1, q, j)];
  const inside = y >= 0 && y < state.n[0] && x >= 0 && x < state.n[1];
  return {
    html:
      title(part.name(index), text(part.data[index])) +
      `<p>Row ${row} is tap [${i}, ${j}] on channel x${c}; column ${position} is the window of y[·, ${p}, ${q}]. ` +
      `There is ${inside ? `x[${c}, ${y}, ${x}]` : "padding"}.</p>`,
    hot: inside ? [["x", (c * state.n[0] + y) * state.n[1] + x]] : [],
    window: ((state.block * state.co) / state.g) * Conv.count(view.windows) + position,
    column: position,
  };
}

root.Explain = { number, window, list, plural };
})(globalThis);
