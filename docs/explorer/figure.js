/* Tensors as SVG: maps of channels, the weight as a matrix of kernels, and the product of matrices that im2col makes.
 *
 * A panel says what to draw: its `kind` (maps, kernels, matmul), the `letter` and the `shape` of its tensor, and
 * `group(channel)`. A letter and a flat index name one number: ("x", 37). `place` says where each number stands, counted
 * in cells; `fit` chooses the size of a cell; `draw` makes the SVG.
 */
(function (root) {
"use strict";
const GAP = 0.7; // between maps, in cells
const KERNEL_GAP = 0.4;
const LABEL = 0.75; // the height of a label above a map

const MINUS = "\u2212";

/* A number as text: a true minus sign, at most two decimals, "?" for memory that was never written. */
function text(value) {
  if (Number.isNaN(value)) return "?";
  const rounded = Number.isInteger(value) ? String(Math.abs(value)) : String(Number(Math.abs(value).toFixed(2)));
  return value < 0 && rounded !== "0" ? MINUS + rounded : rounded;
}

/* A number as a factor: negative ones in brackets. */
const factor = (value) => (value < 0 ? `(${text(value)})` : text(value));

/* --- where the numbers of a panel stand, in cells ------------------------------------------------------------------ */

/* {width, height, blocks: [{label, cells: [{index, x, y, row}]}], ...} for a panel whose maps stand in so many columns. */
function place(panel, across) {
  return { maps: placeMaps, kernels: placeKernels, matmul: placeMatmul }[panel.kind](panel, across);
}

function grid(letter, shape, x, y, index) {
  const cells = [];
  for (let i = 0; i < shape[0]; i++)
    for (let j = 0; j < shape[1]; j++) cells.push({ letter, index: index(i, j), x: x + j, y: y + i, row: i });
  return cells;
}

function placeMaps(panel, across) {
  const [channels, rows, columns] = panel.shape;
  const down = Math.ceil(channels / across);
  const blocks = [];
  for (let c = 0; c < channels; c++) {
    const x = (c % across) * (columns + GAP);
    const y = Math.floor(c / across) * (rows + LABEL + GAP / 2) + LABEL;
    blocks.push({
      label: panel.label(c),
      group: panel.group(c),
      labelX: x + columns / 2,
      labelY: y - LABEL / 2,
      cells: grid(panel.letter, [rows, columns], x, y, (i, j) => panel.offset + (c * rows + i) * columns + j),
      frame: [x, y, columns, rows],
    });
  }
  return {
    width: across * columns + (across - 1) * GAP,
    height: down * (rows + LABEL) + ((down - 1) * GAP) / 2,
    blocks,
    holes: [],
    labels: [],
  };
}

function placeKernels(panel) {
  const [outputs, ins, kh, kw] = panel.shape;
  const channels = panel.channels;
  const blocks = [];
  const holes = [];
  const labels = [];
  const left = 1.1;
  const at = (o, channel) => [left + channel * (kw + KERNEL_GAP), LABEL + o * (kh + KERNEL_GAP)];
  for (let o = 0; o < outputs; o++) {
    labels.push({ text: `y${o}`, group: panel.group(o), x: left / 2, y: at(o, 0)[1] + kh / 2 });
    for (let channel = 0; channel < channels; channel++) {
      const [x, y] = at(o, channel);
      if (o === 0) labels.push({ text: `x${channel}`, group: Math.floor(channel / ins), x: x + kw / 2, y: LABEL / 2 });
      const c = channel - panel.group(o) * ins;
      if (c < 0 || c >= ins) {
        holes.push([x, y, kw, kh]);
        continue;
      }
      blocks.push({
        label: `filter of y${o}, input x${channel}`,
        quiet: true,
        group: panel.group(o),
        cells: grid(panel.letter, [kh, kw], x, y, (i, j) => ((o * ins + c) * kh + i) * kw + j),
        frame: [x, y, kw, kh],
      });
    }
  }
  return {
    width: left + channels * kw + (channels - 1) * KERNEL_GAP,
    height: LABEL + outputs * kh + (outputs - 1) * KERNEL_GAP,
    blocks,
    holes,
    labels,
  };
}

/* W (below, left) times the columns (above, right) is y (below, right). */
function placeMatmul(panel) {
  const { weights, columns, outputs } = panel;
  const [outs, length] = weights.shape;
  const positions = columns.shape[1];
  const right = length + GAP;
  const below = LABEL + length + LABEL;
  const block = (part, x, y) => {
    const [rows, across] = part.shape;
    return {
      label: part.title,
      group: panel.shownGroup,
      labelX: x + across / 2,
      labelY: y - LABEL / 2,
      cells: grid(part.letter, [rows, across], x, y, (i, j) => part.offset + i * across + j),
      frame: [x, y, across, rows],
    };
  };
  return {
    width: right + positions,
    height: below + outs,
    blocks: [block(columns, right, LABEL), block(weights, 0, below), block(outputs, right, below)],
    holes: [],
    labels: [],
  };
}

/* --- SVG ------------------------------------------------------------------------------------------------------------ */

const escape = (string) => string.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");

/* The SVG of a panel, and over it an empty one for marks. describe(letter, index) gives {name, shown, classes} of a number. */
function draw(placed, cell, title, describe) {
  const shown = placed.blocks.flatMap((block) => block.cells.map((c) => describe(c.letter, c.index).shown.length));
  const longest = Math.max(2, ...shown);
  const size = Math.max(6, Math.min(cell * 0.48, (cell * 1.28) / longest));
  const px = (value) => (value * cell).toFixed(1);
  const parts = [];
  for (const [x, y, w, h] of placed.holes)
    parts.push(`<rect class="hole" x="${px(x)}" y="${px(y)}" width="${px(w)}" height="${px(h)}" rx="3"/>`);
  for (const { text, group, x, y } of placed.labels) parts.push(label(text, group, px(x), px(y)));
  let first = true;
  for (const block of placed.blocks) {
    if (block.label && !block.quiet) parts.push(label(block.label, block.group, px(block.labelX), px(block.labelY)));
    const [x, y, w, h] = block.frame;
    parts.push(`<g role="grid" aria-label="${escape(block.label || title)}">`);
    let row = -1;
    for (const { letter, index, x, y, row: at } of block.cells) {
      if (at !== row) parts.push(`${row < 0 ? "" : "</g>"}<g role="row">`);
      row = at;
      const { name, shown, classes } = describe(letter, index);
      parts.push(
        `<g class="cell g${block.group} ${classes}" role="gridcell" tabindex="${first ? 0 : -1}" data-letter="${letter}" data-index="${index}" aria-label="${escape(`${name}: ${shown}`)}">` +
          `<rect x="${px(x)}" y="${px(y)}" width="${px(1)}" height="${px(1)}"/>` +
          `<text x="${px(x + 0.5)}" y="${px(y + 0.5)}">${shown}</text></g>`,
      );
      first = false;
    }
    parts.push("</g></g>");
    parts.push(`<rect class="frame g${block.group}" x="${px(x)}" y="${px(y)}" width="${px(w)}" height="${px(h)}"/>`);
  }
  const [width, height] = [placed.width * cell + 4, placed.height * cell + 4];
  const frame =
    `width="${width.toFixed(0)}" height="${height.toFixed(0)}" viewBox="-2 -2 ${width.toFixed(1)} ${height.toFixed(1)}" ` +
    `style="font-size:${size.toFixed(1)}px"`;
  return (
    `<svg role="group" aria-label="${escape(title)}" ${frame}>${parts.join("")}</svg>` +
    `<svg class="over" aria-hidden="true" ${frame}></svg>`
  );
}

/* Marked numbers, {x, y, shown, classes}, as SVG for the picture over a panel: a browser would draw all numbers of the panel
 * again if one of them changed. Numbers with the same classes share a path and a text. */
function drawMarks(marks, cell) {
  const px = (value) => (value * cell).toFixed(1);
  const square = ({ x, y }) => `M${px(x)} ${px(y)}h${px(1)}v${px(1)}h${px(-1)}z`;
  const number = ({ x, y, shown }) => `<tspan x="${px(x + 0.5)}" y="${px(y + 0.5)}">${shown}</tspan>`;
  let numbers = "";
  let frames = "";
  for (const classes of new Set(marks.map((mark) => mark.classes))) {
    const alike = marks.filter((mark) => mark.classes === classes);
    const squares = alike.map(square).join("");
    numbers += `<g class="${classes}"><path d="${squares}"/><text>${alike.map(number).join("")}</text></g>`;
    if (classes.includes("here")) frames += `<path class="mark" d="${squares}"/>`;
  }
  return numbers + frames;
}

function label(text, group, x, y) {
  return `<text class="label g${group}" aria-hidden="true" x="${x}" y="${y}">${text}</text>`;
}

/* The largest size of a cell at which the panels fit side by side, and in how many columns the maps of each stand. */
function fit(panels, width, height, gaps) {
  const options = panels.map((panel) => {
    const most = panel.kind === "maps" ? Math.min(4, panel.shape[0]) : 1;
    return Array.from({ length: most }, (_, across) => place(panel, across + 1));
  });
  let best = { cell: 0 };
  const choose = (chosen) => {
    if (chosen.length < panels.length) {
      for (const placed of options[chosen.length]) choose([...chosen, placed]);
      return;
    }
    const across = chosen.reduce((sum, placed) => sum + placed.width, 0);
    const down = Math.max(...chosen.map((placed) => placed.height));
    const cell = Math.min((width - gaps) / across, height / down);
    if (cell > best.cell * 1.001) best = { cell, placed: chosen };
  };
  choose([]);
  return best;
}

root.Figure = { text, factor, place, draw, drawMarks, fit, escape };
})(globalThis);
