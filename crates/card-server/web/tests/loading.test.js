import assert from "node:assert/strict";
import { test } from "node:test";
import { LoadingLine, loadStage } from "../loading.js";
import { WORDS } from "../words.js";

const health = (progress) => ({ error: { code: 503, message: "Loading model", ...(progress ? { progress } : {}) } });

/** Parts of a page as far as the line needs them. */
function parts() {
  const bar = { value: undefined, removeAttribute(name) { this[name] = undefined; } };
  return { line: { hidden: true }, text: { textContent: "" }, bar, part: { textContent: "" } };
}

/** A server that says this, one after the other. */
function server(...bodies) {
  return async (path, options) => {
    assert.equal(path, "health");
    assert.equal(options.cache, "no-store");
    const body = bodies.shift();
    if (body instanceof Error) throw body;
    return { json: async () => body };
  };
}

test("what /health says of a load is read, and nothing else", () => {
  assert.deepEqual(loadStage(health({ what: "target", percent: 42 })), { what: "target", percent: 42 });
  assert.deepEqual(loadStage(health({ what: "draft", percent: 250.4 })), { what: "draft", percent: 100 });
  for (const body of [null, {}, health(), health({ what: 1, percent: 2 }), health({ what: "a", percent: "2" }), { status: "draining" }]) {
    assert.equal(loadStage(body), null);
  }
});

test("the line says how far it is, in the page's language", async () => {
  const shown = parts();
  const line = new LoadingLine(shown, server(health(), health({ what: "target", percent: 42 }), health({ what: "constructor", percent: 7 })));
  await line.look(() => WORDS.en);
  assert.deepEqual([shown.line.hidden, shown.bar.value, shown.part.textContent], [false, undefined, "Preparing"]);
  assert.equal(shown.text.textContent, WORDS.en.loading);
  await line.look(() => WORDS.en);
  assert.deepEqual([shown.bar.value, shown.part.textContent], [42, "Target model: 42 %"]);
  line.draw(WORDS.ja);
  assert.equal(shown.part.textContent, "ターゲットモデル：42％");
  assert.equal(shown.text.textContent, WORDS.ja.loading);
  await line.look(() => WORDS.en);
  assert.equal(shown.part.textContent, "Model: 7 %");
});

test("a server that does not say how far it is has a bar without a figure", async () => {
  const shown = parts();
  const line = new LoadingLine(shown, server(health({ what: "target", percent: 42 }), new Error("away")));
  await line.look(() => WORDS.en);
  await line.look(() => WORDS.en);
  assert.deepEqual([shown.line.hidden, shown.bar.value, shown.part.textContent], [false, undefined, "Preparing"]);
});

test("an answer that comes when the model is there shows nothing", async () => {
  const shown = parts();
  let answer = (_) => {};
  const late = new Promise((done) => { answer = done; });
  const line = new LoadingLine(shown, () => late);
  const looked = line.look(() => WORDS.en);
  assert.equal(shown.line.hidden, false);
  line.end();
  answer({ json: async () => health({ what: "target", percent: 99 }) });
  await looked;
  assert.deepEqual([shown.line.hidden, line.stage], [true, null]);
});
