// What the rounds of an answer say: its tokens, its figures, and why the policy did what it did.
import { decisions } from "./view.js";

/** Fewer forwards than these say little: the figures are "so far". */
export const FEW = 30;
/** Fewer forwards than these say nothing of a speed-up. */
export const TOO_FEW = 5;
/** A spread beyond this share of the speed-up is called noisy. */
const NOISY = 0.1;
/** Rounds that are looked at to say why the policy does what it does. */
const RECENT = 16;
/** Without keys, requests of others are told too; so many are held until they turn out to be. */
const MOST_REQUESTS = 64;
/** Rounds that are held of a request which is not known to be one's own. */
const MOST_STRANGE = 500;
const MOST_ROUNDS = 20000;

/** Rounds by request. Those of an answer come before its first piece of text names its request. */
export class Rounds {
  constructor() {
    this.heard = new Map();
    /** The request of the answer that is being written here. @type {string | null} */
    this.mine = null;
  }

  /** A request turned out to be one's own. */
  claim(request) { this.mine = request; }

  /** @param {any} record of /live */
  hear(record) {
    if (record.kind !== "round" || (record.choice ?? 0) !== 0) return;
    if (!this.heard.has(record.request)) {
      this.heard.set(record.request, []);
      const strange = [...this.heard.keys()].filter((request) => request !== this.mine);
      if (strange.length > MOST_REQUESTS) this.heard.delete(strange[0]);
    }
    const rounds = this.heard.get(record.request);
    if (rounds.length < (record.request === this.mine ? MOST_ROUNDS : MOST_STRANGE)) rounds.push(record);
  }

  /** @param {string | null} request */
  of(request) { return this.heard.get(request) ?? []; }
}

/** Every token of the rounds, with its round's place. */
export function tokensOf(rounds) {
  return rounds.flatMap((round, place) => decisions(round).map((decision) => ({ ...decision, place })));
}

/** The place of the last round that had candidates; -1 if none had. */
export function lastWithCandidates(rounds) {
  return rounds.findLastIndex((round) => round.nodes.length > 0);
}

/**
 * Figures of an answer. The speed-up is an estimate: what plain decoding would have taken for these
 * tokens, through what they took. By speculation alone it cannot be more than the mean number of
 * tokens per forward, so an estimate above that is cut there and called disturbed.
 *
 * @typedef {{tokens: number, forwards: number, rate: number, perForward: number, speedup: number,
 *   spread: number, few: boolean, noisy: boolean, disturbed: boolean}} Summary
 * @returns {Summary | null} null without any round
 */
export function summary(rounds) {
  const timed = rounds.filter((round) => round.plain_ms !== null && round.elapsed_ms > 0);
  if (!timed.length) return null;
  const sum = (value) => timed.reduce((all, round) => all + value(round), 0);
  const tokens = sum((round) => round.tokens.length), took = sum((round) => round.elapsed_ms);
  const plain = (round) => round.plain_ms * round.tokens.length;
  const estimate = sum(plain) / took, perForward = tokens / timed.length;
  // Twice the standard error of a ratio of sums.
  const apart = sum((round) => (plain(round) - estimate * round.elapsed_ms) ** 2);
  const spread = timed.length > 1 ? (2 * Math.sqrt(apart * timed.length / (timed.length - 1))) / took : estimate;
  return {
    tokens, perForward, spread,
    forwards: timed.length,
    rate: (1e3 * tokens) / took,
    speedup: Math.min(estimate, perForward),
    few: timed.length < FEW,
    noisy: spread > NOISY * estimate,
    disturbed: estimate > perForward * 1.001,
  };
}

/** Why a round was what it was: a word for the reason, and the numbers for its sentence. */
export function reason(round) {
  const policy = round.policy;
  if (!policy) return null;
  const numbers = {
    taken: policy.taken, ready: policy.ready,
    expected: policy.expected, ms: policy.forward_ms,
    plain: policy.plain * policy.forward_ms,
  };
  if (policy.taken > 0) return { kind: "verified", numbers };
  if (policy.ready > 0) return { kind: "unlikely", numbers };
  if (policy.gated) return { kind: "gated", numbers };
  const next = policy.foresight;
  if (next) {
    return { kind: "dear", numbers: { ...numbers, steps: next.steps, tokens: next.tokens, cost: next.ms, worth: next.ms * policy.rate } };
  }
  return { kind: "nothing", numbers };
}

/**
 * The commonest reason of the last rounds, with the numbers of the last round that had it.
 * @returns {{kind: string, numbers: object, share: number} | null}
 */
export function why(rounds) {
  const recent = rounds.slice(-RECENT).map(reason).filter((found) => found !== null);
  if (!recent.length) return null;
  const counts = new Map();
  for (const { kind } of recent) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const [kind, count] = [...counts].reduce((best, other) => (other[1] > best[1] ? other : best));
  return { ...recent.findLast((found) => found.kind === kind), share: count / recent.length };
}
