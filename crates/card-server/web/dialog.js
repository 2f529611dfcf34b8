// The dialog "Settings".
import { BOUNDS, readNumber } from "./settings.js";
import { el } from "./view.js";

/** @param {string} id */
const part = (id) => /** @type {any} */ (document.getElementById(id));

/** Opens over the page and gives back settings when they are saved. */
export class SettingsDialog {
  /** @param {() => any} words @param {(settings: import("./settings.js").Settings) => void} save */
  constructor(words, save) {
    this.words = words;
    this.save = save;
    part("settings-form").addEventListener("submit", (event) => { event.preventDefault(); this.take(); });
    part("settings-cancel").addEventListener("click", () => part("settings").close());
  }

  /** @param {import("./settings.js").Settings} settings @param {string[]} models */
  open(settings, models) {
    part("model-field").hidden = models.length < 2;
    part("set-model").replaceChildren(...models.map((name) => el("option", { value: name }, name)));
    part("set-model").value = models.includes(settings.model) ? settings.model : models[0] ?? "";
    part("set-system").value = settings.system;
    for (const name of Object.keys(BOUNDS)) {
      part(`set-${name}`).value = settings[name] ?? "";
      part(`set-${name}`).removeAttribute("aria-invalid");
    }
    part("set-plain").checked = settings.plain;
    part("settings-wrong").hidden = true;
    this.models = models;
    part("settings").showModal();
  }

  take() {
    const words = this.words();
    /** @type {any} */
    const settings = { system: part("set-system").value, plain: part("set-plain").checked, model: this.models.length > 1 ? part("set-model").value : "" };
    for (const name of Object.keys(BOUNDS)) {
      const field = part(`set-${name}`);
      const value = readNumber(name, field.value);
      field.toggleAttribute("aria-invalid", false);
      if (value === undefined) {
        field.setAttribute("aria-invalid", "true");
        part("settings-wrong").textContent = words.wrong(words[name]);
        part("settings-wrong").hidden = false;
        field.focus();
        return;
      }
      settings[name] = value;
    }
    part("settings").close();
    this.save(settings);
  }
}
