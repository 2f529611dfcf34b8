// The conversation that is open, and the answer that is being written.
import { align, pack, unpack } from "./marks.js";
import { summary, tokensOf } from "./rounds.js";
import { requestBody } from "./settings.js";
import { answer } from "./stream.js";
import { AnswerTurn, button, questionTurn } from "./turn.js";
import { describe, el, sourceClass } from "./view.js";

/** An answer is drawn so often at most: the page must not take the processor from the model. */
const DRAW_MS = 120;
/** How long rounds are waited for after the text has ended. */
const ROUNDS_MS = 400;

/** @param {string} id */
const part = (id) => /** @type {any} */ (document.getElementById(id));

export class Chat {
  /**
   * @param {object} around what the page gives it
   * @param {import("./conversations.js").Conversations} around.conversations
   * @param {import("./rounds.js").Rounds} around.rounds
   * @param {import("./panel.js").Panel} around.panel
   * @param {import("./watch.js").Watch} around.watch
   * @param {() => Record<string, string>} around.headers
   * @param {() => any} around.words
   * @param {() => string} around.model the model where the settings name none
   * @param {() => void} around.changed the list of conversations, or whether one is written
   * @param {(text: string) => void} around.giveBack a question that got no answer
   * @param {(error: any) => void} around.failed
   */
  constructor(around) {
    this.around = around;
    /** @type {import("./conversations.js").Conversation} */
    this.conversation = around.conversations.begin({});
    /** @type {{conversation: any, message: any, request: string | null, control: AbortController, dropped: boolean} | null} */
    this.running = null;
    /** What is shown of each answer. @type {Map<any, AnswerTurn>} */
    this.turns = new Map();
    /** Rounds of answers that were written since the page was opened. @type {WeakMap<any, any[]>} */
    this.rounds = new WeakMap();
    this.due = 0;
    this.spoken = 0;
  }

  /** @param {import("./conversations.js").Conversation} conversation */
  open(conversation) {
    this.conversation = this.running?.conversation.id === conversation.id ? this.running.conversation : conversation;
    this.show();
  }

  /** Draws the whole conversation. */
  show() {
    const { words, panel } = this.around;
    this.turns.clear();
    const { messages } = this.conversation;
    const nodes = messages.map((message, place) => {
      if (message.role === "user") return questionTurn(message.content, words(), (text) => this.edit(place, text));
      return this.turnOf(message, place).node;
    });
    part("talk").replaceChildren(...(nodes.length ? nodes : this.greeting()));
    for (const message of this.turns.keys()) this.draw(message);
    part("talk").scrollTop = part("talk").scrollHeight;
    const last = messages.findLast((message) => message.role === "assistant");
    panel.show(this.rounds.get(last) ?? [], last?.figures ?? null);
  }

  /** What an empty conversation shows. */
  greeting() {
    const { hint, ideas } = this.around.words();
    const buttons = ideas.map((idea) => button(idea, () => this.send(idea), "idea"));
    return [el("p", { class: "hint", id: "hint" }, hint), el("div", { class: "ideas" }, ...buttons)];
  }

  /** What is shown of an answer, made anew. */
  turnOf(message, place) {
    const turn = new AnswerTurn(this.around.words(), {
      again: () => this.again(place),
      text: () => message.content,
      choose: (round) => {
        const rounds = this.rounds.get(message);
        if (!rounds) return;
        this.around.panel.show(rounds);
        this.around.panel.choose(round);
      },
    });
    this.turns.set(message, turn);
    return turn;
  }

  /** Asks something. */
  async send(text) { await this.edit(this.conversation.messages.length, text); }

  /** Writes an answer again. */
  async again(place) {
    await this.halt();
    await this.write(this.conversation.messages.slice(0, place), "");
  }

  /** Goes on from another question. */
  async edit(place, text) {
    await this.halt();
    await this.write([...this.conversation.messages.slice(0, place), { role: "user", content: text }], text);
  }

  stop() { this.running?.control.abort(); }

  /** Stops, and waits until that is so. */
  async halt() {
    this.stop();
    while (this.running) await new Promise((done) => setTimeout(done, 20));
  }

  /** A conversation was deleted: what is being written for it is dropped. */
  forget(id) {
    if (this.running?.conversation.id !== id) return;
    this.running.dropped = true;
    this.stop();
  }

  /**
   * Lets the model write the next answer. If nothing comes of it, all is as before.
   * @param {import("./conversations.js").Message[]} messages the conversation up to the question
   * @param {string} typed the question, if it is a new one
   */
  async write(messages, typed) {
    const { watch, headers, model, changed, failed } = this.around;
    const conversation = this.conversation, before = conversation.messages;
    const body = requestBody(conversation.settings, messages, model());
    /** @type {import("./conversations.js").Message} */
    const message = { role: "assistant", content: "" };
    conversation.messages = [...messages, message];
    const running = { conversation, message, request: null, control: new AbortController(), dropped: false };
    this.running = running;
    this.rounds.set(message, []);
    this.show();
    this.announce(this.around.words().writing);
    changed();
    try {
      await watch.ready();
      for await (const piece of answer(body, headers(), running.control.signal)) this.take(piece);
    } catch (error) {
      message.stopped = true;
      if (error.name !== "AbortError") failed(error);
    }
    this.running = null;
    watch.busy = false;
    await this.end(running, before, typed);
    changed();
  }

  /** Keeps an answer that has ended; without any answer, all is as before. */
  async end(running, before, typed) {
    const { conversations, giveBack, failed } = this.around, { conversation, message } = running;
    if (running.dropped) return;
    if (!message.content && !message.thinking) {
      conversation.messages = before;
      giveBack(typed);
      if (conversation === this.conversation) this.show();
      return;
    }
    if (!conversations.keep(conversation)) failed(null);
    await this.settle(running);
  }

  /** A piece of the answer that is being written. */
  take(piece) {
    const { message } = this.running;
    if (piece.request && !this.running.request) {
      this.running.request = piece.request;
      this.around.rounds.claim(piece.request);
    }
    if (piece.thinking) message.thinking = (message.thinking ?? "") + piece.thinking;
    if (piece.text) message.content += piece.text;
    if (piece.finish === "length") message.cut = true;
    this.redraw();
  }

  /** Draws the answer that is being written, soon. */
  redraw() {
    if (this.due || !this.running) return;
    const { message } = this.running;
    this.due = setTimeout(() => {
      this.due = 0;
      if (this.running?.message !== message) return;
      this.hearRounds(this.running);
      this.draw(message);
      if (this.turns.has(message)) this.speak(this.turns.get(message), false);
    }, DRAW_MS);
  }

  /** Takes the rounds of an answer that came since. */
  hearRounds({ message, request }) {
    const { rounds, panel } = this.around;
    const mine = this.rounds.get(message), all = rounds.of(request);
    if (all.length === mine.length) return;
    mine.push(...all.slice(mine.length));
    if (this.turns.has(message) && (panel.rounds === mine || this.running?.message === message)) panel.show(mine);
  }

  /** The answer has ended: waits for its last rounds, and keeps what they said. */
  async settle(running) {
    const { conversation, message } = running, { conversations, words } = this.around;
    this.draw(message);
    this.around.changed();
    await new Promise((done) => setTimeout(done, ROUNDS_MS));
    this.hearRounds(running);
    if (!conversation.messages.includes(message)) return;
    const found = summary(this.rounds.get(message));
    if (found) message.figures = found;
    message.marks = pack(this.tokens(message).map(({ from, to, source }) => ({ from, to, source })));
    conversations.keep(conversation);
    if (!this.turns.has(message)) return;
    this.draw(message);
    this.speak(this.turns.get(message), true);
    this.announce(message.stopped ? words().stopped : words().done);
  }

  /** The tokens of an answer, by its rounds, or as they were kept. */
  tokens(message) {
    const { words } = this.around, rounds = this.rounds.get(message);
    if (!rounds?.length) {
      return unpack(message.marks ?? { names: [], runs: [] }).map((mark) => {
        const known = mark.source in words().sources ? mark.source : "other";
        return { ...mark, kind: `s-${known}`, title: words().sources[known] };
      });
    }
    const tokens = tokensOf(rounds);
    return align(tokens.map(({ token }) => token ?? ""), (message.thinking ?? "") + message.content).map(({ from, to, index }) => {
      const token = tokens[index], kind = sourceClass(token.sources);
      return { from, to, kind, source: kind.slice(2), title: describe(token, words()), place: token.place };
    });
  }

  /** Draws an answer of the conversation that is open. */
  draw(message) {
    const turn = this.turns.get(message), { words } = this.around;
    if (!turn) return;
    const talk = part("talk"), atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60;
    turn.draw({ thinking: message.thinking ?? "", content: message.content, tokens: this.tokens(message) });
    if (this.running?.message === message) {
      turn.line.textContent = message.content || message.thinking ? "" : words().waiting;
    } else {
      const { temperature, seed } = this.conversation.settings;
      turn.finish(this.line(message), temperature === 0 || seed !== null);
    }
    if (atEnd) talk.scrollTop = talk.scrollHeight;
  }

  /** How an answer went, in a line. */
  line(message) {
    const words = this.around.words(), parts = [];
    if (message.figures) {
      parts.push(words.line(message.figures));
    }
    if (message.stopped) parts.push(words.stopped);
    if (message.cut) parts.push(words.cut);
    return parts.join(" · ");
  }

  /** Lets a screen reader say the paragraphs that are complete. */
  speak(turn, ended) {
    const blocks = [...turn.body.children].slice(0, ended ? undefined : -1);
    for (const block of blocks.slice(this.spoken)) {
      const copy = /** @type {Element} */ (block.cloneNode(true));
      for (const head of copy.querySelectorAll(".code-head")) head.remove();
      part("said").append(el("p", {}, copy.textContent ?? ""));
    }
    this.spoken = Math.max(this.spoken, blocks.length);
  }

  /** Says a sentence; a new answer begins with an empty log. */
  announce(text) {
    if (text === this.around.words().writing) {
      this.spoken = 0;
      part("said").replaceChildren();
    }
    part("said").append(el("p", {}, text));
  }
}
