// Texts as WordPiece pieces for the try-it page, by the vocabulary in the file: the first window of a long text. Where
// the module brought none, or the model takes a question and its context, the numbers of the inputs, as JSON.
import * as numbers from './numbers.js';
import {textOf} from './texts.js';

const model = await (await fetch('model.json')).json();
const file = model.settings.question_windows ? null : await fetch('files/vocab.txt');
const pieces = file?.ok ? (await file.text()).split('\n').slice(0, -1) : null;
const rows = pieces && new Map(pieces.map((piece, row) => [piece, row]));
const lower = model.settings.word_pieces?.lower_case ?? true;

export const accept = rows ? '.txt,text/plain' : numbers.accept;
export const hint = rows ? 'Drop a text here, choose one, or write below' : numbers.hint;
export const written = rows ? 'A text' : numbers.written;

const MOST = 100; // characters; a longer word is unknown
const SPACE = /[\t\n\r]|\p{Z}/u;
const REMOVED = /\p{Cc}|\p{Cf}|\p{Co}|\p{Cs}|\uFFFD/u;
const APART = /[!-/:-@[-`{-~]|\p{P}/u;
const IDEOGRAPHS = [
  [0x3400, 0x4dbf], [0x4e00, 0x9fff], [0xf900, 0xfaff], [0x20000, 0x2a6df],
  [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b820, 0x2ceaf], [0x2f800, 0x2fa1f],
];

function replaced(character) {
  if (SPACE.test(character)) return ' ';
  if (REMOVED.test(character)) return '';
  let letters = character;
  if (lower) {
    const parts = [...character.normalize('NFD')].filter((part) => !/\p{Mn}/u.test(part));
    letters = parts.map((part) => part.toLowerCase()).join('');
  }
  const spaced = [...letters].map((letter) => (APART.test(letter) ? ` ${letter} ` : letter)).join('');
  const code = character.codePointAt(0);
  return IDEOGRAPHS.some(([first, last]) => first <= code && code <= last) ? ` ${spaced} ` : spaced;
}

// The longest piece first; a word that does not come out is one unknown piece.
function encoded(word) {
  const characters = [...word];
  const numbered = [];
  if (characters.length > MOST) return [rows.get('[UNK]')];
  for (let start = 0; start < characters.length;) {
    let end = characters.length;
    const piece = () => (start ? '##' : '') + characters.slice(start, end).join('');
    while (end > start && !rows.has(piece())) end--;
    if (end === start) return [rows.get('[UNK]')];
    numbered.push(rows.get(piece()));
    start = end;
  }
  return numbered;
}

export async function read(source, about) {
  if (!rows) return numbers.read(source, about);
  const text = await textOf(source, about);
  const words = [...text].map(replaced).join('').split(' ').filter(Boolean);
  const all = words.flatMap(encoded);
  const length = about.inputs[0].shape[1];
  const kept = [rows.get('[CLS]'), ...all.slice(0, length - 2), rows.get('[SEP]')];
  const ids = new Int32Array(length).fill(rows.get('[PAD]'));
  ids.set(kept);
  const inputs = {
    input_word_ids: ids,
    input_mask: new Int32Array(length).fill(1, 0, kept.length),
    input_type_ids: new Int32Array(length),
  };
  const note = all.length > length - 2 ? `cut to ${length} of ${all.length + 2} word pieces` : '';
  return {inputs, note};
}
