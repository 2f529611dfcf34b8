import assert from "node:assert/strict";
import { test } from "node:test";
import { AnswerError, EventReader, readChunk } from "../stream.js";

const STREAM = ": keep-alive\n\ndata: {\"a\":1}\r\n\r\nevent: x\ndata: one\ndata:two\n\rdata: three\r\rdata: [DONE]\n\n";

test("events are the same however their bytes are cut", () => {
  const wanted = new EventReader().push(STREAM);
  assert.deepEqual(wanted, ['{"a":1}', "one\ntwo", "three", "[DONE]"]);
  for (let size = 1; size < STREAM.length; size++) {
    const reader = new EventReader(), found = [];
    for (let at = 0; at < STREAM.length; at += size) found.push(...reader.push(STREAM.slice(at, at + size)));
    assert.deepEqual(found, wanted, `pieces of ${size}`);
  }
});

test("a chunk is text, thinking, an end, or nothing", () => {
  const chunk = (delta, finish = null) => ({ id: "chatcmpl-r1", choices: [{ delta, finish_reason: finish }] });
  assert.deepEqual(readChunk(chunk({ content: "a" })), { request: "r1", text: "a" });
  assert.deepEqual(readChunk(chunk({ reasoning_content: "t" })), { request: "r1", thinking: "t" });
  assert.deepEqual(readChunk(chunk({}, "length")), { request: "r1", finish: "length" });
  assert.deepEqual(readChunk({ choices: [] }), {});
  assert.throws(() => readChunk({ error: { message: "no room" } }), (e) => e instanceof AnswerError && e.message === "no room");
});
