// A turn of the conversation on the page: a question, or an answer as it is written.
import { blockNodes, blocks, codeStart } from "./markdown.js";
import { paint } from "./paint.js";
import { el } from "./view.js";

/** @returns {HTMLButtonElement} */
export function button(label, act, className = "") {
  const node = el("button", { type: "button", class: className }, label);
  node.addEventListener("click", () => act(node));
  return node;
}

/** Puts text on the clipboard, also where the page has no secure context. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { /* not allowed here: the older way */ }
  const area = el("textarea", { class: "sr", "aria-hidden": "true" });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus?.();
  return done;
}

/** A button that copies what `text` gives, and says so. */
export function copyButton(label, words, text) {
  return button(label, async (node) => {
    if (!(await copyText(text()))) return;
    node.textContent = words.copied;
    setTimeout(() => { node.textContent = label; }, 1500);
  }, "small");
}

/**
 * A question, with a button that makes it a field. `edit` gets the new text.
 * @param {string} content
 */
export function questionTurn(content, words, edit) {
  const text = el("div", { class: "words" }, content);
  const tools = el("div", { class: "tools" });
  const turn = el("article", { class: "turn user", "aria-label": words.you }, text, tools);
  const show = () => {
    tools.replaceChildren(copyButton(words.copy, words, () => content), button(words.edit, change, "small edit"));
    text.replaceChildren(content);
  };
  const change = () => {
    const area = el("textarea", { rows: String(Math.min(12, content.split("\n").length + 1)), "aria-label": words.edit });
    area.value = content;
    const back = () => { show(); tools.querySelector(".edit").focus(); };
    const send = () => { if (area.value.trim()) edit(area.value.trim()); };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); back(); }
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    });
    text.replaceChildren(area);
    tools.replaceChildren(button(words.send, send, "small primary"), button(words.cancel, back, "small"));
    area.focus();
  };
  show();
  return turn;
}

/** An answer. Blocks of its text that did not change are not drawn again. */
export class AnswerTurn {
  /** @param {{again: () => void, choose: (place: number) => void, text: () => string}} acts */
  constructor(words, acts) {
    this.words = words;
    this.acts = acts;
    this.thought = el("div", { class: "words" });
    this.thoughts = el("details", { class: "thinking", hidden: "" }, el("summary", {}, words.thinking), this.thought);
    this.body = el("div", { class: "answer" });
    this.line = el("span", { class: "line" });
    this.tools = el("div", { class: "tools" }, this.line);
    this.node = el("article", { class: "turn assistant", "aria-label": words.model }, this.thoughts, this.body, this.tools);
    this.node.addEventListener("click", (event) => {
      const token = event.target instanceof Element ? event.target.closest(".token[data-round]") : null;
      if (token) acts.choose(Number(token.dataset.round));
    });
    /** What each block was drawn from. */
    this.drawn = [];
  }

  /**
   * Draws what is there.
   * @param {{thinking: string, content: string, tokens: import("./paint.js").Painted[]}} answer
   *   the places of tokens count from the beginning of the thinking
   */
  draw({ thinking, content, tokens }) {
    this.thoughts.hidden = !thinking;
    if (thinking) {
      this.thought.replaceChildren(thinking);
      paint(this.thought, thinking, 0, 0, within(tokens, 0, thinking.length));
    }
    const parts = content ? blocks(content) : [];
    let at = thinking.length;
    parts.forEach((block, i) => {
      const inside = within(tokens, at, at + block.raw.length);
      const key = `${inside.length} ${inside.at(-1)?.to ?? 0} ${block.raw}`;
      if (this.drawn[i] !== key) {
        this.place(i, this.blockNode(block, at, inside));
        this.drawn[i] = key;
      }
      at += block.raw.length;
    });
    while (this.body.children.length > parts.length) this.body.lastChild.remove();
    this.drawn.length = parts.length;
  }

  /** Puts the node of a block where it belongs; one that only scrolls keeps where it is. */
  place(i, node) {
    const old = this.body.children[i];
    if (!old) { this.body.append(node); return; }
    const scrolled = old.querySelector("pre")?.scrollLeft ?? 0;
    old.replaceWith(node);
    const pre = node.querySelector("pre");
    if (pre && scrolled) pre.scrollLeft = scrolled;
  }

  blockNode(block, at, tokens) {
    const node = el("div", { class: "block" }, blockNodes(block));
    paint(node, block.raw, at, codeStart(block), tokens);
    for (const pre of node.querySelectorAll("pre")) this.frame(pre);
    for (const table of node.querySelectorAll("table")) {
      const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "↔" });
      table.replaceWith(scroll);
      scroll.append(table);
    }
    return node;
  }

  /** Code with its language and a button that copies it. */
  frame(pre) {
    const { words } = this;
    const head = el("div", { class: "code-head" }, el("span", {}, pre.className.replace("language-", "")),
      copyButton(words.copyCode, words, () => pre.textContent.replace(/\n$/, "")));
    pre.tabIndex = 0;
    const frame = el("div", { class: "code" });
    pre.replaceWith(frame);
    frame.append(head, pre);
  }

  /** Says how it went, and offers to copy it and to write it again. */
  finish(line, sameAgain) {
    const { words, acts } = this;
    this.line.textContent = line;
    const again = button(words.again, acts.again, "small again");
    if (sameAgain) again.title = words.againSame;
    this.tools.replaceChildren(copyButton(words.copy, words, acts.text), again, this.line);
  }
}

/** The tokens of a part of the text. */
function within(tokens, from, to) {
  return tokens.filter((token) => token.to > from && token.from < to);
}
