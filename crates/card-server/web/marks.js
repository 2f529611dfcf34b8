// Which part of a text is which token. The text comes by one stream and its tokens by another, and
// they need not agree letter by letter: control tokens are in no text, white space at the beginning
// is dropped, and a token can be a part of a letter (then it is shown as U+FFFD).

/**
 * @typedef {{from: number, to: number, index: number}} Mark a part of a text, and the token's number
 * @typedef {{names: string[], runs: number[]}} PackedMarks names of sources; then for each mark:
 *   letters since the mark before, its length, and the place of its source in `names`, or -1
 */

/** Tokens in a row that may be in no text, or be parts of letters. */
const MOST_SKIPPED = 24;
const PART = "\ufffd";

/** Where the text goes on after tokens that are not in it as they are. */
function resume(tokens, index, text, at) {
  let room = 0;
  for (let next = index; next < Math.min(tokens.length, index + MOST_SKIPPED); next++) {
    const token = tokens[next];
    if (next > index && token && !token.includes(PART)) {
      const place = text.indexOf(token, at);
      if (place >= 0 && place <= at + room && agrees(tokens[next + 1], text, place + token.length)) return { next, place };
    }
    room += token.length;
  }
  return null;
}

/** Whether a token may stand at a place of the text. */
function agrees(token, text, at) {
  if (!token || token.includes(PART) || token.startsWith("<")) return true;
  const here = text.slice(at, at + token.length);
  return token.startsWith(here);
}

/** Gives the letters of a part of the text to the tokens that made them, as evenly as it goes. */
function share(text, from, to, first, count, marks) {
  const letters = [...text.slice(from, to)];
  letters.forEach((letter, i) => {
    marks.push({ from, to: from + letter.length, index: first + Math.floor((i * count) / letters.length) });
    from += letter.length;
  });
}

/**
 * Where each token stands in the text. What cannot be told yet, at the end, is left out.
 * @param {string[]} tokens
 * @param {string} text
 * @returns {Mark[]} in the order of the text, without overlaps
 */
export function align(tokens, text) {
  const marks = [];
  let at = 0;
  for (let i = 0; i < tokens.length;) {
    const token = tokens[i];
    if (token && text.startsWith(token, at)) {
      marks.push({ from: at, to: at + token.length, index: i });
      at += token.length;
      i += 1;
      continue;
    }
    const rest = text.slice(at, at + token.length);
    if (rest && rest.length < token.length && token.startsWith(rest)) break;
    const found = resume(tokens, i, text, at);
    if (!found) break;
    share(text, at, found.place, i, found.next - i, marks);
    at = found.place;
    i = found.next;
  }
  return marks;
}

/**
 * Marks with the source of each, small enough to be kept with an answer.
 * @param {{from: number, to: number, source: string}[]} marks
 * @returns {PackedMarks}
 */
export function pack(marks) {
  const names = [], runs = [];
  let at = 0;
  for (const { from, to, source } of marks) {
    if (!names.includes(source)) names.push(source);
    runs.push(from - at, to - from, names.indexOf(source));
    at = to;
  }
  return { names, runs };
}

/**
 * @param {PackedMarks} packed read from the browser's storage, so anything
 * @returns {{from: number, to: number, source: string}[]}
 */
export function unpack(packed) {
  const marks = [];
  let at = 0;
  for (let i = 0; i + 2 < packed.runs.length; i += 3) {
    const [gap, length, name] = packed.runs.slice(i, i + 3);
    const source = packed.names[name];
    if (!(gap >= 0 && length > 0) || typeof source !== "string") return marks;
    marks.push({ from: at + gap, to: at + gap + length, source });
    at += gap + length;
  }
  return marks;
}
