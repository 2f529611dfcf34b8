// The chat page: puts its parts together, and is their language, theme and keys.
import { Chat } from "./chat.js";
import { Conversations, asMarkdown, fileName } from "./conversations.js";
import { SettingsDialog } from "./dialog.js";
import { LoadingLine } from "./loading.js";
import { Panel } from "./panel.js";
import { Rounds } from "./rounds.js";
import { readSettings } from "./settings.js";
import { download, drawSidebar } from "./sidebar.js";
import { models } from "./stream.js";
import { Watch } from "./watch.js";
import { WORDS, chooseLanguage } from "./words.js";

const NARROW = matchMedia("(max-width: 1000px)");
const root = document.documentElement;
/** @param {string} id */
const part = (id) => /** @type {any} */ (document.getElementById(id));
/** @param {string} selector @returns {any[]} */
const every = (selector) => [...document.querySelectorAll(selector)];

/** Where browsers allow no storage, things are kept until the page is closed. @returns {any} */
function storage(name) {
  try {
    window[name].setItem("card.try", "1");
    window[name].removeItem("card.try");
    return window[name];
  } catch {
    const kept = new Map();
    return {
      get length() { return kept.size; },
      key: (i) => [...kept.keys()][i] ?? null,
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => { kept.set(key, String(value)); },
      removeItem: (key) => { kept.delete(key); },
    };
  }
}
const local = storage("localStorage"), session = storage("sessionStorage");

const conversations = new Conversations(local), rounds = new Rounds(), panel = new Panel();
let language = chooseLanguage(local.getItem("card.language"), navigator.languages);
let served = [], about = null;
/** The notice says that the server is not there yet. */
let away = false;
const words = () => WORDS[language];

function headers() {
  const key = part("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

/** Says what keeps the page from working; nothing, to say no more. */
function notice(text) {
  part("notice").textContent = text;
  part("notice").hidden = !text;
}

function askKey() { part("key-form").hidden = false; }

const loading = new LoadingLine(
  { line: part("loading"), text: part("loading-text"), bar: part("loading-bar"), part: part("loading-part") },
  (path, options) => fetch(path, options),
);

const watch = new Watch(headers, (record) => {
  if (record.kind === "about") meet(record);
  rounds.hear(record);
  if (chat.running && record.request === chat.running.request) chat.redraw();
}, (status) => {
  if (status === 401) askKey();
  if (away && status !== 0) notice("");
  if (status === 0) notice(words().away);
  away = status === 0;
  if (status === 503) loading.look(words);
  else loading.end();
});

const chat = new Chat({
  conversations, rounds, panel, watch, headers, words,
  model: () => served[0] ?? "",
  changed: () => { drawList(); drawSend(); },
  giveBack: (text) => { if (!part("prompt").value) part("prompt").value = text; },
  failed: (error) => {
    if (error?.status === 401) askKey();
    notice(error ? words().failed(error.message) : words().full);
  },
});

/** The server says what it is. */
async function meet(record) {
  about = record;
  if (away) notice("");
  away = false;
  loading.end();
  part("key-form").hidden = true;
  session.setItem("card.key", part("key").value.trim());
  try { served = await models(headers()); } catch { served = []; }
  drawModel();
}

function drawModel() {
  const { model } = chat.conversation.settings;
  const name = served.length > 1 ? (served.includes(model) ? model : served[0]) : about?.model ?? "";
  part("model").textContent = about?.note && served.length < 2 ? `${name}, ${about.note}` : name;
  const exact = about?.exactness;
  part("exactness").textContent = exact ? words().exactBy(words().exact[exact.means ?? exact.level] ?? exact.words, exact.kernels) : "";
}

function drawSend() {
  part("send").textContent = chat.running ? words().stop : words().send;
  document.body.classList.toggle("writing", Boolean(chat.running));
}

function drawList() {
  drawSidebar(part("list"), conversations.all(), chat.conversation.id, words(), {
    open: (id) => {
      const found = conversations.find(id);
      if (found) go(found);
    },
    remove: (id) => {
      chat.forget(id);
      conversations.remove(id);
      if (id === chat.conversation.id) go(conversations.begin(chat.conversation.settings));
      else drawList();
    },
  });
  part("export").disabled = !chat.conversation.messages.length;
}

/** Opens a conversation. */
function go(conversation) {
  chat.open(conversation);
  session.setItem("card.open", conversation.id);
  drawList();
  drawModel();
  if (NARROW.matches) toggle("chats", "sidebar", false);
  else part("prompt").focus();
}

function speak(next) {
  language = next;
  root.lang = next;
  for (const node of every("[data-word]")) node.textContent = words()[node.dataset.word];
  for (const node of every("[data-label]")) node.setAttribute("aria-label", words()[node.dataset.label]);
  for (const node of every("[data-placeholder]")) node.placeholder = words()[node.dataset.placeholder];
  part("language").textContent = words().other;
  part("language").lang = words().otherCode;
  paintTheme(root.dataset.theme);
  drawSend();
  drawModel();
  drawList();
  panel.speak(words());
  loading.draw(words());
  chat.show();
}

function paintTheme(theme) {
  root.dataset.theme = theme;
  part("theme").textContent = words().theme[theme === "dark" ? "light" : "dark"];
}

/** Shows or hides a column. */
function toggle(name, id, open) {
  part(id).hidden = !open;
  part(`show-${name}`).setAttribute("aria-expanded", String(open));
  document.body.classList.toggle(`with-${name}`, open);
}

function columns() {
  const open = !NARROW.matches;
  toggle("chats", "sidebar", open);
  toggle("details", "details", open);
}

const dialog = new SettingsDialog(words, (settings) => {
  chat.conversation.settings = readSettings(settings);
  local.setItem("card.settings", JSON.stringify(chat.conversation.settings));
  if (chat.conversation.messages.length && !conversations.keep(chat.conversation)) notice(words().full);
  drawModel();
  chat.show();
});

function keptSettings() {
  try { return readSettings(JSON.parse(local.getItem("card.settings") ?? "null")); } catch { return readSettings(null); }
}

part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (chat.running) { chat.stop(); return; }
  const text = part("prompt").value.trim();
  if (!text) return;
  part("prompt").value = "";
  notice("");
  session.setItem("card.open", chat.conversation.id);
  chat.send(text);
});
part("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  // A question that is typed ahead waits for the answer to end.
  if (!chat.running) part("form").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || part("settings").open) return;
  if (chat.running) chat.stop();
  else if (NARROW.matches) columns();
});
part("key-form").addEventListener("submit", (event) => { event.preventDefault(); watch.again(); });
part("key").addEventListener("change", () => watch.again());
part("new").addEventListener("click", () => go(conversations.begin(keptSettings())));
part("export").addEventListener("click", () => {
  const { you, model, system, thinking } = words();
  download(fileName(chat.conversation), asMarkdown(chat.conversation, { you, model, system, thinking }));
});
part("language").addEventListener("click", () => {
  local.setItem("card.language", words().otherCode);
  speak(words().otherCode);
});
part("theme").addEventListener("click", () => {
  paintTheme(root.dataset.theme === "dark" ? "light" : "dark");
  local.setItem("card.theme", root.dataset.theme);
});
part("colours").addEventListener("change", (event) => {
  local.setItem("card.colours", event.target.checked ? "on" : "off");
  document.body.classList.toggle("plain-text", !event.target.checked);
});
part("show-chats").addEventListener("click", () => toggle("chats", "sidebar", part("sidebar").hidden));
part("show-details").addEventListener("click", () => toggle("details", "details", part("details").hidden));
part("show-settings").addEventListener("click", () => dialog.open(chat.conversation.settings, served));
NARROW.addEventListener("change", columns);
window.addEventListener("pagehide", () => { if (chat.running) conversations.keep(chat.running.conversation); });
window.addEventListener("storage", (event) => { if (Conversations.concerns(event.key)) drawList(); });

part("key").value = session.getItem("card.key") ?? "";
part("colours").checked = local.getItem("card.colours") !== "off";
document.body.classList.toggle("plain-text", !part("colours").checked);
columns();
chat.open(conversations.find(session.getItem("card.open") ?? "") ?? conversations.begin(keptSettings()));
speak(language);
watch.run();
