// What the server sends: events of a stream, the pieces of an answer, the rounds of /live.

/** Reads server-sent events (WHATWG HTML, 9.2) from text that comes in pieces. */
export class EventReader {
  constructor() { this.rest = ""; }

  /** The data of the events that end in this piece. @param {string} text @returns {string[]} */
  push(text) {
    // A "\r" at the end may be the half of "\r\n".
    let all = this.rest + text;
    const half = all.endsWith("\r") ? "\r" : "";
    all = all.slice(0, all.length - half.length).replace(/\r\n?/g, "\n");
    const events = all.split("\n\n");
    this.rest = events.pop() + half;
    const found = [];
    for (const event of events) {
      const lines = event.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) found.push(lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n"));
    }
    return found;
  }
}

/** What went wrong, as the server says it. */
export class AnswerError extends Error {
  /** @param {string} message @param {number} status 0 in the middle of a stream */
  constructor(message, status) { super(message); this.name = "AnswerError"; this.status = status; }
}

/** The data of each event of a response. */
async function* events(response) {
  const reader = new EventReader();
  const body = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await body.read();
    if (done) return;
    yield* reader.push(value);
  }
}

/** Throws what a response that is no 200 says. */
async function refuse(response) {
  let message = `${response.status} ${response.statusText}`;
  try { message = (await response.json()).error.message || message; } catch { /* no JSON: the status says it */ }
  throw new AnswerError(message, response.status);
}

/**
 * What an event of a chat's stream says.
 * @param {any} chunk
 * @returns {{request?: string, text?: string, thinking?: string, finish?: string}}
 */
export function readChunk(chunk) {
  if (chunk.error) throw new AnswerError(String(chunk.error.message ?? "error"), 0);
  const piece = {};
  if (typeof chunk.id === "string") piece.request = chunk.id.replace(/^chatcmpl-/, "");
  const choice = Array.isArray(chunk.choices) ? chunk.choices[0] : undefined;
  if (typeof choice?.delta?.content === "string") piece.text = choice.delta.content;
  if (typeof choice?.delta?.reasoning_content === "string") piece.thinking = choice.delta.reasoning_content;
  if (typeof choice?.finish_reason === "string") piece.finish = choice.finish_reason;
  return piece;
}

/** The pieces of an answer as they come. */
export async function* answer(body, headers, signal) {
  const response = await fetch("v1/chat/completions", { method: "POST", headers, signal, body: JSON.stringify(body) });
  if (!response.ok) await refuse(response);
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    yield readChunk(JSON.parse(data));
  }
}

/** The records of /live, until the server or the signal ends them. */
export async function* live(headers, signal) {
  const response = await fetch("live", { headers, signal });
  if (!response.ok) await refuse(response);
  for await (const data of events(response)) yield JSON.parse(data);
}

/** Names of the models that are served. @returns {Promise<string[]>} */
export async function models(headers) {
  const response = await fetch("v1/models", { headers });
  if (!response.ok) await refuse(response);
  const list = (await response.json()).data;
  return Array.isArray(list) ? list.map((model) => model?.id).filter((id) => typeof id === "string") : [];
}
