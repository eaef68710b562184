/* Twelve tasks: predict first, then look. `before` and `after` are addresses of the page (settings.js): what is shown with
 * the question, its results covered, and with the answer. `answer` computes the value of the right choice. */
(function (root) {
"use strict";
const Conv = root.Conv || require("./conv.js");
const Settings = root.Settings || require("./settings.js");

const range = (size) => Array.from({ length: size }, (_, index) => index);
const call = (address) => Settings.call(Settings.read(address).state);

/* The channels of a result that differ between two addresses. */
function moved(result, before, after) {
  const [one, other] = [before, after].map((address) => Conv.result(call(address), result));
  const size = one.data.length / one.shape[0];
  return range(one.shape[0]).filter((channel) =>
    range(size).some((at) => one.data[channel * size + at] !== other.data[channel * size + at]),
  );
}

/* How many products the first number of y or dw adds. */
function productsOf(result, made) {
  let count = 0;
  Conv.forEachProduct(made, Conv.outputSize(made), (a, b) => {
    if ((result === "y" ? a : b) === 0) count += 1;
  });
  return count;
}

const ORDERED = range(9).map((n) => `w.0.0.${Math.floor(n / 3)}.${n % 3}_${n + 1}`);
const IMPULSE = range(25).map((n) => `x.0.${Math.floor(n / 5)}.${n % 5}_${n === 12 ? 1 : 0}`);
const ONE_KERNEL = `ci=1&co=1&g=1&p=0,0,0,0&e=${[...IMPULSE, ...ORDERED].join("~")}`;
const TASKS = [
  {
    question: "Four input and four output channels, a 3×3 kernel, G = 2. How many weights are there?",
    before: "g=1",
    after: "g=2",
    choices: [
      { text: "36", value: 36 },
      { text: "72", value: 72 },
      { text: "144, as in the dense convolution", value: 144 },
      { text: "288", value: 288 },
    ],
    answer: () => Conv.counts(call("g=2")).weights,
    why: "The weight has shape (C_out, C_in/G, kh, kw) = (4, 2, 3, 3): a filter reads the input channels of its group only, so G groups need 1/G of the weights.",
  },
  {
    question: "G = 2. Three numbers of x0 change. Which output channels change?",
    before: "",
    after: "e=x.0.1.1_9~x.0.2.2_9~x.0.3.3_9",
    choices: [
      { text: "y0 only", value: [0] },
      { text: "y0 and y1", value: [0, 1] },
      { text: "y0 and y2", value: [0, 2] },
      { text: "all four", value: [0, 1, 2, 3] },
    ],
    answer: () => moved("y", "", "e=x.0.1.1_9~x.0.2.2_9~x.0.3.3_9"),
    why: "A grouped convolution is another function than the dense one: x0 is connected with the output channels of its own group, y0 and y1, and with no other.",
  },
  {
    question: "G = 2. One weight of the filter of y0 changes. Which output channels change?",
    before: "",
    after: "e=w.0.0.1.1_9",
    choices: [
      { text: "y0 only", value: [0] },
      { text: "y0 and y1, which share a group", value: [0, 1] },
      { text: "y0 and y2, the first of each group", value: [0, 2] },
      { text: "all four", value: [0, 1, 2, 3] },
    ],
    answer: () => moved("y", "", "e=w.0.0.1.1_9"),
    why: "Every output channel has a filter of its own. Groups share no weights.",
  },
  {
    question: "Six input and six output channels, G = 3. Which input channels does y2 read?",
    before: "ci=6&co=6&g=1",
    after: "ci=6&co=6&g=3",
    choices: [
      { text: "x2 only", value: [2] },
      { text: "x2 and x3", value: [2, 3] },
      { text: "x2 and x5", value: [2, 5] },
      { text: "x4 and x5", value: [4, 5] },
    ],
    answer: () => [0, 1].map((c) => Conv.inputChannel(call("ci=6&co=6&g=3"), 2, c)),
    why: "Groups are consecutive runs of channels: group 1 has x2, x3 and y2, y3. They are not dealt out in turn.",
  },
  {
    question: "The image has a single 1 in the middle, the kernel is 1 to 9. In which order do the numbers appear in y?",
    before: ONE_KERNEL,
    after: ONE_KERNEL,
    choices: [
      { text: "1 2 3 / 4 5 6 / 7 8 9", value: [1, 2, 3, 4, 5, 6, 7, 8, 9] },
      { text: "9 8 7 / 6 5 4 / 3 2 1", value: [9, 8, 7, 6, 5, 4, 3, 2, 1] },
      { text: "1 4 7 / 2 5 8 / 3 6 9", value: [1, 4, 7, 2, 5, 8, 3, 6, 9] },
    ],
    answer: () => Conv.forward(call(ONE_KERNEL)).data,
    why: "Deep learning calls a correlation a convolution: the kernel is not rotated. The first window sees the 1 under its last tap, so y begins with 9.",
  },
  {
    question: "Kernel 1×1, stride 2, image 5×5. How many of the 25 pixels of a channel of dx are zero?",
    before: "k=1x1&p=0,0,0,0&s=2x2&ci=1&co=1&g=1",
    after: "k=1x1&p=0,0,0,0&s=2x2&ci=1&co=1&g=1&mode=dx",
    choices: [
      { text: "0", value: 0 },
      { text: "9", value: 9 },
      { text: "12", value: 12 },
      { text: "16", value: 16 },
    ],
    answer: (state) => Conv.inputGradient(Settings.call(state)).data.filter((value) => value === 0).length,
    why: "Only 3·3 pixels are read. Between their gradients dx has stride − 1 = 1 row and column of zeros.",
  },
  {
    question: "Kernel 1×1 on a 5×5 image, one image. How many products does one number of dW add?",
    before: "k=1x1&p=0,0,0,0&ci=2&co=2",
    after: "k=1x1&p=0,0,0,0&ci=2&co=2&mode=dw",
    choices: [
      { text: "1: it is an average", value: 1 },
      { text: "5", value: 5 },
      { text: "25", value: 25 },
    ],
    answer: (state) => productsOf("dw", Settings.call(state)),
    why: "The weight is used at every output position, so its gradient is a sum over all positions (and images). Only the loss may average.",
  },
  {
    question: "Dense, four input channels, 3×3 kernel, no padding. How many products does one number of y add?",
    before: "g=1&p=0,0,0,0",
    after: "g=1&p=0,0,0,0",
    choices: [
      { text: "4", value: 4 },
      { text: "9", value: 9 },
      { text: "18", value: 18 },
      { text: "36", value: 36 },
    ],
    answer: (state) => productsOf("y", Settings.call(state)),
    why: "A filter is as deep as the input channels it reads: 4 channels of 9 taps. The channels are added.",
  },
  {
    question: "Depthwise, four input and eight output channels. Which output channels does x1 reach?",
    before: "co=8&g=1",
    after: "co=8&g=4",
    choices: [
      { text: "y1 only", value: [1] },
      { text: "y1 and y5", value: [1, 5] },
      { text: "y2 and y3", value: [2, 3] },
      { text: "all eight", value: [0, 1, 2, 3, 4, 5, 6, 7] },
    ],
    answer: () => {
      const made = call("co=8&g=4");
      return range(8).filter((o) => Conv.inputChannel(made, o, 0) === 1);
    },
    why: "Depthwise is G = C_in. The multiplier is C_out/C_in = 2, and group 1 has the outputs y2 and y3.",
  },
  {
    question: "A 6×6 image, 3×3 kernel, stride 2, no padding. What is the last row of dx?",
    before: "n=6x6&s=2x2&p=0,0,0,0&ci=2&co=2",
    after: "n=6x6&s=2x2&p=0,0,0,0&ci=2&co=2&mode=dx",
    choices: [
      { text: "zero", value: true },
      { text: "not zero: every pixel is read", value: false },
    ],
    answer: (state) => {
      const dx = Conv.inputGradient(Settings.call(state));
      return dx.data.every((value, at) => Math.floor(at / 6) % 6 !== 5 || value === 0);
    },
    why: "The output size is rounded down: (6 − 3) / 2 + 1 = 2.5, so 2 windows fit. No window reads the last row and column, so their gradient is 0.",
  },
  {
    question: "im2col copies the pixels of every window; col2im adds them back. What does col2im(im2col(ones)) have in the middle of a 5×5 image (3×3 kernel, no padding)?",
    before: "ci=1&co=1&g=1&p=0,0,0,0",
    after: "ci=1&co=1&g=1&p=0,0,0,0&mode=im2col",
    choices: [
      { text: "1: the inverse", value: 1 },
      { text: "3", value: 3 },
      { text: "9", value: 9 },
    ],
    answer: (state) => Conv.cover(Settings.call(state), [3, 3]).data[12],
    why: "col2im is the transpose of im2col, not its inverse: a pixel that nine windows read gets nine summands. The counts are (1 2 3 2 1) times itself.",
  },
  {
    question: "A 1×1 convolution and a loss follow. x changes in group 0 only. In which filters does dW change?",
    before: "mode=dw&mix=1",
    after: "mode=dw&mix=1&u=x.0_1",
    choices: [
      { text: "y0 and y1, those of group 0", value: [0, 1] },
      { text: "y2 and y3", value: [2, 3] },
      { text: "all four", value: [0, 1, 2, 3] },
      { text: "none", value: [] },
    ],
    answer: () => moved("dw", "mode=dw&mix=1", "mode=dw&mix=1&u=x.0_1"),
    why: "dW of a group depends on its own x and g alone. But the 1×1 mixes all groups, so g changes everywhere, and with it dW. Locality ends at the next dense layer.",
  },
];

root.TASKS = TASKS;
if (typeof module !== "undefined") module.exports = TASKS;
})(globalThis);
