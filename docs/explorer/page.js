/* The page: draws a state, and changes it when somebody points, types or chooses. */
(function (root) {
"use strict";
const { Conv, Settings, CATALOGUE, TASKS, Figure, View, Explain, Activities } = root;
const { range, split } = Conv;
const { text } = Figure;
const { MODES, NAMES, sameShape, sameNumber } = View;
const { list, plural } = Explain;
const byId = (id) => document.getElementById(id);

let state = Settings.fresh();
let view = null; // the numbers of the state
let before = null; // what was shown before a change, by letter, while the change is shown
let session = { answered: null, hint: false, choices: [] }; // of an activity
let column = 0; // the window that im2col shows
let parts = new Map(); // the drawn tensors, by letter
let cells = new Map(); // the elements of the numbers, by "letter.index"
let positions = new Map(); // {x, y, panel} of each number, in cells
let drawn = []; // {panel, placed, cell, over} of each panel: its place, the size of a number, the picture of the marks
let pointed = null; // the element of the number that is explained

/* --- drawing --------------------------------------------------------------------------------------------------------- */

function render() {
  view = View.compute(state, state.do === "predict" && session.answered === null);
  const focused = document.activeElement.closest(".cell");
  drawControls();
  drawActivity();
  drawStage();
  drawFacts();
  if (focused) moveFocus(cells.get(`${focused.dataset.letter}.${focused.dataset.index}`));
}

const OPERATORS = { forward: ["∗", "→"], dx: ["←", "∗"], dw: ["→", "←"], im2col: ["→"] };

function drawStage() {
  const stage = byId("stage");
  const shown = View.panels(state, view);
  parts = new Map(shown.flatMap((panel) => panel.parts || [panel]).map((part) => [part.letter, part]));
  positions = new Map();
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const below = byId("facts").offsetHeight + byId("readout").offsetHeight + 2 * rem;
  const height = Math.max(16 * rem, innerHeight - stage.offsetTop - below) - 2 * rem;
  const layout = View.layOut(shown, innerWidth < 760, stage.clientWidth, height, rem);
  const operators = [...OPERATORS[state.mode]];
  drawn = shown.map((panel, at) => ({ panel, placed: layout.panels[at][0], cell: layout.panels[at][1] }));
  const html = drawn.map(({ panel, placed, cell }, at) => {
    for (const block of placed.blocks)
      for (const { letter, index, x, y } of block.cells) positions.set(`${letter}.${index}`, { x, y, panel: at });
    const beside = panel.wrong || (at && shown[at - 1].wrong && state.mode === "dx") || panel.letter === "cover";
    const operator = at && !beside ? `<span class="operator" aria-hidden="true">${operators.shift() || ""}</span>` : "";
    const kind = `${panel.result ? "result" : ""} ${panel.wrong ? "wrong" : ""}`;
    return (
      `${operator}<figure class="panel ${kind}"><figcaption><b>${panel.title}</b> <span>${panel.note}</span></figcaption>` +
      `<div class="scroll">${Figure.draw(placed, cell, panel.title, describe)}</div></figure>`
    );
  });
  if (shown.at(-1).kind === "matmul") html.splice(0, 2, `<div class="beside">${html[0]}${html[1]}</div>`);
  stage.innerHTML = html.join("") + (view.empty ? `<p class="none">${emptyNote()}</p>` : "");
  stage.classList.toggle("together", layout.together);
  stage.classList.toggle("dragging", state.mode === "im2col");
  for (const [at, over] of stage.querySelectorAll(".over").entries()) drawn[at].over = over;
  cells = new Map();
  for (const cell of stage.querySelectorAll(".cell")) cells.set(`${cell.dataset.letter}.${cell.dataset.index}`, cell);
  if (state.mode === "im2col" && !view.empty) showWindow(Math.min(column, Conv.count(view.windows) - 1));
  else if (view.covered) byId("sum").innerHTML = "<p>The results are covered. Choose an answer above, and they appear.</p>";
  else byId("sum").innerHTML = "<p>Point at a number, touch it, or reach it with Tab and the arrow keys.</p>";
}

function emptyNote() {
  const spans = [0, 1].map((axis) => state.d[axis] * (state.k[axis] - 1) + 1);
  const padded = [state.n[0] + state.p[0] + state.p[1], state.n[1] + state.p[2] + state.p[3]];
  return (
    `No window fits: it spans ${View.size(spans)} pixels, and the padded image has ${View.size(padded)}. ` +
    "So y is empty. Choose a larger image, more padding or a smaller kernel."
  );
}

const editable = (letter) => ["x", "w", "g"].includes(letter) && !(letter === "g" && state.mix);

/* Whether a number differs from the one before the change; null if there was none. */
function moved(letter, index) {
  const old = before && !view.covered && before.get(letter);
  if (!old || !sameShape(old, parts.get(letter))) return null;
  return !sameNumber(old.data[index], parts.get(letter).data[index]);
}

function describe(letter, index) {
  const part = parts.get(letter);
  const covered = view.covered && (letter === view.mode.name || letter === "z");
  const changed = moved(letter, index);
  const differs =
    letter === "wrong" && sameShape(part, view.result) && !sameNumber(part.data[index], view.result.data[index]);
  const classes = [
    changed === true && "moved",
    changed === false && "still",
    differs && "differs",
    editable(letter) && "editable",
  ];
  const name = letter === "wrong" ? `${part.name(index)} with the mistake` : part.name(index);
  return { name, shown: covered ? "?" : text(part.data[index]), classes: classes.filter(Boolean).join(" ") };
}

/* The identity ⟨g, y⟩ = ⟨x, dX⟩ = ⟨w, dW⟩, with the wrong result in its place if there is one, and the counters. */
function drawFacts() {
  const { call, wrong, mode } = view;
  const pairs = { y: [call.gradOutput, "g, y"], dx: [call.x, "x, dX"], dw: [call.weight, "w, dW"] };
  const sides = Object.entries(pairs).map(([name, [other, pair]]) => {
    const odd = wrong && name === mode.name;
    const tensor = odd ? wrong : view[name];
    const value = sameShape(other, tensor) ? text(Conv.inner(other, tensor)) : "shapes differ";
    return { pair, value: view.covered ? "?" : value, odd };
  });
  byId("identity").innerHTML = sides
    .map(({ pair, value, odd }, at) => {
      const equal = at && value === sides[at - 1].value;
      const sign = at ? `<span class="sign ${equal ? "" : "unequal"}">${equal ? "=" : "≠"}</span> ` : "";
      return `${sign}<span class="side ${odd && sides.some((side) => side.value !== value) ? "odd" : ""}">⟨${pair}⟩ <b>${value}</b></span>`;
    })
    .join(" ");
  const { weights, macs } = Conv.counts(call);
  const dense = state.co * state.ci * Conv.count(state.k);
  const further = state.mix ? `, ${state.co} of ${state.co} in z` : "";
  const counters = {
    weights: `${weights} <small>of ${dense} dense</small>`,
    MACs: macs.toLocaleString("en"),
    "size of y": View.size(view.windows),
    "x0 reaches": `${state.co / state.g} of ${state.co} <small>channels of y${further}</small>`,
  };
  byId("counters").innerHTML = Object.entries(counters)
    .map(([what, value]) => `<div><dt>${what}</dt><dd>${view.covered ? "?" : value}</dd></div>`)
    .join("");
}

/* --- marks ----------------------------------------------------------------------------------------------------------- */

/* Mark and frame what an explanation names, and show its text. */
function show({ html, hot, here, window, column: position }) {
  const marks = new Map(); // the classes of each marked number
  const mark = (how, letter, index) => {
    const name = `${letter}.${index}`;
    if (cells.has(name)) marks.set(name, `${how} ${marks.get(name) || ""}`);
  };
  for (const at of hot) mark("hot", ...at);
  if (position !== null) {
    column = position;
    for (const letter of ["col", "y"]) {
      const { offset, shape } = parts.get(letter);
      for (const row of range(shape[0])) mark("column", letter, offset + row * shape[1] + position);
    }
  }
  for (const at of here) mark("here", ...at);
  const marked = [...marks].map(([name, how]) => {
    const cell = cells.get(name);
    return { ...positions.get(name), shown: cell.textContent, classes: cell.getAttribute("class").replace("cell", how) };
  });
  for (const [at, { cell, over }] of drawn.entries())
    over.innerHTML = Figure.drawMarks(marked.filter((mark) => mark.panel === at), cell);
  if (window !== null) outlineWindow(window);
  byId("sum").innerHTML = html;
}

/* A dashed frame around the window of y or g at this index, in each input channel that it reads. It hangs over the border of
 * the image a little where it sees padding. */
function outlineWindow(index) {
  const letter = view.mode.c;
  const { placed, cell, panel, over } = drawn.find((each) => each.panel.letter === letter);
  const [o, p, q] = split(index, view.call.gradOutput.shape);
  const [row, column] = [Conv.pixelUnder(view.call, 0, p, 0), Conv.pixelUnder(view.call, 1, q, 0)];
  const spans = [0, 1].map((axis) => state.d[axis] * (state.k[axis] - 1) + 1);
  const channels = range(view.call.weight.shape[1]).map((c) => Conv.inputChannel(view.call, o, c));
  const clamp = (value, low, high) => Math.min(Math.max(value, low - 0.3), high + 0.3);
  for (const { frame } of placed.blocks.filter((_, block) => channels.includes((panel.first || 0) + block))) {
    const [x, y, width, height] = frame;
    const [left, right] = [column, column + spans[1]].map((at) => clamp(x + at, x, x + width) * cell);
    const [top, bottom] = [row, row + spans[0]].map((at) => clamp(y + at, y, y + height) * cell);
    over.insertAdjacentHTML(
      "beforeend",
      `<rect class="window" x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"/>`,
    );
  }
}

function showCell(cell, announced) {
  pointed = cell;
  show(Explain.number({ state, view, parts }, cell.dataset.letter, Number(cell.dataset.index)));
  if (announced) byId("announcement").textContent = byId("sum").textContent;
}

function showWindow(position) {
  pointed = null;
  show(Explain.window({ state, view, parts }, position));
}

/* The number of the window whose middle is nearest to a pixel. */
function windowAt(...pixel) {
  const [p, q] = [0, 1].map((axis) => {
    const middle = (state.d[axis] * (state.k[axis] - 1)) / 2;
    const nearest = Math.round((pixel[axis] + view.call.padding[axis][0] - middle) / state.s[axis]);
    return Math.min(Math.max(nearest, 0), view.windows[axis] - 1);
  });
  return p * view.windows[1] + q;
}

/* --- controls -------------------------------------------------------------------------------------------------------- */

const plain = (numbers) => numbers.map((n) => [String(n), String(n)]);
const square = (numbers, shown) => numbers.map((n) => [`${n}x${n}`, shown(n)]);
const by = (...texts) => texts.map((each) => [each, each.replace("x", " × ")]);
const SELECTS = {
  ci: ["C<sub>in</sub>", plain([1, 2, 3, 4, 5, 6, 7, 8])],
  co: ["C<sub>out</sub>", plain([1, 2, 3, 4, 5, 6, 7, 8])],
  n: ["image", [...square([3, 4, 5, 6, 7], (n) => `${n} × ${n}`), ...by("6x5")]],
  k: ["kernel", [...square([1, 2, 3], (n) => `${n} × ${n}`), ...by("1x3", "3x1", "2x3")]],
  s: ["stride", [...square([1, 2, 3], String), ...by("2x1", "1x2")]],
  p: [
    "padding",
    [
      ["0,0,0,0", "0"],
      ["1,1,1,1", "1"],
      ["2,2,2,2", "2"],
      ["1,1,0,0", "top 1, bottom 1"],
      ["0,0,1,1", "left 1, right 1"],
      ["1,0,1,0", "top 1, left 1"],
      ["0,1,0,1", "bottom 1, right 1"],
      ["-1,-1,-1,-1", "−1 (crops)"],
    ],
  ],
  d: ["dilation", [...square([1, 2], String), ...by("2x1", "1x2")]],
};
const separator = (name) => (name === "p" ? "," : "x");
const valueOf = (name) => [state[name]].flat().join(separator(name));

function makeControls() {
  byId("small").innerHTML = Object.entries(SELECTS)
    .map(([name, [label, options]]) => {
      const listed = options.map(([value, shown]) => `<option value="${value}">${shown}</option>`).join("");
      return `<label>${label} <select id="set-${name}" data-set="${name}">${listed}</select></label>`;
    })
    .join("");
}

function chips(what, pressed = () => "") {
  return range(state.g)
    .map((g) => `<button type="button" class="chip g${g}" data-${what}="${g}" ${pressed(g)} aria-label="group ${g}">${g}</button>`)
    .join("");
}

function drawControls() {
  for (const button of byId("modes").children) button.setAttribute("aria-pressed", button.dataset.mode === state.mode);
  for (const button of byId("activities").children) button.setAttribute("aria-pressed", button.dataset.do === state.do);
  byId("formula").textContent = MODES[state.mode].formula;
  const divisors = Settings.commonDivisors(state.ci, state.co);
  const slider = byId("groups");
  slider.max = divisors.length - 1;
  slider.disabled = divisors.length === 1;
  slider.value = divisors.indexOf(state.g);
  const kind = state.g === 1 ? "dense" : state.g === state.ci ? "depthwise" : "grouped";
  const each = `${plural(state.ci / state.g, "input channel")}, ${plural(state.co / state.g, "output channel")} each`;
  slider.setAttribute("aria-valuetext", `G = ${state.g}, ${kind}: ${each}`);
  byId("groups-value").textContent = `G = ${state.g}, ${kind}`;
  byId("ticks").innerHTML = divisors.map((divisor) => `<span>${divisor}</span>`).join("");
  for (const name of Object.keys(SELECTS)) {
    const select = byId(`set-${name}`);
    const value = valueOf(name);
    if (![...select.options].some((option) => option.value === value)) select.add(new Option(value.replace("x", " × "), value));
    select.value = value;
  }
  byId("mix").checked = Boolean(state.mix);
  const what = byId("disturb-what");
  what.options[2].disabled = Boolean(state.mix);
  if (state.mix && what.value === "g") what.value = "x";
  byId("disturb-groups").innerHTML = chips("disturb");
  byId("blocks").hidden = state.mode !== "im2col" || state.g === 1;
  byId("block-groups").innerHTML = chips("block", (g) => `aria-pressed="${g === state.block}"`);
}

function drawActivity() {
  const section = byId("activity");
  const open = document.activeElement.id === "mistake";
  section.hidden = !state.do;
  document.body.classList.toggle("busy", Boolean(state.do));
  if (state.do === "predict") section.innerHTML = Activities.task(state, session);
  else if (state.puzzle) section.innerHTML = Activities.puzzle(state, view, session);
  else section.innerHTML = state.do ? Activities.catalogue(state, view) : "";
  if (open && byId("mistake")) byId("mistake").focus();
}

/* --- changes --------------------------------------------------------------------------------------------------------- */

/* Show another state. With `compare`, what moved flashes and what did not turns grey. */
function setState(next, compare = false) {
  before = compare && next.mode === state.mode ? parts : null;
  state = next;
  const notes = Settings.normalise(state);
  render();
  byId("status").textContent = [...notes, before ? movedNote() : ""].join(" ").trim();
  const address = Settings.write(state);
  if (`#${address}` !== (location.hash || "#")) history.replaceState(null, "", `#${address}`);
}

const change = (changes, compare) => setState({ ...state, ...changes }, compare);

function movedIn(letter) {
  return range(parts.get(letter).data.length).filter((index) => moved(letter, index));
}

function movedNote() {
  const { name } = view.mode;
  if (view.empty || view.covered || moved(name, 0) === null) return "";
  const indices = movedIn(name);
  if (!indices.length) return `No number of ${NAMES[name]} moved.`;
  const channels = [...new Set(indices.map((index) => split(index, view.result.shape)[0]))];
  const where = { y: "in y", dx: "in dx", dw: "in the filters of y" }[name];
  const mixed = state.mix && parts.has("z") ? ` ${movedIn("z").length} of ${view.y.data.length} numbers of z moved.` : "";
  return `${indices.length} of ${view.result.data.length} numbers of ${NAMES[name]} moved, ${where}${list(channels.map(String))}.${mixed}`;
}

function newSession() {
  session = { answered: null, hint: false, choices: [] };
}

function startTask(number) {
  newSession();
  setState({ ...Settings.read(TASKS[number - 1].before).state, do: "predict", task: number });
}

function answer(choice) {
  session.answered = choice;
  if (state.do === "mistake") render();
  else setState({ ...Settings.read(TASKS[state.task - 1].after).state, do: "predict", task: state.task }, true);
}

/* Start a puzzle: the first one, from a random number on, whose mistake shows in the result of the mode. */
function startPuzzle() {
  newSession();
  const next = { ...state, mistake: "", mode: state.mode === "im2col" ? "forward" : state.mode };
  if (view.empty) Object.assign(next, { n: [5, 5], p: [1, 1, 1, 1], k: [3, 3], d: [1, 1] });
  do next.puzzle = 1 + Math.floor(Math.random() * 9999);
  while (!View.shows(CATALOGUE[Settings.hash(next.puzzle) % CATALOGUE.length], next));
  setState(next);
}

/* Go to the settings, and if need be to the mode, at which the chosen mistake shows. */
function showElsewhere() {
  const { mistake } = view;
  const next = { ...Settings.read(mistake.at).state, do: "mistake", mistake: mistake.name };
  const mode = [state.mode, "forward", "dx", "dw"].find((each) => View.shows(mistake, { ...next, mode: each }));
  setState({ ...next, mode });
}

function load() {
  newSession();
  const { state: next, notes } = Settings.read(location.hash.slice(1));
  if (next.do === "predict") startTask(next.task);
  else setState(next);
  if (notes.length) byId("status").textContent = notes.join(" ");
}

/* --- editing --------------------------------------------------------------------------------------------------------- */

function edit(cell, typed) {
  const { letter } = cell.dataset;
  const index = Number(cell.dataset.index);
  if (!editable(letter)) return;
  const box = cell.getBoundingClientRect();
  const around = byId("stage").getBoundingClientRect();
  const width = Math.max(box.width, 44);
  const input = document.createElement("input");
  input.inputMode = "numeric";
  input.className = "editor";
  input.setAttribute("aria-label", `New value of ${parts.get(letter).name(index)}, from −99 to 99`);
  input.style.left = `${box.left - around.left + (box.width - width) / 2}px`;
  input.style.top = `${box.top - around.top}px`;
  input.style.width = `${width}px`;
  input.style.height = `${Math.max(box.height, 28)}px`;
  input.value = typed || String(parts.get(letter).data[index]);
  byId("stage").append(input);
  input.focus();
  if (!typed) input.select();
  let open = true;
  const close = (keep) => {
    if (!open) return;
    open = false;
    const value = Number(input.value.replace("−", "-"));
    const valid = input.value.trim() !== "" && Number.isInteger(value) && Math.abs(value) <= 99;
    const focused = document.activeElement === input;
    const shown = input.value;
    input.remove();
    if (focused) moveFocus(cell);
    if (!keep || (valid && value === parts.get(letter).data[index])) return;
    if (valid) change({ edits: { ...state.edits, [editKey(letter, index)]: value } }, true);
    else byId("status").textContent = `“${shown}” is not a whole number from −99 to 99.`;
  };
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    close(event.key === "Enter");
    event.preventDefault();
    event.stopPropagation();
  });
  input.addEventListener("blur", () => close(true));
}

/* The name of a number in the address: weights count their input channels through all groups. */
function editKey(letter, index) {
  const { call } = view;
  const at = split(index, { x: call.x, w: call.weight, g: call.gradOutput }[letter].shape);
  if (letter === "w") at[1] = Conv.inputChannel(call, at[0], at[1]);
  return `${letter}.${at.join(".")}`;
}

/* --- keys and pointers ----------------------------------------------------------------------------------------------- */

/* One number of each panel can be reached with Tab; make it this one. */
function makeReachable(cell) {
  for (const other of cell.closest("svg").querySelectorAll('.cell[tabindex="0"]')) other.setAttribute("tabindex", "-1");
  cell.setAttribute("tabindex", "0");
}

function moveFocus(cell) {
  if (!cell) return;
  makeReachable(cell);
  cell.focus({ preventScroll: true });
}

/* The number next to another one in the same panel: the nearest in the direction of an arrow, or the last of its row. */
function neighbour(cell, key) {
  const own = positions.get(`${cell.dataset.letter}.${cell.dataset.index}`);
  const [axis, sign] = { Left: ["x", -1], Home: ["x", -1], Up: ["y", -1], Down: ["y", 1] }[key.replace("Arrow", "")] || ["x", 1];
  const other = axis === "x" ? "y" : "x";
  const far = key.startsWith("Arrow") ? 1 : -1;
  let best = null;
  for (const [name, at] of positions) {
    const ahead = (at[axis] - own[axis]) * sign;
    const aside = Math.abs(at[other] - own[other]);
    if (at.panel !== own.panel || ahead < 0.5 || aside > 0.5) continue;
    const distance = far * ahead + aside;
    if (!best || distance < best.distance) best = { name, distance };
  }
  return best && cells.get(best.name);
}

function onKey(event) {
  const cell = cellOf(event);
  if (event.key === "Escape" && before) {
    before = null;
    render();
    byId("status").textContent = "";
  }
  if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(Arrow|Home$|End$)/.test(event.key)) moveFocus(neighbour(cell, event.key));
  else if (event.key === "Enter" || event.key === "F2") edit(cell, "");
  else if (/^[\d-]$/.test(event.key)) edit(cell, event.key);
  else return;
  event.preventDefault();
}

const cellOf = (event) => event.target.closest && event.target.closest(".cell");

function listenToStage() {
  const stage = byId("stage");
  let dragging = false;
  let touched = null; // the number that a finger has only just chosen: the next touch edits it

  const dragTo = (event) => {
    const under = document.elementFromPoint(event.clientX, event.clientY);
    const cell = under && under.closest('.cell[data-letter="x"]');
    if (cell) showWindow(windowAt(...split(Number(cell.dataset.index), view.call.x.shape).slice(1)));
  };

  stage.addEventListener("pointerover", (event) => {
    const cell = cellOf(event);
    if (cell && !dragging && event.pointerType === "mouse") showCell(cell, false);
  });
  stage.addEventListener("pointerdown", (event) => {
    const cell = cellOf(event);
    touched = null;
    if (!cell) return;
    if (state.mode === "im2col" && cell.dataset.letter === "x" && !view.empty) {
      dragging = true;
      if (event.target.hasPointerCapture(event.pointerId)) event.target.releasePointerCapture(event.pointerId);
      dragTo(event);
      event.preventDefault();
    } else if (event.pointerType !== "mouse") {
      if (cell !== pointed) touched = cell;
      showCell(cell, false);
    }
  });
  stage.addEventListener("pointermove", (event) => dragging && dragTo(event));
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (dragging = false));
  stage.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (!cell || (state.mode === "im2col" && cell.dataset.letter === "x")) return;
    moveFocus(cell);
    if (cell !== touched) edit(cell, "");
  });
  stage.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (!cell || dragging) return;
    makeReachable(cell);
    showCell(cell, true);
    if (cell.matches(":focus-visible")) cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  addEventListener("keydown", onKey);
}

function listenToControls() {
  byId("modes").addEventListener("click", ({ target }) => {
    const { mode } = target.dataset;
    if (!mode) return;
    if (state.do === "mistake") newSession();
    change({ mode, puzzle: mode === "im2col" ? 0 : state.puzzle });
  });
  byId("activities").addEventListener("click", ({ target }) => {
    const activity = target.dataset.do;
    if (activity === undefined) return;
    newSession();
    if (activity === "predict") startTask(state.task);
    else change({ do: activity, puzzle: 0, mistake: "", task: 1 });
  });
  byId("groups").addEventListener("input", ({ target }) => {
    change({ g: Settings.commonDivisors(state.ci, state.co)[target.value], disturbed: {} });
  });
  byId("small").addEventListener("change", ({ target }) => {
    const name = target.dataset.set;
    const numbers = target.value.split(separator(name)).map(Number);
    change({ [name]: Array.isArray(state[name]) ? numbers : numbers[0] });
  });
  byId("mix").addEventListener("change", ({ target }) => change({ mix: Number(target.checked) }));
  byId("actions").addEventListener("click", ({ target }) => {
    const { disturb, block } = target.dataset;
    if (disturb) {
      const key = `${byId("disturb-what").value}.${disturb}`;
      change({ disturbed: { ...state.disturbed, [key]: ((state.disturbed[key] || 0) % 99) + 1 } }, true);
      byId("disturb-groups").children[disturb].focus();
    } else if (block) {
      change({ block: Number(block) });
      byId("block-groups").children[block].focus();
    } else if (target.id === "renew") change({ seed: (state.seed % 9999) + 1, edits: {}, disturbed: {} });
    else if (target.id === "restore") change({ edits: {}, disturbed: {} }, true);
  });
  byId("activity").addEventListener("change", ({ target }) => {
    if (target.id === "mistake") change({ mistake: target.value });
  });
  byId("activity").addEventListener("click", ({ target }) => {
    const { task, choice } = target.dataset;
    if (task) startTask(Number(task));
    else if (choice) answer(Number(choice));
    else if (target.id === "puzzle") startPuzzle();
    else if (target.id === "catalogue") change({ puzzle: 0, mistake: view.mistake.name });
    else if (target.id === "elsewhere") showElsewhere();
    else if (target.id === "hint") {
      session.hint = true;
      render();
    } else return;
    // The button is gone: the focus goes to what follows it.
    const next = byId("activity").querySelector(".choices button:enabled, select, [data-task]:last-child:enabled, button:enabled");
    next.focus({ preventScroll: true });
  });
  addEventListener("hashchange", load);
  addEventListener("resize", () => requestAnimationFrame(render));
}

for (const id of ["main", "modes", "activities"]) byId(id).hidden = false;
makeControls();
listenToStage();
listenToControls();
load();
})(globalThis);
