// Texts as numbers of words for the try-it page, by the vocabulary in the file: a word and its number a line.
import {textOf} from './texts.js';

export const accept = '.txt,text/plain';
export const hint = 'Drop a text here, choose one, or write below';
export const written = 'A text';

let rows = null;

export async function read(source, about) {
  const [{name, shape}] = about.inputs;
  if (rows === null) {
    const lines = (await (await fetch('files/vocab.txt')).text()).split('\n').filter(Boolean);
    rows = new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
  }
  const words = (await textOf(source, about)).match(/[\p{L}\p{M}\p{N}_]+/gu) ?? [];
  const numbers = new Int32Array(shape[1]); // begins with padding
  words.slice(0, shape[1] - 1).forEach((word, i) => {
    numbers[i + 1] = rows.get(word) ?? 0;
  });
  const note = words.length < shape[1] ? '' : `cut to ${shape[1] - 1} of ${words.length} words`;
  return {inputs: {[name]: numbers}, note};
}
