// Images for the try-it page, read as in training: upright, colour profiles ignored, `background` behind clear pixels;
// resized bilinearly, antialiased where they shrink, rounded after each side.
export const accept = 'image/*';
export const hint = 'Drop an image here, or choose one';

export async function read(source, about) {
  const [{name, shape}] = about.inputs;
  const [, height, width] = shape;
  const {background = [255, 255, 255], white = null} = about.settings.image ?? {};
  const {isDeep, isPalette} = await valuesOf(source);
  if (isDeep && ![null, 65535].includes(white)) {
    throw new Error(`A PNG of 16 bits, of which the browser keeps 8, and in training ${white} was white: ask tlkit predict.`);
  }
  const image = await createImageBitmap(source, {colorSpaceConversion: 'none', premultiplyAlpha: 'none'}).catch(() => {
    throw new Error('This file is no image that the browser can read.');
  });
  const shown = document.createElement('canvas');
  [shown.width, shown.height] = [image.width, image.height];
  const context = shown.getContext('2d', {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  const picture = context.getImageData(0, 0, image.width, image.height);
  let pixels = composited(picture.data, background, isPalette ? 1 : 255 / Math.min(white ?? 255, 255));
  context.putImageData(picture, 0, 0);
  pixels = along(pixels, image.height, image.width, width, 3); // each row to its width
  pixels = along(pixels, 1, image.height, height, 3 * width); // all rows to their number
  const same = image.width === width && image.height === height;
  const note = same ? '' : `resized from ${image.height}x${image.width} to ${height}x${width}`;
  return {inputs: {[name]: pixels}, shown, note};
}

// Whether values have 16 bits, or are of a palette or one bit, which say themselves what is white: IHDR of a PNG, or GIF.
async function valuesOf(source) {
  const head = new Uint8Array(await source.slice(0, 26).arrayBuffer());
  const begins = (text) => [...text].every((letter, i) => head[i] === letter.charCodeAt(0));
  const [bits, kind] = begins('\x89PNG') ? head.slice(24) : [8, 0];
  return {isDeep: bits === 16, isPalette: kind === 3 || bits === 1 || begins('GIF8')};
}

// Colours alone, of red, green, blue and opacity; `data` becomes what is seen.
function composited(data, background, brighter) {
  const pixels = new Float64Array((data.length / 4) * 3);
  for (let i = 0; i < data.length / 4; i++) {
    const opacity = data[4 * i + 3] / 255;
    for (let channel = 0; channel < 3; channel++) {
      const colour = Math.min(255, Math.round(brighter * data[4 * i + channel]));
      const seen = Math.round(opacity * colour + (1 - opacity) * background[channel]);
      data[4 * i + channel] = pixels[3 * i + channel] = seen;
    }
    data[4 * i + 3] = 255;
  }
  return pixels;
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
