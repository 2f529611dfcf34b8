import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { SOURCES } from "../view.js";
import { WORDS, chooseLanguage } from "../words.js";

/** A number, a text and numbers with names: whatever a text is made with. */
const ANYTHING = Object.assign(new Number(1), { taken: 1, ready: 2, steps: 1, tokens: 1 });

/** Every text, with the names that lead to it; functions are called. */
function texts(words, names = []) {
  return Object.entries(words).flatMap(([name, value]) => {
    const path = [...names, name];
    if (typeof value === "function") return [[path.join("."), value(ANYTHING, "x")]];
    return typeof value === "object" ? texts(value, path) : [[path.join("."), value]];
  });
}

test("both languages say the same things", () => {
  const names = (words) => texts(words).map(([name]) => name).sort();
  assert.deepEqual(names(WORDS.ja), names(WORDS.en));
  for (const source of [...SOURCES, "other", "target"]) assert.ok(WORDS.en.sources[source] && WORDS.ja.sources[source], source);
});

test("one of a thing is not many", () => {
  assert.match(WORDS.en.line({ tokens: 1, rate: 1, perForward: 1 }), /^1 token ·/);
  assert.match(WORDS.en.caption({ round: 1, candidates: 1, accepted: 1, rejected: 0, ms: 1 }), /1 candidate verified/);
});

test("Japanese has full-width punctuation", () => {
  for (const [name, text] of texts(WORDS.ja)) {
    if (name === "name" || name === "other" || name.endsWith("Code")) continue;
    const between = text.match(/[ぁ-んァ-ヶ一-龠ー]\s*[,:;?!()]|[,:;?!()]\s*[ぁ-んァ-ヶ一-龠]|[ぁ-んァ-ヶ一-龠]\./);
    assert.equal(between, null, `${name}: ${text}`);
  }
});

test("the page asks for words that there are", () => {
  const page = readFileSync(new URL("../index.html", import.meta.url), "utf8");
  const asked = [...page.matchAll(/data-(?:word|label|placeholder)="([^"]+)"/g)].map((found) => found[1]);
  assert.ok(asked.length > 30);
  for (const name of asked) assert.equal(typeof WORDS.ja[name], "string", name);
  // Nothing of it is in the page itself: no script, no style, no address elsewhere.
  assert.doesNotMatch(page, /<script(?![^>]*src="web\/)|<style|style="|\son\w+="|https?:/);
});

test("the language is the one that was chosen, else the browser's", () => {
  assert.equal(chooseLanguage("ja", ["en-GB"]), "ja");
  assert.equal(chooseLanguage("xx", ["de", "ja-JP", "en"]), "ja");
  assert.equal(chooseLanguage(null, ["de", "en-GB", "ja"]), "en");
  assert.equal(chooseLanguage(null, []), "en");
});
