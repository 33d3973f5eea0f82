// Recordings for the try-it page: one channel at the model's rate, its first window; silence at the ends is not cut.
export const accept = 'audio/*';
export const hint = 'Drop a recording here, or choose one';

export async function read(source, about) {
  const [{name, shape}] = about.inputs;
  const samples = shape[1];
  const rate = about.settings.audio?.sample_rate;
  if (!rate) throw new Error('The model does not say at which rate it takes recordings.');
  const context = new OfflineAudioContext(1, samples, rate); // decodes to its rate
  const decoded = await context.decodeAudioData(await source.arrayBuffer()).catch(() => {
    throw new Error('This file is no recording that the browser can read.');
  });
  const mono = new Float32Array(samples);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    const own = decoded.getChannelData(channel);
    for (let i = 0; i < Math.min(samples, own.length); i++) mono[i] += own[i] / decoded.numberOfChannels;
  }
  const shown = document.createElement('audio');
  shown.controls = true;
  shown.src = URL.createObjectURL(source);
  const has = decoded.length / rate;
  const takes = samples / rate;
  const cut = has > takes ? `its first ${takes.toFixed(2)} s of ${has.toFixed(2)} s` : `${has.toFixed(2)} s of ${takes.toFixed(2)} s`;
  const note = about.settings.audio.trim_db ? `${cut}; silence at its ends stays, which training cut off` : cut;
  return {inputs: {[name]: mono}, shown, note};
}
