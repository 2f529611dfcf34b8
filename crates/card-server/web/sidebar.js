// The list of conversations.
import { button } from "./turn.js";
import { el } from "./view.js";

/**
 * @param {HTMLElement} list
 * @param {import("./conversations.js").Conversation[]} conversations
 * @param {string} current the one that is open
 * @param {{open: (id: string) => void, remove: (id: string) => void}} acts
 */
export function drawSidebar(list, conversations, current, words, acts) {
  list.replaceChildren(...conversations.map(({ id, title }) => {
    const name = title || words.untitled;
    const open = button(name, () => acts.open(id), "title");
    if (id === current) open.setAttribute("aria-current", "true");
    const remove = button("×", () => { if (confirm(words.confirmDelete(name))) acts.remove(id); }, "small remove");
    remove.setAttribute("aria-label", words.deleteChat(name));
    remove.title = words.deleteChat(name);
    return el("li", {}, open, remove);
  }));
}

/** Offers a text as a file. */
export function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  const anchor = el("a", { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
