// The text of a file for the try-it page, in the encoding that training texts were read in; what is written is Unicode.
const MARKS = [['utf-32', 0xff, 0xfe, 0, 0], ['utf-8', 0xef, 0xbb, 0xbf], ['utf-16le', 0xff, 0xfe], ['utf-16be', 0xfe, 0xff]];
const LATIN = /^(iso[-_]?8859[-_]1|latin[-_]?1|l1)$/; // which TextDecoder takes for windows-1252

export async function textOf(source, about) {
  const bytes = new Uint8Array(await source.arrayBuffer());
  const trained = (source instanceof File && about.settings?.text?.encoding) || '';
  const named = trained.includes(' ') ? '' : trained.toLowerCase().replace('-sig', ''); // a sentence names no encoding
  const marked = MARKS.find(([, ...mark]) => mark.every((byte, i) => bytes[i] === byte))?.[0];
  const encoding = named && !marked?.startsWith(named) ? named : marked ?? 'utf-8';
  return decoded(bytes, encoding).replace(/\r\n?/g, '\n');
}

function decoded(bytes, encoding) {
  if (LATIN.test(encoding)) return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
  let decoder;
  try {
    decoder = new TextDecoder(encoding.replaceAll('_', '-'), {fatal: true});
  } catch {
    throw new Error(`The browser reads no files in ${encoding}: write the text below instead.`);
  }
  try {
    return decoder.decode(bytes);
  } catch {
    throw new Error(`This file is not ${encoding}: save it as that, or write the text below.`);
  }
}
