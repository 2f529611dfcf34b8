import assert from "node:assert/strict";
import { test } from "node:test";
import { align, pack, unpack } from "../marks.js";
import { offsets } from "../offsets.js";

/** The parts of the text by token. */
const parts = (tokens, text) => align(tokens, text).map(({ from, to, index }) => [text.slice(from, to), index]);

test("tokens that are the text are found as they are", () => {
  assert.deepEqual(parts(["Hel", "lo", " world"], "Hello world"), [["Hel", 0], ["lo", 1], [" world", 2]]);
  // The text is behind its tokens, or they are behind it.
  assert.deepEqual(parts(["Hel", "lo", " world"], "Hello wo"), [["Hel", 0], ["lo", 1]]);
  assert.deepEqual(parts(["Hel"], "Hello"), [["Hel", 0]]);
  assert.deepEqual(parts([], "Hello"), []);
});

test("control tokens and dropped white space are in no text", () => {
  assert.deepEqual(parts(["<think>", "\n", "Hm.", "\n", "</think>", "\n\n", "Yes", "."], "Hm.\nYes."),
    [["Hm.", 2], ["\n", 3], ["Yes", 6], [".", 7]]);
  assert.deepEqual(parts(["a", "<|im_end|>"], "a"), [["a", 0]]);
});

test("letters that several tokens make belong to these", () => {
  const part = "\ufffd";
  assert.deepEqual(parts(["は", part, part, "です"], "は鱗です"), [["は", 0], ["鱗", 1], ["です", 3]]);
  assert.deepEqual(parts([part, part, part, part, "。"], "鱗鰭。"), [["鱗", 0], ["鰭", 2], ["。", 4]]);
});

test("a token that stands far away is not jumped to", () => {
  const text = `abc ${"x".repeat(200)} end`;
  assert.deepEqual(parts(["abc", "?", " end"], text), [["abc", 0]]);
});

test("marks are the same after they were kept", () => {
  const marks = [{ from: 2, to: 5, source: "draft" }, { from: 5, to: 6, source: "target" }, { from: 9, to: 12, source: "draft" }];
  assert.deepEqual(unpack(JSON.parse(JSON.stringify(pack(marks)))), marks);
  assert.deepEqual(unpack({ names: ["draft"], runs: [0, 2, 0, -1, 2, 0, "x"] }), [{ from: 0, to: 2, source: "draft" }]);
});

/** For each letter that is shown, the letter of the source. */
const shown = (source, text, from) => [...offsets(source, text, from)].map((place) => (place < 0 ? "?" : source[place])).join("");

test("what is shown is found in its Markdown", () => {
  for (const [source, text] of [
    ["Here is **bold** and `code` & more", "Here is bold and code & more"],
    ["See [the article](https://example.org/a \"sort\").", "See the article."],
    ["- one\n- two\n  - three\n", "one\ntwo\nthree"],
    ["| a | b |\n|---|--:|\n| c | d |\n", "abcd"],
    ["## How it *works*\n", "How it works"],
    ["a \\* b", "a * b"],
  ]) assert.equal(shown(source, text), text, source);
  // A fence's word is not its code, and an entity is one letter.
  assert.deepEqual([...offsets("```c\ncc\n```", "cc", 5)], [5, 6]);
  assert.deepEqual([...offsets("a &lt; b", "a < b")], [0, 1, 2, 6, 7]);
  // A letter that is not in the source keeps nothing else from being found.
  assert.deepEqual([...offsets("ab", "a✓b")], [0, -1, 1]);
});
