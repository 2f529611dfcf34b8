// Marks in a part of a page which token each letter belongs to, and who proposed the token.
import { el } from "./view.js";
import { offsets } from "./offsets.js";

/**
 * @typedef {object} Painted a token of the text
 * @property {number} from place of its first letter in the whole text
 * @property {number} to the place after its last letter
 * @property {string} kind class of its source, such as `s-draft`
 * @property {string} title what stood there
 * @property {number} [place] its round, where that is known
 */

/** The nodes of text that come from the source, and not from the page. */
function textNodes(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const between = node.data.includes("\n") && !node.data.trim() && !node.parentElement?.closest("code");
    if (!between) nodes.push(node);
  }
  return nodes;
}

/** The token of a place in the whole text, at or after number `near`; -1 if there is none. */
function tokenAt(tokens, place, near) {
  let i = near;
  while (i < tokens.length && tokens[i].to <= place) i += 1;
  return i < tokens.length && tokens[i].from <= place ? i : -1;
}

function spanOf(token, text) {
  const span = el("span", { class: `token ${token.kind}` }, text);
  span.title = token.title;
  if (token.place !== undefined) span.dataset.round = String(token.place);
  return span;
}

/** Puts the letters of a node into spans by token. */
function split(node, numbers, tokens) {
  const pieces = [];
  for (let i = 0; i < numbers.length;) {
    let end = i + 1;
    while (end < numbers.length && numbers[end] === numbers[i]) end += 1;
    const text = node.data.slice(i, end);
    pieces.push(numbers[i] < 0 ? text : spanOf(tokens[numbers[i]], text));
    i = end;
  }
  node.replaceWith(...pieces);
}

/**
 * Colours what was made from a part of the text.
 * @param {Element | DocumentFragment} root
 * @param {string} raw the part's source
 * @param {number} start where the part begins in the whole text
 * @param {number} from where in `raw` the shown text begins at the earliest
 * @param {Painted[]} tokens in the order of the text
 */
export function paint(root, raw, start, from, tokens) {
  if (!tokens.length) return;
  const nodes = textNodes(root);
  const text = nodes.map((node) => node.data).join("");
  const places = offsets(raw, text, from);
  let near = 0;
  const numbers = new Int32Array(text.length).fill(-1);
  for (let i = 0; i < text.length; i++) {
    if (places[i] < 0) continue;
    const found = tokenAt(tokens, start + places[i], near);
    if (found < 0) continue;
    near = found;
    numbers[i] = found;
  }
  let at = 0;
  for (const node of nodes) {
    const length = node.data.length;
    split(node, numbers.subarray(at, at + length), tokens);
    at += length;
  }
}
