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

/** @type {{file: File, url: string, forged: number}[]} */
let samples = [];

/** Fetches the samples; without them the page does without a gallery. */
export async function loadGallery() {
  const folder = new URL('../gallery/', import.meta.url);
  const load = async (/** @type {typeof SAMPLES[number]} */ { file: name, forged }) => {
    const response = await fetch(new URL(name, folder));
    if (!response.ok) throw new Error(`${name}: status ${response.status}`);
    const file = new File([await response.blob()], name, { type: 'image/jpeg' });
    return { file, url: URL.createObjectURL(file), forged };
  };
  const loaded = await Promise.allSettled(SAMPLES.map(load));
  samples = loaded.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

/** @param {(file: File) => void} onChoose */
export function showGallery(onChoose) {
  const list = find('#samples');
  find('#gallery').hidden = samples.length === 0;
  list.replaceChildren(
    ...samples.map(({ file, url, forged }) => {
      const name = forged ? text('galleryForged', { number: forged }) : text('galleryOriginal');
      const picture = Object.assign(document.createElement('img'), { src: url, alt: '', width: 96, height: 96 });
      const button = makeButton('', () => onChoose(file));
      button.setAttribute('aria-label', text('galleryAlt', { name }));
      button.append(picture, make('span', name));
      const item = make('li');
      item.append(button);
      return item;
    }),
  );
}
