/* Grouped 2-D convolution of one image, as a list of products: the loops of npresnext/reference.py in JavaScript.
 *
 *     y[a] += weight[b] · x[c]        dx[c] += gradOutput[a] · weight[b]        dweight[b] += gradOutput[a] · x[c]
 *
 * A tensor is {shape, data}; data is a flat array in row-major order. A call is what a convolution is given:
 *
 *     x             (C_in, H, W)
 *     weight        (C_out, C_in/G, kh, kw)
 *     gradOutput    (C_out, oh, ow), the gradient of the loss with respect to y
 *     stride        [rows, columns]
 *     padding       [[top, bottom], [left, right]]
 *     dilation      [rows, columns]
 *     groups        G
 *
 * Two entries are for the mistakes of mistakes.js alone: `windows`, an output size [oh, ow] in place of the right one,
 * and `reads`, the input channel that each input channel of each filter is multiplied with.
 */
(function (root) {
"use strict";

const count = (shape) => shape.reduce((product, size) => product * size, 1);
const range = (size) => Array.from({ length: size }, (_, index) => index);

/* The index, such as [c, i, j], of the number at a position of the flat array. */
function split(position, shape) {
  const index = [];
  for (const size of [...shape].reverse()) {
    index.unshift(position % size);
    position = Math.floor(position / size);
  }
  return index;
}

function zeros(shape) {
  return { shape, data: new Array(count(shape)).fill(0) };
}

/* The number of windows between the first and the last padded pixel, along one axis. */
function countWindows(size, kernel, stride, padding, dilation) {
  const starts = size + padding[0] + padding[1] - dilation * (kernel - 1);
  return Math.max(0, Math.ceil(starts / stride));
}

/* [oh, ow] */
function outputSize(call) {
  if (call.windows) return call.windows;
  return [0, 1].map((axis) =>
    countWindows(
      call.x.shape[1 + axis],
      call.weight.shape[2 + axis],
      call.stride[axis],
      call.padding[axis],
      call.dilation[axis],
    ),
  );
}

/* The input channel that input channel c of filter o is multiplied with. */
function inputChannel(call, o, c) {
  if (call.reads) return call.reads[o][c];
  const [outputs, inputsPerGroup] = call.weight.shape;
  return Math.floor(o / (outputs / call.groups)) * inputsPerGroup + c;
}

/* The pixel under tap i of window p, along one axis; it can lie outside the image. */
function pixelUnder(call, axis, p, i) {
  return p * call.stride[axis] - call.padding[axis][0] + i * call.dilation[axis];
}

/* Call visit(a, b, c), flat indices into y, weight and x, for every product y[a] += weight[b] · x[c].
 * Pixels outside the image are zero, and their products are left out. wanted(output channel, input channel)
 * says which to visit. */
function forEachProduct(call, [oh, ow], visit, wanted = () => true) {
  const [, H, W] = call.x.shape;
  const [outputs, inputsPerGroup, kh, kw] = call.weight.shape;
  for (let o = 0; o < outputs; o++) {
    for (let p = 0; p < oh; p++) {
      for (let q = 0; q < ow; q++) {
        const a = (o * oh + p) * ow + q;
        for (let c = 0; c < inputsPerGroup; c++) {
          const channel = inputChannel(call, o, c);
          if (!wanted(o, channel)) continue;
          for (let i = 0; i < kh; i++) {
            const row = pixelUnder(call, 0, p, i);
            if (row < 0 || row >= H) continue;
            for (let j = 0; j < kw; j++) {
              const column = pixelUnder(call, 1, q, j);
              if (column < 0 || column >= W) continue;
              visit(a, ((o * inputsPerGroup + c) * kh + i) * kw + j, (channel * H + row) * W + column);
            }
          }
        }
      }
    }
  }
}

/* y (C_out, oh, ow) */
function forward(call) {
  const windows = outputSize(call);
  const y = zeros([call.weight.shape[0], ...windows]);
  forEachProduct(call, windows, (a, b, c) => {
    y.data[a] += call.weight.data[b] * call.x.data[c];
  });
  return y;
}

/* dx (C_in, H, W) */
function inputGradient(call) {
  const dx = zeros(call.x.shape);
  forEachProduct(call, call.gradOutput.shape.slice(1), (a, b, c) => {
    dx.data[c] += call.gradOutput.data[a] * call.weight.data[b];
  });
  return dx;
}

/* dweight (C_out, C_in/G, kh, kw) */
function weightGradient(call) {
  const dweight = zeros(call.weight.shape);
  forEachProduct(call, call.gradOutput.shape.slice(1), (a, b, c) => {
    dweight.data[b] += call.gradOutput.data[a] * call.x.data[c];
  });
  return dweight;
}

/* The result called y, dx or dw. */
function result(call, name) {
  return { y: forward, dx: inputGradient, dw: weightGradient }[name](call);
}

/* The pixel under each tap of each window, 0 outside the image: (C_in·kh·kw, oh·ow). */
function im2col(call) {
  const [channels, H, W] = call.x.shape;
  const [kh, kw] = call.weight.shape.slice(2);
  const [oh, ow] = outputSize(call);
  const columns = zeros([channels * kh * kw, oh * ow]);
  forEachColumnEntry([channels, H, W], [kh, kw], [oh, ow], call, (entry, pixel) => {
    columns.data[entry] = call.x.data[pixel];
  });
  return columns;
}

/* The transpose of im2col: every entry of the columns is added to the pixel that it came from. (C_in, H, W) */
function col2im(columns, call) {
  const image = zeros(call.x.shape);
  forEachColumnEntry(call.x.shape, call.weight.shape.slice(2), outputSize(call), call, (entry, pixel) => {
    image.data[pixel] += columns.data[entry];
  });
  return image;
}

function forEachColumnEntry([channels, H, W], [kh, kw], [oh, ow], call, visit) {
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < kh; i++)
      for (let j = 0; j < kw; j++)
        for (let p = 0; p < oh; p++)
          for (let q = 0; q < ow; q++) {
            const row = pixelUnder(call, 0, p, i);
            const column = pixelUnder(call, 1, q, j);
            if (row < 0 || row >= H || column < 0 || column >= W) continue;
            visit((((c * kh + i) * kw + j) * oh + p) * ow + q, (c * H + row) * W + column);
          }
}

/* How many taps of all windows read each pixel of one channel: (H, W). */
function cover(call, windows) {
  const [, H, W] = call.x.shape;
  const [kh, kw] = call.weight.shape.slice(2);
  const counts = zeros([H, W]);
  forEachColumnEntry([1, H, W], [kh, kw], windows, call, (_entry, pixel) => {
    counts.data[pixel] += 1;
  });
  return counts;
}

/* The sum of the products of two tensors of equal shape: ⟨one, other⟩. */
function inner(one, other) {
  return one.data.reduce((sum, value, index) => sum + value * other.data[index], 0);
}

/* The number of weights, and of multiplications with one addition each (MACs); taps on the padding count. */
function counts(call) {
  const [oh, ow] = outputSize(call);
  const weights = count(call.weight.shape);
  return { weights, macs: weights * oh * ow };
}

const Conv = {
  count,
  range,
  split,
  zeros,
  countWindows,
  outputSize,
  inputChannel,
  pixelUnder,
  forEachProduct,
  forward,
  inputGradient,
  weightGradient,
  result,
  im2col,
  col2im,
  cover,
  inner,
  counts,
};
root.Conv = Conv;
if (typeof module !== "undefined") module.exports = Conv;
})(globalThis);
