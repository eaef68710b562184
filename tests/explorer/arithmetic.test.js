// node --test: conv.js and mistakes.js against results of npresnext, which test_arithmetic.py writes to EXPLORER_CASES.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const test = require("node:test");

const EXPLORER = path.join(__dirname, "..", "..", "docs", "explorer");
const Conv = require(path.join(EXPLORER, "conv.js"));
const Mistakes = require(path.join(EXPLORER, "mistakes.js"));
const Settings = require(path.join(EXPLORER, "settings.js"));
const CATALOGUE = require(path.join(EXPLORER, "catalogue.js"));
const TASKS = require(path.join(EXPLORER, "tasks.js"));

const { cases, entries } = JSON.parse(fs.readFileSync(process.env.EXPLORER_CASES, "utf8"));

/* JSON has no NaN: memory that was never written is null there. */
function same(actual, expected, message) {
  assert.deepStrictEqual(actual.shape, expected.shape, message);
  const equal = actual.data.every((value, i) => (expected.data[i] === null ? Number.isNaN(value) : value === expected.data[i]));
  assert.ok(equal, `${message}: ${actual.data} instead of ${expected.data}`);
}

test("results, columns and overlap counts are those of the reference", () => {
  assert.ok(cases.length >= 300);
  for (const { name, call, expected } of cases) {
    for (const result of ["y", "dx", "dw"]) same(Conv.result(call, result), expected[result], `${name}: ${result}`);
    same(Conv.im2col(call), expected.columns, `${name}: im2col`);
    same(Conv.col2im(expected.spread, call), expected.image, `${name}: col2im`);
    same(Conv.cover(call, expected.y.shape.slice(1)), expected.cover, `${name}: overlap counts`);
    assert.deepStrictEqual(Conv.counts(call), expected.counts, `${name}: counters`);
  }
});

test("the three inner products are equal", () => {
  for (const { name, call, expected } of cases) {
    const products = [
      Conv.inner(call.gradOutput, Conv.forward(call)),
      Conv.inner(call.x, Conv.inputGradient(call)),
      Conv.inner(call.weight, Conv.weightGradient(call)),
    ];
    assert.deepStrictEqual(products, new Array(3).fill(expected.inner), name);
  }
});

test("mistakes compute what they compute in the catalogue", () => {
  let compared = 0;
  for (const { name, call, mistakes } of cases) {
    for (const [mistake, result, expected] of mistakes) {
      same(Mistakes.wrong(mistake, call, result), expected, `${name}: ${mistake}: ${result}`);
      compared += 1;
    }
  }
  assert.ok(compared > 5000, `${compared} results compared`);
});

test("the catalogue of the page has the entries that were generated", () => {
  assert.deepStrictEqual(CATALOGUE, entries);
});

test("every listed mistake has its arithmetic, and no other", () => {
  assert.deepStrictEqual([...Mistakes.names].sort(), CATALOGUE.map((entry) => entry.name).sort());
});

test("every mistake shows, with the numbers of the page, at the settings that the catalogue gives", () => {
  for (const { name, results, at } of CATALOGUE) {
    const { state, notes } = Settings.read(at);
    assert.deepStrictEqual(notes, [], name);
    const call = Settings.call(state);
    const shown = results.some((result) => {
      const [wrong, right] = [Mistakes.wrong(name, call, result), Conv.result(call, result)];
      return wrong.data.length !== right.data.length || wrong.data.some((value, i) => value !== right.data[i]);
    });
    assert.ok(shown, `${name} at ${at}`);
  }
});

test("settings survive the address, and wrong ones are corrected with a note", () => {
  for (const address of [
    "",
    "mode=dx&ci=6&co=3&g=3&n=4x6&k=1x2&s=2x1&p=2%2C1%2C0%2C-1&d=1x2&seed=7&mix=1&e=x.1.2.3_-4&u=w.2_3",
    "mode=im2col&block=1&do=predict&task=3",
    "do=mistake&mistake=ignores+the+stride",
  ]) {
    const { state, notes } = Settings.read(address);
    assert.deepStrictEqual(notes, []);
    assert.deepStrictEqual(Settings.read(Settings.write(state)).state, state);
  }
  for (const address of ["g=3", "ci=99", "k=0x3", "mode=sideways", "n=5", "mistake=none+such", "e=x.9.9.9_1", "u=q.0_1"]) {
    const { notes } = Settings.read(address);
    assert.ok(notes.length === 1, `${address}: ${notes}`);
  }
});

test("a weight keeps its number when the number of groups changes", () => {
  const [dense, grouped] = ["g=1", "g=2"].map((address) => Settings.call(Settings.read(address).state).weight);
  const row = 4 * 9; // numbers of one filter with all four input channels
  assert.deepStrictEqual(grouped.data.slice(0, 18), dense.data.slice(0, 18));
  assert.deepStrictEqual(grouped.data.slice(2 * 18, 3 * 18), dense.data.slice(2 * row + 18, 3 * row));
});

test("the right answer of every task is computed, and is one of its choices", () => {
  assert.strictEqual(TASKS.length, 12);
  for (const task of TASKS) {
    const { state, notes } = Settings.read(task.before);
    assert.deepStrictEqual([notes, Settings.read(task.after).notes], [[], []], task.question);
    const values = task.choices.map((choice) => JSON.stringify(choice.value));
    assert.strictEqual(new Set(values).size, values.length, task.question);
    assert.ok(values.includes(JSON.stringify(task.answer(state))), `${task.question} ${JSON.stringify(task.answer(state))}`);
  }
});
