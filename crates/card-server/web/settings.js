// How answers are asked for: what the dialog "Settings" holds, read by type, and the body of a request.

/**
 * @typedef {object} Settings
 * @property {string} system what the model is told before the conversation
 * @property {string} model the model's name; empty for the first of the server
 * @property {number | null} temperature null: what the server takes where a request does not say
 * @property {number | null} topP
 * @property {number | null} seed
 * @property {number | null} maxTokens
 * @property {boolean} plain decode without speculation, to compare
 */

/** Temperature 0 is what `card chat` takes too: the model's most probable text. */
export const DEFAULTS = Object.freeze({
  system: "", model: "", temperature: 0, topP: null, seed: null, maxTokens: null, plain: false,
});

/** The least and the most of each number, and whether it is a whole one: as the server checks them. */
export const BOUNDS = Object.freeze({
  temperature: { least: 0, most: 2, whole: false },
  topP: { least: 0.01, most: 1, whole: false },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
  maxTokens: { least: 1, most: 2 ** 31 - 1, whole: true },
});

/**
 * A number of a field, null where it is left empty; undefined where it is none or out of bounds.
 * @param {keyof typeof BOUNDS} name
 * @param {unknown} given text of a field, or a number that was kept
 * @returns {number | null | undefined}
 */
export function readNumber(name, given) {
  if (given === null || given === undefined || String(given).trim() === "") return null;
  const value = Number(String(given).trim().replace(",", "."));
  const { least, most, whole } = BOUNDS[name];
  if (!Number.isFinite(value) || value < least || value > most) return undefined;
  return whole && !Number.isInteger(value) ? undefined : value;
}

/**
 * Settings from anything: what is not of its type is the default's.
 * @param {any} given
 * @returns {Settings}
 */
export function readSettings(given) {
  const settings = { ...DEFAULTS };
  if (typeof given !== "object" || given === null) return settings;
  for (const name of ["system", "model"]) {
    if (typeof given[name] === "string") settings[name] = given[name];
  }
  for (const name of Object.keys(BOUNDS)) {
    if (!(name in given)) continue;
    const value = readNumber(name, given[name]);
    if (value !== undefined) settings[name] = value;
  }
  if (typeof given.plain === "boolean") settings.plain = given.plain;
  return settings;
}

/**
 * The body of a request to `/v1/chat/completions`.
 * @param {Settings} settings
 * @param {{role: string, content: string}[]} messages
 * @param {string} first the model where the settings name none
 */
export function requestBody(settings, messages, first) {
  const body = { model: settings.model || first || "card", messages: [], stream: true };
  if (settings.system.trim()) body.messages.push({ role: "system", content: settings.system });
  for (const { role, content } of messages) body.messages.push({ role, content });
  const numbers = { temperature: "temperature", topP: "top_p", seed: "seed", maxTokens: "max_tokens" };
  for (const [name, field] of Object.entries(numbers)) {
    if (settings[name] !== null) body[field] = settings[name];
  }
  if (settings.plain) body.speculation = "off";
  return body;
}
