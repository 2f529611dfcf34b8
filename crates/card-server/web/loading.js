// How far the server is with loading its model, as /health tells it.

/**
 * The file that is being read, and how much of it, by the body of /health; null where it says neither.
 * @param {any} body
 * @returns {{what: string, percent: number} | null}
 */
export function loadStage(body) {
  const { what, percent } = body?.error?.progress ?? {};
  if (typeof what !== "string" || !Number.isFinite(percent)) return null;
  return { what, percent: Math.min(100, Math.max(0, Math.round(percent))) };
}

/**
 * The line that says it. It is as high with figures as without, and stands where what appears and
 * goes moves no text: between the conversation, which begins above it, and the form below it.
 */
export class LoadingLine {
  /**
   * @param {{line: any, text: any, bar: any, part: any}} parts the line, and what is in it
   * @param {(path: string, options: object) => Promise<any>} ask
   */
  constructor(parts, ask) {
    this.parts = parts;
    this.ask = ask;
    this.stage = null;
    /** Counts up with every look and every end: an answer that comes after the next is too late. */
    this.turn = 0;
  }

  /** Shows the line, and what /health says. @param {() => any} words */
  async look(words) {
    const turn = ++this.turn;
    this.parts.line.hidden = false;
    this.draw(words());
    let stage = null;
    try {
      const response = await this.ask("health", { cache: "no-store" });
      stage = loadStage(await response.json());
    } catch { /* The server is away, or says something else: nothing is known. */ }
    if (turn !== this.turn) return;
    this.stage = stage;
    this.draw(words());
  }

  /** Hides the line: the model is there, or the server is not. */
  end() {
    this.turn += 1;
    this.stage = null;
    this.parts.line.hidden = true;
  }

  /** Says it in these words. @param {any} words */
  draw(words) {
    const { line, text, bar, part } = this.parts;
    if (line.hidden) return;
    // A text that stays the same is not read aloud again.
    if (text.textContent !== words.loading) text.textContent = words.loading;
    if (this.stage) {
      const { what, percent } = this.stage;
      const name = Object.hasOwn(words.loadingFile, what) ? words.loadingFile[what] : words.loadingFile.model;
      bar.value = percent;
      part.textContent = words.loadingPart(name, percent);
    } else {
      bar.removeAttribute("value");
      part.textContent = words.loadingRest;
    }
  }
}
