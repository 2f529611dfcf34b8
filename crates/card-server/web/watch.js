// Looks on at /live as long as the page is seen or an answer is written.
import { live } from "./stream.js";

const AGAIN_MS = 1500;

export class Watch {
  /**
   * @param {() => Record<string, string>} headers
   * @param {(record: any) => void} hear
   * @param {(status: number) => void} refused 0 where there was no answer
   */
  constructor(headers, hear, refused) {
    this.headers = headers;
    this.hear = hear;
    this.refused = refused;
    /** An answer is written: rounds are wanted though the page is hidden. */
    this.busy = false;
    /** The server said what it is, on the connection that is open now. */
    this.open = false;
    this.control = new AbortController();
    /** The headers of the connection that is open or being opened. @type {string | null} */
    this.trying = null;
    /** Ends the pause between two tries. */
    this.wake = () => {};
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && !this.busy) this.control.abort();
      if (!document.hidden) this.wake();
    });
  }

  /** Tries again at once, if the headers are others than those that are tried. */
  again() {
    if (JSON.stringify(this.headers()) === this.trying) return;
    this.control.abort();
    this.wake();
  }

  pause() {
    return new Promise((done) => {
      const timer = setTimeout(done, AGAIN_MS);
      this.wake = () => { clearTimeout(timer); done(undefined); };
    });
  }

  /** Goes on until the page is closed. */
  async run() {
    let refusedWith = null;
    for (;;) {
      const headers = this.headers(), key = JSON.stringify(headers);
      // A key that was refused is not tried again.
      if ((!document.hidden || this.busy) && key !== refusedWith) {
        this.control = new AbortController();
        this.trying = key;
        try {
          for await (const record of live(headers, this.control.signal)) {
            this.open = true;
            this.hear(record);
          }
        } catch (error) {
          if (error.status === 401) refusedWith = key;
          if (error.name !== "AbortError") this.refused(error.status ?? 0);
        }
        this.open = false;
        this.trying = null;
      }
      await this.pause();
    }
  }

  /** Waits a moment for the connection, so that no round is missed. */
  async ready(most = 1000) {
    this.busy = true;
    if (!this.open) this.wake();
    const end = performance.now() + most;
    while (!this.open && performance.now() < end) await new Promise((done) => setTimeout(done, 20));
  }
}
