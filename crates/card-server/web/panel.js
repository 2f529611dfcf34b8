// The panel that shows speculation: figures, the reason, the last forward that had candidates, lanes.
import { TOO_FEW, lastWithCandidates, summary, why } from "./rounds.js";
import { SOURCES, drawTimeline, drawTree, el } from "./view.js";

const LANE_MS = 3000;

/** @param {string} id @returns {HTMLElement} */
const part = (id) => document.getElementById(id);

/** The panel, about one answer at a time. */
export class Panel {
  constructor() {
    this.words = null;
    /** @type {any[]} */
    this.rounds = [];
    this.kept = null;
    /** The round that was chosen; null to follow the latest. @type {number | null} */
    this.chosen = null;
    part("before").addEventListener("click", () => this.step(-1));
    part("after").addEventListener("click", () => this.step(1));
    part("follow").addEventListener("click", () => this.choose(null));
    part("tree").addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        event.preventDefault();
        this.step(event.key === "ArrowLeft" ? -1 : 1);
      }
    });
  }

  /** @param {any} words */
  speak(words) {
    this.words = words;
    const kinds = [...SOURCES, "target"];
    part("legend").replaceChildren(...kinds.map((kind) => el("li", {}, el("span", { class: `token s-${kind}` }, words.sources[kind]))));
    this.draw();
  }

  /**
   * Shows these rounds from now on.
   * @param {any[]} rounds
   * @param {import("./rounds.js").Summary | null} kept the figures of an answer whose rounds were not kept
   */
  show(rounds, kept = null) {
    if (rounds !== this.rounds) this.chosen = null;
    this.rounds = rounds;
    this.kept = kept;
    this.draw();
  }

  /** @param {number | null} place */
  choose(place) {
    this.chosen = place;
    this.draw();
  }

  /** The nearest forward with candidates before or after the one that is shown. */
  step(by) {
    let place = this.shown();
    do place += by; while (this.rounds[place] && !this.rounds[place].nodes.length);
    if (this.rounds[place]) this.choose(place);
  }

  /** The place of the round that is shown. */
  shown() { return this.chosen ?? lastWithCandidates(this.rounds); }

  draw() {
    if (!this.words) return;
    for (const id of ["forward", "lanes"]) part(id).hidden = !this.rounds.length;
    this.drawFigures();
    this.drawReason();
    this.drawRound();
    drawTimeline(part("timeline"), this.rounds.slice(-200), LANE_MS, this.words);
  }

  drawFigures() {
    const { words } = this, found = summary(this.rounds) ?? this.kept;
    const figure = (value, name, note = "") => el("div", { class: "figure" },
      el("b", {}, value), el("span", {}, name), ...(note ? [el("em", {}, note)] : []));
    if (!found) {
      part("figures").replaceChildren(el("p", { class: "hint" }, words.nothingYet));
      part("disturbed").hidden = true;
      return;
    }
    const said = found.forwards >= TOO_FEW;
    const note = !said ? words.tooFew : [found.few ? words.soFar : "", found.noisy ? words.noisy(found.spread) : ""].filter(Boolean).join(" · ");
    part("figures").replaceChildren(
      figure(found.rate.toFixed(1), words.rate, found.few ? words.soFar : ""),
      figure(said ? found.speedup.toFixed(2) : "–", words.speedup, note),
      figure(found.perForward.toFixed(2), words.perForward),
      figure(String(found.forwards), words.forwards),
    );
    part("disturbed").textContent = words.disturbed;
    part("disturbed").hidden = !found.disturbed;
  }

  drawReason() {
    const found = why(this.rounds);
    const words = this.kept && !this.rounds.length ? this.words.noRounds : "";
    part("why").textContent = found ? this.words.why[found.kind](found.numbers) : words;
  }

  drawRound() {
    const { words } = this, place = this.shown(), round = this.rounds[place];
    part("follow").hidden = this.chosen === null;
    const other = (by) => this.rounds.some((r, i) => r.nodes.length && (by < 0 ? i < place : i > place));
    part("before").disabled = !round || !other(-1);
    part("after").disabled = !round || !other(1);
    if (!round) {
      part("caption").textContent = "";
      part("tree").replaceChildren(el("p", { class: "hint" }, words.noCandidates));
      return;
    }
    const accepted = round.nodes.filter((node) => node.accepted).length;
    part("caption").textContent = words.caption({
      round: round.round, ms: round.forward_ms, candidates: round.nodes.length, accepted, rejected: round.nodes.length - accepted,
    });
    drawTree(part("tree"), round);
  }
}
