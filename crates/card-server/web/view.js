// Draws rounds: the candidate tree, the lanes' timeline, the text by source.
// A module of the chat page; the pages of `card explain` have it in themselves, without `export`.
// So it imports nothing. Text goes in as textContent only.
"use strict";
export const SOURCES = ["draft", "draft2", "prompt_lookup", "correction", "prediction", "grammar", "head"];
const SVG = "http://www.w3.org/2000/svg";

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
export function svg(name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
// Spaces and line breaks made visible.
export function visible(token) {
  if (token === null) return "▒";
  return token.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ /, "␣") || "∅";
}
export function percent(p) { return p === null ? "?" : (100 * p).toFixed(p < 0.1 ? 1 : 0) + " %"; }

// What stood at each place the target decided in a round:
// [{token, sources, candidates: [{token, sources, prob, reach, accepted}]}]
export function decisions(round) {
  let at = null;
  return round.tokens.map((token, i) => {
    const candidates = round.nodes.filter((n) => n.parent === at);
    const next = round.nodes.findIndex((n) => n.parent === at && n.accepted);
    const here = { token, sources: round.accepted[i] || null, candidates };
    at = next >= 0 ? next : -1;
    return here;
  });
}

export function sourceClass(sources) {
  if (!sources || !sources.length) return "s-target";
  // Audit logs of earlier versions call prompt lookup "suffix".
  const names = sources.map((s) => (s === "suffix" ? "prompt_lookup" : s));
  // A source that this page does not know has a colour too.
  return "s-" + (SOURCES.find((s) => names.includes(s)) ?? "other");
}

export function describe(decision, words) {
  const who = decision.sources ? decision.sources.join(" + ") : words.target;
  const lines = [`${visible(decision.token)}  ← ${who}`];
  for (const c of decision.candidates.slice(0, 8)) {
    const mark = c.accepted ? "✓" : "✗";
    lines.push(`${mark} ${visible(c.token)}  ${percent(c.prob)}  (${c.sources.join(" + ")})`);
  }
  if (!decision.candidates.length) lines.push(words.none);
  return lines.join("\n");
}

export function tokenSpan(decision, words) {
  const token = decision.token === null ? "▒ " : decision.token;
  const span = el("span", { class: "token " + sourceClass(decision.sources), tabindex: "-1" }, token);
  span.title = describe(decision, words);
  return span;
}

// The fate of a candidate, without any colour.
export function fate(node) { return node.accepted ? "✓" : "✗"; }
// A round in one line: what was accepted, what was not, and what the target wrote itself.
export function treeText(round) {
  const own = round.tokens.slice(round.accepted.length);
  return round.nodes.map((n) => `${fate(n)} ${visible(n.token)}`).concat(own.map((t) => `→ ${visible(t)}`)).join(", ");
}

// The verified tree of a round, from left to right: ✓ accepted, ✗ rejected, → the target's own.
export function drawTree(target, round, label = treeText(round)) {
  const column = 94, box = 80, row = 24, nodes = round.nodes;
  const children = new Map();
  nodes.forEach((n, i) => {
    const key = n.parent === null ? -1 : n.parent;
    if (!children.has(key)) children.set(key, []);
    children.get(key).push(i);
  });
  const place = [];
  let next = 0, depth = 0;
  (function put(i, d) {
    depth = Math.max(depth, d);
    const below = children.get(i) || [];
    const first = next;
    below.forEach((c) => put(c, d + 1));
    if (!below.length) next += 1;
    place[i + 1] = { d, y: below.length ? place[below[0] + 1].y : first };
  })(-1, 0);
  // A row of its own for what the target wrote after the last accepted candidate.
  const taken = round.accepted.length, own = round.tokens.length > taken ? next : -1;
  const width = 38 + (depth + 1) * column, height = (next + (own >= 0 ? 1 : 0)) * row + 12;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const x = (d) => (d ? 38 + (d - 1) * column : 0), y = (v) => 14 + v * row;
  const short = (t) => { const s = [...visible(t)]; return s.length > 8 ? s.slice(0, 7).join("") + "…" : s.join(""); };
  nodes.forEach((n, i) => {
    const to = place[i + 1], from = place[(n.parent === null ? -1 : n.parent) + 1];
    if (!to || !from) return;
    const x1 = x(from.d) + (from.d ? box : 14), x2 = x(to.d);
    picture.append(svg("path", {
      d: `M${x1} ${y(from.y)} C${x1 + 10} ${y(from.y)} ${x2 - 10} ${y(to.y)} ${x2} ${y(to.y)}`,
      class: n.accepted ? "edge accepted" : "edge",
    }));
  });
  picture.append(svg("circle", { cx: x(0) + 8, cy: y(place[0].y), r: 6, class: "root" }));
  nodes.forEach((n, i) => {
    const at = place[i + 1];
    if (!at) return;
    const group = svg("g", { class: `node ${sourceClass(n.sources)}${n.accepted ? " accepted" : ""}` });
    group.append(svg("rect", { x: x(at.d), y: y(at.y) - 9, width: box, height: 18, rx: 5 }));
    group.append(svg("text", { x: x(at.d) + 5, y: y(at.y) + 4 }, `${fate(n)} ${short(n.token)}`));
    group.append(svg("title", {}, `${visible(n.token)}  ${percent(n.prob)}, reach ${percent(n.reach)}\n${n.sources.join(" + ")}`));
    picture.append(group);
  });
  if (own >= 0) {
    const last = nodes.reduce((best, n, i) => (n.accepted ? i : best), -1);
    const at = place[last + 1], x1 = x(at.d) + (at.d ? box : 14), x2 = x(at.d + 1);
    const d = `M${x1} ${y(at.y)} C${x1 + 10} ${y(at.y)} ${x2 - 10} ${y(own)} ${x2} ${y(own)}`;
    picture.prepend(svg("path", { d, class: "edge accepted" }));
    const group = svg("g", { class: "node s-target accepted" });
    group.append(svg("rect", { x: x2, y: y(own) - 9, width: box, height: 18, rx: 5 }));
    group.append(svg("text", { x: x2 + 5, y: y(own) + 4 }, `→ ${short(round.tokens[taken])}`));
    picture.append(group);
  }
  target.replaceChildren(picture);
}

// Both lanes over the last `span` milliseconds.
export function drawTimeline(target, rounds, span, words) {
  const width = Math.max(240, target.clientWidth || 480), height = 74, left = 64;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", height, role: "img", "aria-label": `${words.target}, ${words.drafter}` });
  if (rounds.length) {
    const last = rounds[rounds.length - 1];
    const end = last.start_ms + last.forward_ms, start = end - span;
    const x = (t) => left + ((t - start) / span) * (width - left - 6);
    const bar = (from, ms, y, kind, text) => {
      if (from + ms < start) return;
      const a = Math.max(left, x(from)), b = x(from + ms);
      const rect = svg("rect", { x: a, y, width: Math.max(1, b - a - 0.5), height: 20, rx: 2, class: kind });
      rect.append(svg("title", {}, text));
      picture.append(rect);
    };
    for (const r of rounds) {
      bar(r.start_ms, r.forward_ms, 8, "lane-target", `${words.target}: ${r.rows} ${words.rows}, ${r.forward_ms.toFixed(1)} ms, +${r.tokens.length}`);
      for (const d of r.drafts) bar(d.start_ms, d.ms, 36, "lane-" + d.source, `${d.source}: ${d.rows} ${words.rows}, ${d.ms.toFixed(1)} ms`);
    }
    const marks = width < 420 ? 2 : 4;
    for (let i = 0; i <= marks; i++) {
      const t = start + (span * i) / marks;
      picture.append(svg("text", { x: x(t) - (i === marks ? 52 : 0), y: 70, class: "axis" }, `${Math.round(t - end)} ms`));
    }
  }
  picture.append(svg("text", { x: 2, y: 22, class: "axis" }, words.target));
  picture.append(svg("text", { x: 2, y: 50, class: "axis" }, words.drafter));
  target.replaceChildren(picture);
}

// Figures over rounds.
export function figures(rounds) {
  const decode = rounds.filter((r) => r.plain_ms !== null);
  const sum = (f) => decode.reduce((s, r) => s + f(r), 0);
  const tokens = sum((r) => r.tokens.length), ms = sum((r) => r.elapsed_ms);
  const plain = sum((r) => r.plain_ms * r.tokens.length);
  const judged = rounds.filter((r) => r.hit !== null && r.hit !== undefined);
  return {
    rate: ms ? (1e3 * tokens) / ms : 0,
    speedup: ms ? plain / ms : 0,
    tau: decode.length ? tokens / decode.length : 0,
    hits: judged.length ? judged.filter((r) => r.hit).length / judged.length : 0,
    rounds: decode.length,
  };
}
