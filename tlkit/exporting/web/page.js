// The try-it page: reads a file as the model's inputs, asks the model in LiteRT.js, and shows what it says.
import {loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';

const ARRAYS = {float32: Float32Array, int32: Int32Array, uint8: Uint8Array};
const MOST = 8; // labels, or numbers, that are shown
const at = (id) => document.getElementById(id);

const about = await (await fetch('model.json')).json();
const reader = await import('./reading.js');
const page = {about, ask, model: load(), last: null};
let asked = 0; // times; an answer to what is not the last question is not shown
window.tlkit = page; // for tests, and for the console

// `inputs`: typed arrays by name; gives typed arrays by name of output.
async function ask(inputs) {
  const tensors = {};
  for (const {name, shape, dtype} of about.inputs) {
    const size = shape.reduce((a, b) => a * b, 1);
    if (!inputs[name] || inputs[name].length !== size) {
      throw new Error(`The model takes ${size} numbers as ${name}, shape ${JSON.stringify(shape)}.`);
    }
    tensors[name] = new Tensor(ARRAYS[dtype].from(inputs[name]), shape);
  }
  const model = await page.model;
  const outputs = await model.run(about.signature, tensors);
  const said = {};
  for (const [name, tensor] of Object.entries(outputs)) {
    said[name] = await tensor.data();
    tensor.delete();
  }
  for (const tensor of Object.values(tensors)) tensor.delete();
  return said;
}

function state(text, wrong = false) {
  at('state').textContent = text;
  at('state').classList.toggle('wrong', wrong);
}

function add(parent, tag, text = '', name = '') {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  parent.append(element);
  return element;
}

async function load() {
  try {
    await loadLiteRt('litert/wasm/');
    return await loadAndCompile(about.file, {accelerator: 'wasm'});
  } catch (error) {
    throw new Error(`The model cannot be run here: ${error.message ?? error}`);
  }
}

async function answer(source) {
  const question = ++asked;
  state('Reading');
  page.last = null;
  try {
    const read = await reader.read(source, about);
    await page.model;
    if (question !== asked) return;
    at('shown').replaceChildren(...(read.shown ? [read.shown] : []));
    const start = performance.now();
    const outputs = await ask(read.inputs);
    const took = performance.now() - start;
    if (question !== asked) return;
    show(outputs);
    state(`${took.toFixed(1)} ms${read.note ? `; ${read.note}` : ''}`);
    page.last = {inputs: read.inputs, outputs};
  } catch (error) {
    if (question !== asked) return;
    at('outputs').replaceChildren();
    state(error.message ?? String(error), true);
  }
}

function show(outputs) {
  at('outputs').replaceChildren();
  const found = Object.fromEntries(about.outputs.filter((own) => own.role).map((own) => [own.role, own]));
  if (found.location && found.category && found.score) {
    boxes(outputs, found);
    return;
  }
  for (const own of about.outputs) {
    add(at('outputs'), 'h2', own.name);
    const values = outputs[own.name];
    if (own.labels.length === values.length) ranked(own, values);
    else plain(own, values);
  }
}

function bar(text, share) {
  const row = add(at('outputs'), 'div', '', 'bar');
  add(row, 'b', text);
  add(row, 'output', share.toFixed(3));
  add(row, 'i').style.setProperty('--share', `${100 * Math.min(1, Math.max(0, share))}%`);
}

function ranked(own, values) {
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]);
  for (const place of order.slice(0, MOST)) bar(own.labels[place], values[place]);
}

function plain(own, values) {
  add(at('outputs'), 'p', `${own.says} ${own.dtype}, shape ${JSON.stringify(own.shape)}`, 'note');
  const few = [...values.slice(0, MOST)].map((value) => Number(value.toPrecision(5))).join(', ');
  add(at('outputs'), 'code', values.length > MOST ? `${few}, ...` : few);
}

// Sides are shares of the image: top, left, bottom, right.
function boxes(outputs, {location, category, score}) {
  const sides = outputs[location.name];
  const sure = outputs[score.name];
  const shown = [...sure.keys()].filter((place) => sure[place] >= 0.3);
  if (!shown.length) add(at('outputs'), 'p', 'Nothing scores 0.3 or more.', 'note');
  for (const place of shown) {
    const [top, left, bottom, right] = sides.slice(4 * place, 4 * place + 4).map((side) => 100 * side);
    const text = category.labels[Math.round(outputs[category.name][place])] ?? '';
    bar(text, sure[place]);
    const box = add(at('shown'), 'div', '', 'box');
    Object.assign(box.style, {
      top: `${top}%`, left: `${left}%`, height: `${bottom - top}%`, width: `${right - left}%`,
    });
    add(box, 'span', text);
  }
}

at('name').textContent = document.title = about.name;
at('about').textContent = about.description;
at('file').accept = reader.accept;
at('hint').textContent = reader.hint;
at('written').hidden = !reader.written;
at('text').placeholder = reader.written ?? '';
at('file').addEventListener('change', () => at('file').files.length && answer(at('file').files[0]));
at('written').addEventListener('submit', (event) => {
  event.preventDefault();
  answer(new Blob([at('text').value]));
});
for (const kind of ['dragover', 'dragleave', 'drop']) {
  at('drop').addEventListener(kind, (event) => {
    event.preventDefault();
    at('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length) answer(event.dataTransfer.files[0]);
  });
}

try {
  await page.model;
  page.ready = true;
  if (!asked) state('Ready');
} catch (error) {
  state(error.message, true);
}
