// Which letter of a Markdown source each letter of the text made from it is. The text is the source
// without its marks (`**`, `](address)`, `- `), so letters are looked for one after the other.

/** Letters of marks that are skipped at most between two letters of text, such as an address. */
const NEAR = 200;
const ENTITY = /^&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z][a-z\d]{1,30});/i;
const WORD = /[\p{L}\p{N}]/u;

/** Where a letter of the text stands in the source, from a place on; -1 if it is not near. */
function find(source, at, text, i) {
  const letter = text[i], following = text[i + 1];
  let first = -1;
  for (let place = at; place < Math.min(source.length, at + NEAR); place++) {
    if (source[place] !== letter) continue;
    if (first < 0) first = place;
    // The letter after it agrees, or a mark may stand between them.
    if (following === undefined || source[place + 1] === following || !WORD.test(source[place + 1] ?? "")) return place;
  }
  return first;
}

/**
 * @param {string} source
 * @param {string} text what is shown of it
 * @param {number} from where in the source the text begins at the earliest
 * @returns {Int32Array} the place in the source of each letter of the text; -1 where there is none
 */
export function offsets(source, text, from = 0) {
  const places = new Int32Array(text.length).fill(-1);
  let at = from;
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (source[at] === letter && !(letter === "&" && ENTITY.test(source.slice(at, at + 34)))) {
      places[i] = at++;
      continue;
    }
    const entity = source[at] === "&" ? ENTITY.exec(source.slice(at, at + 34)) : null;
    if (entity) {
      places[i] = at;
      at += entity[0].length;
      continue;
    }
    const space = /\s/.test(letter);
    // A line break of the source can be shown as a space.
    if (space && /\s/.test(source[at] ?? "")) { places[i] = at++; continue; }
    const place = find(source, at, text, i);
    if (place < 0) continue;
    places[i] = place;
    at = place + 1;
  }
  return places;
}
