import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversations, asMarkdown, fileName, readConversation, titleOf } from "../conversations.js";

/** A storage with room for so many letters. */
function storage(room = Infinity) {
  const kept = new Map();
  return {
    get length() { return kept.size; },
    key: (i) => [...kept.keys()][i] ?? null,
    getItem: (key) => kept.get(key) ?? null,
    setItem(key, value) {
      if (value.length > room) throw new DOMException("full", "QuotaExceededError");
      kept.set(key, value);
    },
    removeItem: (key) => { kept.delete(key); },
  };
}

test("a conversation is found again as it was kept, the last that changed first", () => {
  const store = storage(), book = new Conversations(store);
  store.setItem("card.theme", "dark");
  const first = book.begin({ temperature: 0.5 }, 1), second = book.begin({}, 2);
  first.messages.push({ role: "user", content: "Hello\nthere" },
    { role: "assistant", content: "Hi", thinking: "hm", marks: { names: ["draft"], runs: [0, 2, 0] }, stopped: true });
  second.messages.push({ role: "user", content: "Two" });
  assert.ok(book.keep(second, 10) && book.keep(first, 20));
  assert.deepEqual(book.all().map((c) => c.title), ["Hello", "Two"]);
  assert.deepEqual(book.find(first.id), first);
  assert.equal(book.find(first.id).settings.temperature, 0.5);
  book.remove(first.id);
  assert.deepEqual(book.all().map((c) => c.id), [second.id]);
  assert.equal(store.getItem("card.theme"), "dark");
});

test("a full browser is told, and what was kept stays", () => {
  const book = new Conversations(storage(200)), conversation = book.begin({}, 1);
  conversation.messages.push({ role: "user", content: "short" });
  assert.ok(book.keep(conversation));
  conversation.messages.push({ role: "assistant", content: "x".repeat(500) });
  assert.equal(book.keep(conversation), false);
  assert.equal(book.find(conversation.id).messages.length, 1);
});

test("what is no conversation is none", () => {
  const wrong = ["", "{", "null", "[]", "{}", '{"messages":5}', '{"messages":[null]}', '{"messages":[{"role":"system","content":"x"}]}',
    '{"messages":[{"role":"user","content":5}]}'];
  for (const text of wrong) assert.equal(readConversation("a", text), null, text);
  const odd = readConversation("a", '{"messages":[{"role":"assistant","content":"x","figures":{"tokens":"9"},"marks":{"runs":1}}],"settings":{"temperature":99}}');
  assert.deepEqual(odd.messages, [{ role: "assistant", content: "x" }]);
  assert.equal(odd.settings.temperature, 0);
});

test("titles and names of files are short and whole letters", () => {
  assert.equal(titleOf("  One\ntwo"), "One");
  assert.equal([...titleOf("🙂".repeat(80))].length, 48);
  assert.equal(fileName({ title: "Écris-moi: a/b \\ 日本語？" }), "Écris-moi-a-b-日本語.md");
  assert.equal(fileName({ title: "…" }), "conversation.md");
});

test("a conversation is exported with all that was said", () => {
  const conversation = new Conversations(storage()).begin({ system: "Be brief." }, 1);
  conversation.title = "Hello";
  conversation.messages.push({ role: "user", content: "Hello" }, { role: "assistant", content: "```c\nint a;\n```", thinking: "hm" });
  assert.equal(asMarkdown(conversation, { you: "You", model: "Model", system: "System prompt", thinking: "Thinking" }),
    "# Hello\n\n## System prompt\n\nBe brief.\n\n## You\n\nHello\n\n## Model\n\n<details><summary>Thinking</summary>\n\nhm\n\n</details>\n\n```c\nint a;\n```\n");
});
