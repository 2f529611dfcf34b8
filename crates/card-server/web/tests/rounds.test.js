import assert from "node:assert/strict";
import { test } from "node:test";
import { Rounds, lastWithCandidates, reason, summary, tokensOf, why } from "../rounds.js";
import { treeText } from "../view.js";

const policy = { gated: false, rate: 0.02, plain: 0.02, sequences: 1, ready: 0, taken: 0, expected: 1, forward_ms: 50, drafted: 0, foresight: null };
const node = (token, parent, accepted, source = "draft") => ({ token, parent, accepted, sources: [source], prob: 0.5, reach: 0.5 });
const plainRound = (more = {}) => ({ kind: "round", request: "a", round: 1, nodes: [], tokens: ["x"], accepted: [], elapsed_ms: 50, plain_ms: 50, hit: null, policy, ...more });
const tree = (more = {}) => plainRound({
  nodes: [node(" a", null, true), node(" b", 0, false), node(" c", null, false, "prompt_lookup")],
  tokens: [" a", " d"], accepted: [["draft"]], ...more,
});

test("rounds are kept apart by request, and only so many", () => {
  const rounds = new Rounds();
  rounds.hear({ kind: "begin", request: "a" });
  for (const request of ["a", "b", "a"]) rounds.hear(plainRound({ request }));
  rounds.hear(plainRound({ choice: 1 }));
  assert.equal(rounds.of("a").length, 2);
  assert.deepEqual(rounds.of(null), []);
  rounds.claim("a");
  for (let i = 0; i < 100; i++) rounds.hear(plainRound({ request: `r${i}` }));
  for (let i = 0; i < 600; i++) for (const request of ["a", "r99"]) rounds.hear(plainRound({ request }));
  // One's own are all there, of others only what could have been one's own.
  assert.deepEqual([rounds.of("a").length, rounds.of("b").length, rounds.of("r99").length], [602, 0, 500]);
});

test("each token has who proposed it and its round, and the tree is told in words", () => {
  const found = tokensOf([plainRound(), tree()]);
  assert.deepEqual(found.map(({ token, sources, place }) => [token, sources, place]), [["x", null, 0], [" a", ["draft"], 1], [" d", null, 1]]);
  assert.equal(treeText(tree()), "✓ ␣a, ✗ ␣b, ✗ ␣c, → ␣d");
});

test("the last round with candidates stays in view", () => {
  assert.equal(lastWithCandidates([tree(), plainRound(), plainRound()]), 0);
  assert.equal(lastWithCandidates([plainRound()]), -1);
});

test("the speed-up is never above the tokens per forward", () => {
  const calm = Array.from({ length: 40 }, () => tree({ elapsed_ms: 60, plain_ms: 48 }));
  const found = summary(calm);
  assert.deepEqual([found.tokens, found.forwards, found.perForward], [80, 40, 2]);
  assert.ok(Math.abs(found.speedup - 1.6) < 1e-9 && Math.abs(found.rate - 80 / 2.4) < 1e-9);
  assert.deepEqual([found.few, found.noisy, found.disturbed], [false, false, false]);
  // A baseline that was measured beside other work promises what cannot be.
  const disturbed = summary(calm.map((round) => ({ ...round, plain_ms: 170 })));
  assert.deepEqual([disturbed.speedup, disturbed.disturbed], [2, true]);
});

test("short and scattered answers are called so", () => {
  const mixed = [tree({ elapsed_ms: 20 }), plainRound({ elapsed_ms: 300 }), tree({ elapsed_ms: 90 })];
  assert.deepEqual([summary(mixed).few, summary(mixed).noisy], [true, true]);
  assert.ok(summary([plainRound()]).noisy);
  assert.equal(summary([]), null);
  assert.equal(summary([plainRound({ plain_ms: null })]), null);
});

test("why is the commonest reason of the last rounds", () => {
  const with_ = (more) => plainRound({ policy: { ...policy, ...more } });
  assert.equal(reason(with_({ taken: 3, ready: 5 })).kind, "verified");
  assert.equal(reason(with_({ ready: 5 })).kind, "unlikely");
  assert.equal(reason(with_({ gated: true })).kind, "gated");
  assert.deepEqual(reason(with_({ foresight: { steps: 2, tokens: 0.4, ms: 30 } })).numbers.worth, 0.6);
  assert.equal(reason(with_({})).kind, "nothing");
  assert.equal(reason({}), null);
  const found = why([with_({ gated: true }), with_({ taken: 3, ready: 5 }), with_({ taken: 4, ready: 4 }), with_({ gated: true }), with_({ taken: 2, ready: 2 })]);
  assert.deepEqual([found.kind, found.numbers.taken, found.share], ["verified", 2, 0.6]);
  assert.equal(why([]), null);
});
