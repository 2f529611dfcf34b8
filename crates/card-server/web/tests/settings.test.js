import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, readNumber, readSettings, requestBody } from "../settings.js";

test("a field is a number within its bounds, empty, or wrong", () => {
  assert.equal(readNumber("temperature", " 0,7 "), 0.7);
  assert.equal(readNumber("temperature", ""), null);
  assert.equal(readNumber("seed", null), null);
  for (const [name, text] of [["temperature", "-1"], ["temperature", "2.1"], ["temperature", "x"], ["topP", "0"], ["topP", "1.5"],
    ["seed", "1.5"], ["seed", "-1"], ["maxTokens", "0"], ["maxTokens", "Infinity"]]) {
    assert.equal(readNumber(name, text), undefined, `${name} ${text}`);
  }
});

test("settings are read by type", () => {
  assert.deepEqual(readSettings("x"), DEFAULTS);
  assert.deepEqual(readSettings({ system: 5, temperature: "hot", seed: [], plain: "yes" }), { ...DEFAULTS, seed: null });
  assert.equal(readSettings({ temperature: null }).temperature, null);
});

test("a request says what was set, and nothing else", () => {
  const messages = [{ role: "user", content: "a" }, { role: "assistant", content: "b", thinking: "t", marks: {} }];
  assert.deepEqual(requestBody(readSettings({ temperature: null }), messages, "m"), {
    model: "m", stream: true, messages: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }],
  });
  const all = { system: "s", model: "other", temperature: 0, topP: 0.9, seed: 0, maxTokens: 7, plain: true };
  assert.deepEqual(requestBody(readSettings(all), [], "m"), {
    model: "other", stream: true, messages: [{ role: "system", content: "s" }],
    temperature: 0, top_p: 0.9, seed: 0, max_tokens: 7, speculation: "off",
  });
});
