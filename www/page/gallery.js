// @ts-check
// Samples to try: fetched while the page loads, so that trying one asks the network for nothing.

import { text } from '../shared/strings.js';
import { find, make, makeButton } from './dom.js';

/** @type {readonly {file: string, forged: number}[]} `forged`: the number of the forgery, 0 for the original. */
const SAMPLES = [
  { file: 'portrait.jpg', forged: 0 },
  { file: 'forgery-1.jpg', forged: 1 },
  { file: 'forgery-2.jpg', forged: 2 },
  { file: 'forgery-3.jpg', forged: 3 },
];

/** @type {Map<string, {file: File, url: string}>} */
const loaded = new Map();

/** Fetches the samples; one that cannot be had stays greyed out. */
export async function loadGallery() {
  const folder = new URL('../gallery/', import.meta.url);
  const load = async (/** @type {typeof SAMPLES[number]} */ { file: name }) => {
    const response = await fetch(new URL(name, folder));
    if (!response.ok) throw new Error(`${name}: status ${response.status}`);
    const file = new File([await response.blob()], name, { type: 'image/jpeg' });
    loaded.set(name, { file, url: URL.createObjectURL(file) });
  };
  await Promise.allSettled(SAMPLES.map(load));
}

/**
 * Shows the samples, those too that are still on their way, so that nothing moves when they come.
 * @param {(file: File) => void} onChoose
 */
export function showGallery(onChoose) {
  find('#samples').replaceChildren(
    ...SAMPLES.map(({ file: fileName, forged }) => {
      const sample = loaded.get(fileName);
      const name = forged ? text('galleryForged', { number: forged }) : text('galleryOriginal');
      const picture = Object.assign(document.createElement('img'), { alt: '', width: 96, height: 96 });
      if (sample) picture.src = sample.url;
      const button = makeButton('', () => sample && onChoose(sample.file));
      button.toggleAttribute('disabled', !sample);
      button.setAttribute('aria-label', text('galleryAlt', { name }));
      button.append(picture, make('span', name));
      const item = make('li');
      item.append(button);
      return item;
    }),
  );
}
