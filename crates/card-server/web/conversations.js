// Conversations, kept in this browser alone (localStorage), one entry each.
import { readSettings } from "./settings.js";

/**
 * @typedef {object} Message
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string} [thinking] what the model thought before it answered
 * @property {import("./marks.js").PackedMarks} [marks] who proposed each token
 * @property {import("./rounds.js").Summary} [figures]
 * @property {boolean} [stopped] the answer was stopped before its end
 * @property {boolean} [cut] the answer has the most tokens that were allowed
 *
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title
 * @property {number} changed milliseconds since 1970
 * @property {import("./settings.js").Settings} settings
 * @property {Message[]} messages
 */

const PREFIX = "card.conversation.";
const MOST_TITLE = 48;
const NUMBERS = ["tokens", "forwards", "rate", "perForward", "speedup", "spread"];

/** The title of a conversation: the beginning of its first question. */
export function titleOf(text) {
  const line = text.trim().split("\n")[0].trim();
  const letters = [...line];
  return letters.length > MOST_TITLE ? `${letters.slice(0, MOST_TITLE - 1).join("")}…` : line;
}

/** @returns {Message | null} a message of what was kept; null if it is none */
function readMessage(given) {
  if (!given || !["user", "assistant"].includes(given.role) || typeof given.content !== "string") return null;
  const message = { role: given.role, content: given.content };
  if (given.role === "user") return message;
  if (typeof given.thinking === "string") message.thinking = given.thinking;
  if (given.marks && Array.isArray(given.marks.runs) && Array.isArray(given.marks.names)) message.marks = given.marks;
  if (NUMBERS.every((name) => Number.isFinite(given.figures?.[name]))) message.figures = given.figures;
  for (const name of ["stopped", "cut"]) if (given[name] === true) message[name] = true;
  return message;
}

/** @returns {Conversation | null} a conversation of what was kept; null if it is none */
export function readConversation(id, text) {
  let given;
  try { given = JSON.parse(text); } catch { return null; }
  if (!given || !Array.isArray(given.messages)) return null;
  const messages = given.messages.map(readMessage);
  if (messages.includes(null)) return null;
  return {
    id, messages,
    title: typeof given.title === "string" ? given.title : "",
    changed: Number.isFinite(given.changed) ? given.changed : 0,
    settings: readSettings(given.settings),
  };
}

/** The conversations that a storage keeps. */
export class Conversations {
  /** @param {Storage} storage */
  constructor(storage) { this.storage = storage; }

  /** All, the one that changed last first. @returns {Conversation[]} */
  all() {
    const found = [];
    for (let i = 0; i < this.storage.length; i++) {
      const key = this.storage.key(i);
      if (!key || !key.startsWith(PREFIX)) continue;
      const conversation = this.find(key.slice(PREFIX.length));
      if (conversation) found.push(conversation);
    }
    return found.sort((a, b) => b.changed - a.changed);
  }

  /** @returns {Conversation | null} */
  find(id) {
    const text = this.storage.getItem(PREFIX + id);
    return text === null ? null : readConversation(id, text);
  }

  /** An empty one; it is kept from its first message on. @returns {Conversation} */
  begin(settings, now = Date.now()) {
    const id = `${now.toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
    return { id, title: "", changed: now, settings: readSettings(settings), messages: [] };
  }

  /** Keeps it. @returns {boolean} false if the browser has no room */
  keep(conversation, now = Date.now()) {
    conversation.changed = now;
    const first = conversation.messages.find((m) => m.role === "user");
    if (first) conversation.title = titleOf(first.content);
    const { id, ...rest } = conversation;
    try { this.storage.setItem(PREFIX + id, JSON.stringify(rest)); } catch { return false; }
    return true;
  }

  remove(id) { this.storage.removeItem(PREFIX + id); }

  /** Whether a change of the storage by another tab is one of conversations. */
  static concerns(key) { return key === null || key.startsWith(PREFIX); }
}

/**
 * A conversation as a Markdown document.
 * @param {Conversation} conversation
 * @param {{you: string, model: string, system: string, thinking: string}} names
 */
export function asMarkdown(conversation, names) {
  const parts = [`# ${conversation.title || "CARD"}`];
  if (conversation.settings.system.trim()) parts.push(`## ${names.system}`, conversation.settings.system.trim());
  for (const message of conversation.messages) {
    parts.push(`## ${message.role === "user" ? names.you : names.model}`);
    if (message.thinking) parts.push(`<details><summary>${names.thinking}</summary>\n\n${message.thinking.trim()}\n\n</details>`);
    parts.push(message.content.trim());
  }
  return `${parts.join("\n\n")}\n`;
}

/** A name for the file of a conversation: letters and digits of its title. */
export function fileName(conversation) {
  const words = conversation.title.normalize("NFKC").match(/[\p{L}\p{N}]+/gu) || [];
  return `${words.join("-").slice(0, 60) || "conversation"}.md`;
}
