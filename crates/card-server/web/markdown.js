// Markdown of a model as a page shows it. A model's text is hostile: HTML in it is shown as text,
// pictures become links, and whatever becomes HTML goes through DOMPurify with a list of its own.
import { Marked } from "./vendor/marked/marked.esm.js";
import "./vendor/dompurify/purify.min.js";
import hljs from "./vendor/highlight/core.min.js";
import bash from "./vendor/highlight/bash.min.js";
import c from "./vendor/highlight/c.min.js";
import cpp from "./vendor/highlight/cpp.min.js";
import css from "./vendor/highlight/css.min.js";
import diff from "./vendor/highlight/diff.min.js";
import go from "./vendor/highlight/go.min.js";
import ini from "./vendor/highlight/ini.min.js";
import java from "./vendor/highlight/java.min.js";
import javascript from "./vendor/highlight/javascript.min.js";
import json from "./vendor/highlight/json.min.js";
import markdown from "./vendor/highlight/markdown.min.js";
import python from "./vendor/highlight/python.min.js";
import rust from "./vendor/highlight/rust.min.js";
import shell from "./vendor/highlight/shell.min.js";
import sql from "./vendor/highlight/sql.min.js";
import typescript from "./vendor/highlight/typescript.min.js";
import xml from "./vendor/highlight/xml.min.js";
import yaml from "./vendor/highlight/yaml.min.js";

const LANGUAGES = {
  bash, c, cpp, css, diff, go, ini, java, javascript, json, markdown, python, rust, shell, sql, typescript, xml, yaml,
};
for (const [name, grammar] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, grammar);

/** Longer code is shown without colours: highlighting it would take the page's time. */
const MOST_CODE = 60000;
const TAGS = ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "input", "li",
  "ol", "p", "pre", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"];
const ATTRIBUTES = ["align", "checked", "class", "disabled", "href", "start", "title", "type"];

/** @param {string} text */
export function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

/** Code as HTML, highlighted where its language is known. */
function highlighted(code, language) {
  if (!language || code.length > MOST_CODE || !hljs.getLanguage(language)) return escapeHtml(code);
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

/** An address that a click may open; anything else is shown as text. */
function address(href) {
  return /^(?:https?:\/\/|mailto:)/i.test(href) ? href : null;
}

function link(href, title, inner) {
  const to = address(href);
  if (to === null) return inner;
  return `<a href="${escapeHtml(to)}"${title ? ` title="${escapeHtml(title)}"` : ""}>${inner}</a>`;
}

const marked = new Marked({
  gfm: true,
  renderer: {
    code({ text, lang }) {
      const language = (lang ?? "").trim().split(/\s/)[0].toLowerCase();
      return `<pre class="language-${escapeHtml(language)}"><code>${highlighted(text, language)}\n</code></pre>\n`;
    },
    html({ text, block }) {
      if (/^<br\s*\/?>$/i.test(text.trim())) return "<br>";
      return block ? `<p class="html">${escapeHtml(text)}</p>\n` : escapeHtml(text);
    },
    link({ href, title, tokens }) { return link(href, title, this.parser.parseInline(tokens)); },
    image({ href, title, text }) { return link(href, title, escapeHtml(text || href)); },
  },
});

/**
 * The blocks of a text: paragraphs, lists, code and so on. Their sources together are the text.
 * @param {string} source
 * @returns {{raw: string, type: string}[]}
 */
export function blocks(source) { return marked.lexer(source); }

/** A block as HTML that nobody has cleaned yet. @param {{raw: string, type: string}} block */
export function blockHtml(block) { return marked.parser([block]); }

/** A block as part of a page. @returns {DocumentFragment} */
export function blockNodes(block) {
  const clean = globalThis.DOMPurify.sanitize(blockHtml(block), {
    ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ATTRIBUTES, ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i, RETURN_DOM_FRAGMENT: true,
  });
  for (const anchor of clean.querySelectorAll("a")) {
    anchor.target = "_blank";
    anchor.rel = "noopener noreferrer";
  }
  for (const box of clean.querySelectorAll("input")) {
    if (box.type === "checkbox") box.disabled = true;
    else box.remove();
  }
  return clean;
}

/** Where the code of a fenced block begins in its source. */
export function codeStart(block) {
  return block.type === "code" && /^ {0,3}(?:```|~~~)/.test(block.raw) ? block.raw.indexOf("\n") + 1 : 0;
}
