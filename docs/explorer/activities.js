/* The two activities as HTML: predict (tasks.js), and find the mistake (catalogue.js).
 *
 * `session` is {answered, hint, choices}: the number of the choice that was made or null, whether the hint is shown, and the
 * mistakes that the puzzle offers.
 */
(function (root) {
"use strict";
const { Conv, Mistakes, Settings, CATALOGUE, TASKS, Figure, View, Explain } = root;
const { escape } = Figure;
const { MODES, NAMES, sameShape, sameNumber, sameNumbers, size } = View;
const { list } = Explain;

const sentence = (text) => escape(text).replace(/`([^`]+)`/g, "<code>$1</code>");
const why = (html) => `<p class="why">${html}</p>`;
const button = (id, text, more = "") => `<button type="button" id="${id}" ${more}>${text}</button>`;
const head = (title, rest) => `<div class="head"><h2>${title}</h2>${rest}</div>`;

/* Buttons for the choices; after an answer they show which one is right. */
function choices(texts, right, { answered }) {
  const buttons = texts.map((text, at) => {
    const verdict = answered === null ? "" : at === right ? "right" : at === answered ? "missed" : "other";
    const sign = { right: "✓ ", missed: "✗ " }[verdict] || "";
    const closed = answered === null ? "" : "disabled";
    return `<button type="button" data-choice="${at}" class="${verdict}" ${closed}>${sign}${text}</button>`;
  });
  return `<div class="choices">${buttons.join("")}</div>`;
}

function task(state, session) {
  const chosen = TASKS[state.task - 1];
  const value = JSON.stringify(chosen.answer(Settings.read(chosen.before).state));
  const right = chosen.choices.findIndex((choice) => JSON.stringify(choice.value) === value);
  const step = (number, text) =>
    `<button type="button" data-task="${number}" ${TASKS[number - 1] ? "" : "disabled"}>${text}</button> `;
  const verdict = session.answered === right ? "Right." : `No: ${chosen.choices[right].text}.`;
  return (
    head(
      `Predict ${state.task} <small>of ${TASKS.length}</small>`,
      `<span>${step(state.task - 1, "Previous")}${step(state.task + 1, "Next")}</span>`,
    ) +
    `<p class="question">${chosen.question}</p>` +
    choices(chosen.choices.map((choice) => choice.text), right, session) +
    (session.answered === null ? "" : why(`<b>${verdict}</b> ${chosen.why}`))
  );
}

/* The catalogue: choose a mistake, see what it computes. */
function catalogue(state, view) {
  const { mistake, wrong, mode } = view;
  const here = CATALOGUE.filter((entry) => entry.results.includes(mode.name));
  const option = (entry) => {
    const name = escape(entry.name);
    return `<option value="${name}" ${mistake === entry ? "selected" : ""}>${name}</option>`;
  };
  const group = (topic) => {
    const entries = here.filter((entry) => entry.topic === topic);
    return `<optgroup label="${topic}">${entries.map(option).join("")}</optgroup>`;
  };
  const select =
    '<label class="wide">A convolution that <select id="mistake"><option value="">makes no mistake</option>' +
    (mistake && !here.includes(mistake) ? option(mistake) : "") +
    `${[...new Set(here.map((entry) => entry.topic))].map(group).join("")}</select></label>`;
  const top = head("Mistakes", select + button("puzzle", "Which one is it?"));
  if (!mistake) return top + why(`${here.length} mistakes change ${NAMES[mode.name]}. Choose one to see what it computes.`);
  const elsewhere = ` ${button("elsewhere", "Settings at which it shows")}`;
  let effect = `It does not change ${NAMES[mode.name]}, but ${list(mistake.results.map((name) => NAMES[name]))}.${elsewhere}`;
  if (wrong) effect = difference(wrong, view.result);
  if (wrong && sameNumbers(wrong, view.result)) effect += elsewhere;
  return `${top}${why(`<b>${effect}</b>`)}${why(`<i>${sentence(mistake.question)}</i> ${sentence(mistake.explanation)}`)}`;
}

function difference(wrong, right) {
  if (sameNumbers(wrong, right)) return "At these settings its result is right: a test with them finds nothing.";
  if (!sameShape(wrong, right)) return `Its shape is ${size(wrong.shape)}, not ${size(right.shape)}.`;
  const different = wrong.data.filter((value, index) => !sameNumber(value, right.data[index])).length;
  return `${different} of ${right.data.length} numbers are wrong.`;
}

/* The mistake of the puzzle among three others that give other results at these settings. */
function puzzleChoices(state, mistake) {
  const { name } = MODES[state.mode];
  const call = Settings.call(state);
  const result = (entry) => JSON.stringify(Mistakes.wrong(entry.name, call, name));
  const chosen = [mistake];
  const seen = new Set([JSON.stringify(Conv.result(call, name)), result(mistake)]);
  const others = CATALOGUE.filter((entry) => entry.results.includes(name));
  for (let draw = 1; chosen.length < 4 && draw < 500; draw++) {
    const entry = others[Settings.hash(state.puzzle, draw) % others.length];
    if (seen.has(result(entry))) continue;
    seen.add(result(entry));
    chosen.push(entry);
  }
  return chosen.sort((one, other) => (one.name < other.name ? -1 : 1));
}

/* A mistake without its name: which one is it? */
function puzzle(state, view, session) {
  const { mistake, wrong, mode, result } = view;
  const another = button("puzzle", "Another one");
  if (!wrong) return head("Which mistake is it?", another) + why(`This one does not change ${NAMES[mode.name]}.`);
  if (!session.choices.length) session.choices = puzzleChoices(state, mistake);
  const right = session.choices.indexOf(mistake);
  const open = session.answered === null;
  const hint = session.hint
    ? `<i>${sentence(mistake.question)}</i>`
    : `${difference(wrong, result)} Change settings and numbers, and watch what happens.`;
  const verdict = session.answered === right ? "Right." : `No: it ${escape(mistake.name)}.`;
  return (
    head(
      "Which mistake is it? <small>A convolution that …</small>",
      `<span>${button("hint", "A question that helps", session.hint || !open ? "disabled" : "")} ` +
        `${another} ${button("catalogue", "All mistakes")}</span>`,
    ) +
    choices(session.choices.map((entry) => escape(entry.name)), right, session) +
    why(open ? hint : `<b>${verdict}</b> ${sentence(mistake.explanation)}`)
  );
}

root.Activities = { task, catalogue, puzzle };
})(globalThis);
