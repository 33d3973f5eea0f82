// Inputs of any kind for the try-it page, as JSON: {"name": [numbers]}, or the numbers alone where there is one input.
const shapes = (about) => about.inputs.map(({name, shape}) => `${name} ${JSON.stringify(shape)}`).join(', ');

export const accept = '.json,application/json';
export const hint = 'Drop a JSON file with the numbers of the inputs here, or write them below';
export const written = '{"input": [0, 0, ...]}';

export async function read(source, about) {
  let given;
  try {
    given = JSON.parse(await source.text());
  } catch {
    throw new Error(`These are no numbers in JSON. The model takes ${shapes(about)}.`);
  }
  const named = Array.isArray(given) ? {[about.inputs[0].name]: given} : given;
  const inputs = Object.fromEntries(Object.entries(named).map(([name, value]) => [name, value.flat(Infinity)]));
  return {inputs};
}
