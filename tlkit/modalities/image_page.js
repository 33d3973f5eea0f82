// Images for the try-it page, resized as in training: bilinear, antialiased where they shrink, rounded after each side.
export const accept = 'image/*';
export const hint = 'Drop an image here, or choose one';

export async function read(source, about) {
  const [{name, shape}] = about.inputs;
  const [, height, width] = shape;
  const image = await createImageBitmap(source).catch(() => {
    throw new Error('This file is no image that the browser can read.');
  });
  const shown = document.createElement('canvas');
  [shown.width, shown.height] = [image.width, image.height];
  const context = shown.getContext('2d', {willReadFrequently: true});
  const [red, green, blue] = about.settings.image?.background ?? [255, 255, 255];
  context.fillStyle = `rgb(${red}, ${green}, ${blue})`;
  context.fillRect(0, 0, image.width, image.height);
  context.drawImage(image, 0, 0);
  const {data} = context.getImageData(0, 0, image.width, image.height);
  let pixels = new Float64Array(image.width * image.height * 3);
  for (let i = 0; i < pixels.length / 3; i++) {
    for (let channel = 0; channel < 3; channel++) pixels[3 * i + channel] = data[4 * i + channel];
  }
  pixels = along(pixels, image.height, image.width, width, 3); // each row to its width
  pixels = along(pixels, 1, image.height, height, 3 * width); // all rows to their number
  const same = image.width === width && image.height === height;
  const note = same ? '' : `resized from ${image.height}x${image.width} to ${height}x${width}`;
  return {inputs: {[name]: pixels}, shown, note};
}

// Rows of `from` places of `step` numbers each become rows of `to` places.
function along(values, rows, from, to, step) {
  if (from === to) return values;
  const scale = from / to;
  const reach = Math.max(scale, 1);
  const out = new Float64Array(rows * to * step);
  for (let place = 0; place < to; place++) {
    const middle = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(middle - reach + 0.5));
    const last = Math.min(from, Math.trunc(middle + reach + 0.5));
    const weights = [];
    for (let k = first; k < last; k++) weights.push(Math.max(0, 1 - Math.abs((k - middle + 0.5) / reach)));
    const total = weights.reduce((a, b) => a + b, 0);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < step; i++) {
        let sum = 0;
        weights.forEach((weight, k) => {
          sum += weight * values[(row * from + first + k) * step + i];
        });
        out[(row * to + place) * step + i] = Math.round(sum / total);
      }
    }
  }
  return out;
}
