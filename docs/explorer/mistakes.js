/* What a convolution computes that makes one of the mistakes of npresnext.testing.mistakes.
 *
 * As there, a mistake goes wrong in one or more of three steps: `change` is a wrong reading of the call, `compute` a wrong
 * sum, `finish` a wrong writing of the result. The names are those of the catalogue (catalogue.js has the sentences).
 */
(function (root) {
"use strict";
const Conv = root.Conv || require("./conv.js");

const MISTAKES = {};

/* The result y, dx or dw of a convolution that makes the mistake of this name; NaN is memory that was never written. */
function wrong(mistakeName, call, name) {
  const mistake = MISTAKES[mistakeName];
  const changed = mistake.change ? mistake.change(call, name) : call;
  const result = mistake.compute ? mistake.compute(changed) : Conv.result(changed, name);
  return mistake.finish ? mistake.finish(result, changed, name) : result;
}

const { range } = Conv;
const sum = (pair) => pair[0] + pair[1];
const modulo = (value, size) => ((value % size) + size) % size;

/* Indices (c, i, j) or (o, c, i, j) of the numbers of a tensor, in the order of its memory. */
const indices = (shape) => range(Conv.count(shape)).map((position) => Conv.split(position, shape));

const flat = (index, shape) => index.reduce((position, at, axis) => position * shape[axis] + at, 0);

/* A tensor of the same shape with other numbers: change(number, index). */
function map(tensor, change) {
  const where = indices(tensor.shape);
  return { shape: tensor.shape, data: tensor.data.map((value, position) => change(value, where[position])) };
}

const outputsPerGroup = (call) => call.weight.shape[0] / call.groups;
const groupOf = (call, o) => Math.floor(o / Math.max(1, outputsPerGroup(call)));

/* --- orders of the weight: source(index, shape, call) is the index in memory that is read for `index` ----------- */

function weightOrder(name, source) {
  const sources = (shape, call) => indices(shape).map((index) => source(index, shape, call));
  MISTAKES[name] = {
    change(call, result) {
      if (result === "dw") return call;
      const { shape, data } = call.weight;
      return { ...call, weight: { shape, data: sources(shape, call).map((position) => data[position]) } };
    },
    finish(result, call, name) {
      if (name !== "dw") return result;
      const written = Conv.zeros(result.shape);
      sources(result.shape, call).forEach((position, index) => (written.data[position] = result.data[index]));
      return written;
    },
  };
}

const rotated = ([o, c, i, j], shape) => flat([o, c, shape[2] - 1 - i, shape[3] - 1 - j], shape);
weightOrder("rotates the kernel", rotated);
weightOrder("forgets to rotate the kernel", rotated);
weightOrder("rotates the weight gradient", rotated);
weightOrder("reverses the rows of the kernel", ([o, c, i, j], shape) => flat([o, c, shape[2] - 1 - i, j], shape));
weightOrder("reverses the columns of the kernel", ([o, c, i, j], shape) => flat([o, c, i, shape[3] - 1 - j], shape));
weightOrder("reads the kernel column by column", ([o, c, i, j], [outs, ins, kh, kw]) =>
  flat([o, c, j, i], [outs, ins, kw, kh]),
);

const layout = (axes) => (index, shape) =>
  flat(
    axes.map((axis) => index[axis]),
    axes.map((axis) => shape[axis]),
  );
weightOrder("reads the weight as (C_in/G, C_out, kh, kw)", layout([1, 0, 2, 3]));
weightOrder("reads the weight as (kh, kw, C_in/G, C_out)", layout([2, 3, 1, 0]));
weightOrder("reads the weight as (C_out, kh, kw, C_in/G)", layout([0, 2, 3, 1]));
weightOrder("reads the weight as (kh, kw, C_out, C_in/G)", layout([2, 3, 0, 1]));
weightOrder("exchanges input and output channels of the weight inside each group", ([o, c, i, j], shape, call) => {
  const outs = outputsPerGroup(call);
  const [, ins, kh, kw] = shape;
  return flat([Math.floor(o / outs), c, o % outs, i, j], [call.groups, ins, outs, kh, kw]);
});
weightOrder("reverses the groups of the weight", ([o, c, i, j], shape, call) => {
  const outs = outputsPerGroup(call);
  return flat([(call.groups - 1 - Math.floor(o / outs)) * outs + (o % outs), c, i, j], shape);
});

const exchanged = ({ shape, data }) => {
  const [outs, ins, kh, kw] = shape;
  const transposed = [outs, ins, kw, kh];
  return { shape: transposed, data: indices(transposed).map(([o, c, j, i]) => data[flat([o, c, i, j], shape)]) };
};
MISTAKES["exchanges height and width of the kernel"] = {
  change: (call, name) => (name === "dw" ? call : { ...call, weight: exchanged(call.weight) }),
  finish: (result, call, name) => (name === "dw" ? exchanged(result) : result),
};
MISTAKES["uses the weight of the first group for every group"] = {
  change: (call) => {
    const { shape, data } = call.weight;
    const own = data.length / call.groups;
    return { ...call, weight: { shape, data: data.map((_, position) => data[position % own]) } };
  },
};

/* --- which input channels a filter reads ------------------------------------------------------------------------ */

function connection(name, reads) {
  MISTAKES[name] = {
    change: (call) => {
      const [outs, ins] = call.weight.shape;
      return { ...call, reads: range(outs).map((o) => range(ins).map((c) => reads(call, o, c, ins))) };
    },
  };
}

connection("reads the input of the first group in every group", (call, o, c) => c);
connection(
  "reverses the groups of the input",
  (call, o, c, ins) => (call.groups - 1 - groupOf(call, o)) * ins + c,
);
connection("reads the input of the next group", (call, o, c, ins) => ((groupOf(call, o) + 1) % call.groups) * ins + c);
connection("deals the input channels to the groups in turn", (call, o, c) => c * call.groups + groupOf(call, o));
connection("deals the output channels to the groups in turn", (call, o, c, ins) => (o % call.groups) * ins + c);
connection("takes the size of a group for the number of groups", (call, o, c, ins) => {
  const outs = Math.max(1, Math.floor(call.weight.shape[0] / ins));
  return (Math.floor(o / outs) * ins + c) % call.x.shape[0];
});
connection("uses the wrong order of a depthwise multiplier", (call, o, c, ins) =>
  ins === 1 ? o % call.groups : groupOf(call, o) * ins + c,
);
connection(
  "reverses the input channels of each group",
  (call, o, c, ins) => groupOf(call, o) * ins + (ins - 1 - c),
);

/* --- channels and taps left out: kept(index, shape) says which weights are used ---------------------------------- */

function leftOut(name, kept) {
  const masked = (weight) => map(weight, (value, index) => value * (kept(index, weight.shape) ? 1 : 0));
  MISTAKES[name] = {
    change: (call, result) => (result === "dw" ? call : { ...call, weight: masked(call.weight) }),
    finish: (result, call, name) => (name === "dw" ? masked(result) : result),
  };
}

leftOut("uses the first input channel of each group only", ([, c]) => c === 0);
leftOut("leaves out the last input channel of each group", ([, c], shape) => c < shape[1] - 1);
leftOut("leaves out the last row of the kernel", ([, , i], shape) => i < shape[2] - 1);
leftOut("leaves out the last column of the kernel", ([, , , j], shape) => j < shape[3] - 1);
leftOut("leaves out the first row of the kernel", ([, , i]) => i > 0);
leftOut("leaves out the first column of the kernel", ([, , , j]) => j > 0);

/* --- the window -------------------------------------------------------------------------------------------------- */

/* A misread argument; with `inTheLoop` also under a second name, where the output size is right. */
function misread(name, change, inTheLoop = true) {
  MISTAKES[name] = { change: (call) => ({ ...call, ...change(call) }) };
  if (!inTheLoop) return;
  MISTAKES[`${name}, though not in the output size`] = {
    change: (call) => ({ ...call, windows: Conv.outputSize(call), ...change(call) }),
  };
}

for (const argument of ["stride", "dilation"]) {
  const entries = (first, second) => (call) => ({ [argument]: [call[argument][first], call[argument][second]] });
  misread(`exchanges vertical and horizontal ${argument}`, entries(1, 0));
  misread(`uses the vertical ${argument} for both axes`, entries(0, 0));
  misread(`uses the horizontal ${argument} for both axes`, entries(1, 1));
}
misread("ignores the dilation", () => ({ dilation: [1, 1] }));
misread("uses a dilation that is one too small", (call) => ({ dilation: call.dilation.map((d) => d - 1) }));
misread("uses a dilation that is one too large", (call) => ({ dilation: call.dilation.map((d) => d + 1) }));
misread("uses the stride for the dilation", (call) => ({ dilation: call.stride }));
misread("uses the dilation for the stride", (call) => ({ stride: call.dilation }));
misread("exchanges stride and dilation", (call) => ({ stride: call.dilation, dilation: call.stride }));
misread("ignores the stride", () => ({ stride: [1, 1] }));
misread("puts no zeros between the upstream gradients", () => ({ stride: [1, 1] }), false);

const sides = (change) => (call) => ({ padding: call.padding.map((pair, axis) => change(pair, axis, call)) });
const half = (pair) => Math.floor(sum(pair) / 2);
misread("exchanges vertical and horizontal padding", (call) => ({ padding: [call.padding[1], call.padding[0]] }));
misread("uses the vertical padding for both axes", (call) => ({ padding: [call.padding[0], call.padding[0]] }));
misread("uses the horizontal padding for both axes", (call) => ({ padding: [call.padding[1], call.padding[1]] }));
misread("ignores the padding", sides(() => [0, 0]), false);
const turned = (...axes) => sides((pair, axis) => (axes.includes(axis) ? [pair[1], pair[0]] : pair));
misread("exchanges the padding before and after the image", turned(0, 1), false);
misread("exchanges top and bottom padding", turned(0), false);
misread("exchanges left and right padding", turned(1), false);
misread("uses the padding before the image on both sides", sides(([before]) => [before, before]), false);
misread("uses the padding after the image on both sides", sides(([, after]) => [after, after]), false);
misread("puts all of the padding after the image", sides((pair) => [0, sum(pair)]), false);
misread("puts all of the padding before the image", sides((pair) => [sum(pair), 0]), false);
misread(
  "splits the padding evenly, the odd pixel after the image",
  sides((pair) => [half(pair), sum(pair) - half(pair)]),
  false,
);
misread(
  "splits the padding evenly, the odd pixel before the image",
  sides((pair) => [sum(pair) - half(pair), half(pair)]),
  false,
);
misread("pads twice as much as asked for", sides(([before, after]) => [2 * before, 2 * after]));
misread(
  "multiplies the padding by the dilation",
  sides((pair, axis, call) => pair.map((side) => side * call.dilation[axis])),
);
misread("reads ((top, bottom), (left, right)) as ((top, left), (bottom, right))", (call) => {
  const [[top, bottom], [left, right]] = call.padding;
  return { padding: [[top, left], [bottom, right]] };
});
misread("takes a negative padding for none", sides((pair) => pair.map((side) => Math.max(side, 0))));
misread("takes a negative padding for a positive one", sides((pair) => pair.map(Math.abs)));

/* How many rows or columns a window spans. */
const reach = (call, axis) => call.dilation[axis] * (call.weight.shape[2 + axis] - 1) + 1;

misread('pads as "same" does, whatever is asked for', (call) => ({
  padding: [0, 1].map((axis) => {
    const size = call.x.shape[1 + axis];
    const stride = call.stride[axis];
    const total = Math.max((Math.ceil(size / stride) - 1) * stride + reach(call, axis) - size, 0);
    return [Math.floor(total / 2), total - Math.floor(total / 2)];
  }),
}));

/* Pad the image with numbers of its own: read(x, c, row, column) is the one at a place outside; what crops stays. */
function padsWith(name, read) {
  const change = (call) => {
    const [channels, H, W] = call.x.shape;
    const [[top, bottom], [left, right]] = call.padding.map((pair) => pair.map((side) => Math.max(side, 0)));
    const shape = [channels, top + H + bottom, left + W + right];
    const data = indices(shape).map(([c, row, column]) => read(call.x, c, row - top, column - left));
    return { x: { shape, data }, padding: call.padding.map((pair) => pair.map((side) => Math.min(side, 0))) };
  };
  misread(name, change, false);
}

/* The pixel at pixel(row, height), pixel(column, width). */
const taken = (pixel) => (x, c, row, column) =>
  x.data[flat([c, pixel(row, x.shape[1]), pixel(column, x.shape[2])], x.shape)];

padsWith("pads with the pixels of the edge", taken((at, size) => Math.min(Math.max(at, 0), size - 1)));
padsWith("pads with the pixels of the opposite border", taken(modulo));
padsWith(
  "pads by reflection",
  taken((at, size) => {
    const inside = modulo(at, 2 * size);
    return inside < size ? inside : 2 * size - 1 - inside;
  }),
);
padsWith("reads the neighbouring row where a window leaves the image at the side", (x, c, row, column) => {
  const address = flat([c, row, column], x.shape);
  return row >= 0 && row < x.shape[1] && address >= 0 && address < x.data.length ? x.data[address] : 0;
});

function sizeMistake(name, windows) {
  misread(name, (call) => ({ windows: windows(call).map((size) => Math.max(size, 0)) }), false);
}

const resized = (rows, columns) => (call) => {
  const [oh, ow] = Conv.outputSize(call);
  return [oh + rows, ow + columns];
};
sizeMistake("rounds the output size up", (call) =>
  [0, 1].map(
    (axis) =>
      Math.ceil((call.x.shape[1 + axis] + sum(call.padding[axis]) - reach(call, axis)) / call.stride[axis]) + 1,
  ),
);
sizeMistake("computes one output row too few", resized(-1, 0));
sizeMistake("computes one output column too few", resized(0, -1));
sizeMistake("computes one output row and one output column too few", resized(-1, -1));
sizeMistake("computes one output row too many", resized(1, 0));
sizeMistake("computes one output column too many", resized(0, 1));
sizeMistake("computes one output row and one output column too many", resized(1, 1));
const sizeOf = (change) => (call) => Conv.outputSize({ ...call, ...change });
sizeMistake("forgets the dilation in the output size", sizeOf({ dilation: [1, 1] }));
sizeMistake("forgets the padding in the output size", sizeOf({ padding: [[0, 0], [0, 0]] }));
sizeMistake("forgets the stride in the output size", sizeOf({ stride: [1, 1] }));

/* --- the result -------------------------------------------------------------------------------------------------- */

function finishes(name, change) {
  MISTAKES[name] = { finish: (result, call) => map(result, (value, index) => change(value, index, result, call)) };
}

const averages = (name, number) => finishes(name, (value, index, y, { weight }) => value * (1 / number(weight.shape)));
averages("averages over the input channels", ([, ins]) => ins);
averages("averages over the taps of the kernel", ([, , kh, kw]) => kh * kw);
averages("averages over all products", ([, ins, kh, kw]) => ins * kh * kw);

/* Write another channel of y in place of channel o: source(o, channels per group, groups). */
function orderOfOutputs(name, source) {
  finishes(name, (value, [o, row, column], y, call) => {
    const from = source(o, y.shape[0] / call.groups, call.groups);
    return y.data[flat([from, row, column], y.shape)];
  });
}

orderOfOutputs(
  "writes the groups of the output in reverse order",
  (o, outs, groups) => (groups - 1 - Math.floor(o / outs)) * outs + (o % outs),
);
orderOfOutputs(
  "interleaves the output channels of the groups",
  (o, outs, groups) => (o % groups) * outs + Math.floor(o / groups),
);
orderOfOutputs("writes the output of the first group for every group", (o, outs) => o % outs);

function zeroed(name, isZero) {
  finishes(name, (value, index, result, call) => (isZero(index, result.shape, call) ? 0 : value));
}

zeroed("leaves the last row zero", ([, row], shape) => row === shape[1] - 1);
zeroed("leaves the last column zero", ([, , column], shape) => column === shape[2] - 1);
zeroed("leaves the first row zero", ([, row]) => row === 0);
zeroed("leaves the first column zero", ([, , column]) => column === 0);
zeroed("leaves the last channel zero", ([c], shape) => c === shape[0] - 1);
zeroed("leaves the last column zero where the stride leaves pixels over", ([, , column], shape, call) => {
  const over = modulo(call.x.shape[2] + sum(call.padding[1]) - reach(call, 1), call.stride[1]);
  return over > 0 && column === shape[2] - 1;
});

/* Whether position `at` of `size` lies behind the last whole block. */
const leftOver = (at, size, block, smallOnes) =>
  at >= Math.floor(size / block) * block && !(smallOnes && size < block);

for (const smallOnes of [false, true]) {
  const name = (what) => `drops the ${what} left over after blocks of 4${smallOnes ? ", if there are more" : ""}`;
  zeroed(name("columns"), ([, , column], shape) => leftOver(column, shape[2], 4, smallOnes));
  zeroed(name("channels"), ([c], shape) => leftOver(c, shape[0], 4, smallOnes));
  leftOut(name("input channels of a group"), ([, c], shape) => !leftOver(c, shape[1], 4, smallOnes));
}

/* --- the gradients ----------------------------------------------------------------------------------------------- */

function otherUpstream(name, change) {
  MISTAKES[name] = {
    change: (call) => ({
      ...call,
      gradOutput: map(call.gradOutput, (value, index) => change(value, index, call.gradOutput.shape)),
    }),
  };
}

otherUpstream("ignores the upstream gradient", () => 1);
otherUpstream("ignores the last row of the upstream gradient", (v, [, p], shape) => (p === shape[1] - 1 ? 0 : v));
otherUpstream("ignores the last column of the upstream gradient", (v, [, , q], shape) =>
  q === shape[2] - 1 ? 0 : v,
);
otherUpstream("ignores the first row of the upstream gradient", (v, [, p]) => (p === 0 ? 0 : v));
otherUpstream("ignores the first column of the upstream gradient", (v, [, , q]) => (q === 0 ? 0 : v));

const positions = (call) => Math.max(1, Conv.count(call.gradOutput.shape.slice(1)));
finishes("adds the gradient twice", (value) => 2 * value);
finishes("returns the negative gradient", (value) => -value);
finishes("averages over the output positions", (value, index, result, call) => value * (1 / positions(call)));
finishes("averages over the groups", (value, index, result, call) => value * (1 / call.groups));

/* Write the gradient of each tap of each window to its pixel, in place of adding it there. */
function overwrites(call, lastTapWins) {
  const [, H, W] = call.x.shape;
  const [oh, ow] = call.gradOutput.shape.slice(1);
  const [outs, ins, kh, kw] = call.weight.shape;
  const dx = Conv.zeros(call.x.shape);
  const taps = indices([kh, kw]);
  for (const [i, j] of lastTapWins ? taps : taps.reverse())
    for (const [channel, p, q] of indices([call.x.shape[0], oh, ow])) {
      const row = Conv.pixelUnder(call, 0, p, i);
      const column = Conv.pixelUnder(call, 1, q, j);
      if (row < 0 || row >= H || column < 0 || column >= W) continue;
      const group = Math.floor(channel / ins);
      dx.data[flat([channel, row, column], dx.shape)] = range(outs / call.groups)
        .map((k) => group * (outs / call.groups) + k)
        .reduce(
          (total, o) =>
            total +
            call.weight.data[flat([o, channel % ins, i, j], call.weight.shape)] *
              call.gradOutput.data[flat([o, p, q], call.gradOutput.shape)],
          0,
        );
    }
  return dx;
}

MISTAKES["overwrites dx where windows overlap, so that the last tap wins"] = {
  compute: (call) => overwrites(call, true),
};
MISTAKES["overwrites dx where windows overlap, so that the last window wins"] = {
  compute: (call) => overwrites(call, false),
};

/* change(value, how often the pixel is read) */
function byCover(name, change) {
  MISTAKES[name] = {
    finish: (dx, call) => {
      const { data } = Conv.cover(call, call.gradOutput.shape.slice(1));
      return map(dx, (value, [, row, column]) => change(value, data[row * dx.shape[2] + column]));
    },
  };
}

byCover("averages dx over the windows that read a pixel", (value, reads) => value / Math.max(1, reads));
byCover("leaves pixels of dx that no window reads unwritten", (value, reads) => (reads === 0 ? NaN : value));
finishes("repeats the last row and column of dx behind the last window", (value, [c, row, column], dx, call) => {
  const [lastRow, lastColumn] = [0, 1].map(
    (axis) => (call.gradOutput.shape[1 + axis] - 1) * call.stride[axis] - call.padding[axis][0] + reach(call, axis) - 1,
  );
  if (lastRow < 0 || lastColumn < 0) return value;
  return dx.data[flat([c, Math.min(row, lastRow), Math.min(column, lastColumn)], dx.shape)];
});
finishes(
  "repeats the first row of dx where the stride is larger than the kernel",
  (value, [c, row, column], dx, call) =>
    row === 1 && call.stride[0] > call.weight.shape[2] ? dx.data[flat([c, 0, column], dx.shape)] : value,
);

/* Combine the gradients of all groups: combine(those of one weight, one for each group). */
function overGroups(name, combine) {
  finishes(name, (value, index, dw, call) => {
    const own = dw.data.length / call.groups;
    const position = flat(index, dw.shape) % own;
    return combine(range(call.groups).map((group) => dw.data[group * own + position]));
  });
}

const total = (values) => values.reduce((one, other) => one + other, 0);
overGroups("averages dw over the groups", (values) => total(values) / values.length);
overGroups("adds dw over the groups", total);
overGroups("writes dw of the first group for every group", ([first]) => first);
finishes(
  "reverses the output channels of dw",
  (value, [o, c, i, j], dw) => dw.data[flat([dw.shape[0] - 1 - o, c, i, j], dw.shape)],
);
finishes("leaves the taps of dw that see padding alone unwritten", (value, [, , i, j], dw, call) => {
  const seen = [i, j].every((tap, axis) =>
    range(call.gradOutput.shape[1 + axis]).some((window) => {
      const pixel = Conv.pixelUnder(call, axis, window, tap);
      return pixel >= 0 && pixel < call.x.shape[1 + axis];
    }),
  );
  return seen ? value : NaN;
});

const Mistakes = { names: Object.keys(MISTAKES), wrong };
root.Mistakes = Mistakes;
if (typeof module !== "undefined") module.exports = Mistakes;
})(globalThis);
