// @ts-check
// Pictures that only the page holds (blob:, data:, canvas): they go by a name of ours, `page:1`, `page:2`, and are read here.

import { dataBase64 } from './addresses.js';
import { MAX_SOURCE_CHARS } from './sources.js';

/** Larger pictures than this are not carried from the page to the engine. */
const MAX_PAGE_BYTES = 12_000_000;

export class Holdings {
  /** @type {Map<string, string | WeakRef<HTMLCanvasElement>>} by name */
  #sources = new Map();
  /** @type {Map<string, string>} */
  #names = new Map();
  /** @type {WeakMap<HTMLCanvasElement, string>} */
  #canvases = new WeakMap();
  #count = 0;

  /**
   * @param {string | HTMLCanvasElement} source
   * @returns {string}
   */
  nameOf(source) {
    const known = typeof source === 'string' ? this.#names.get(source) : this.#canvases.get(source);
    if (known) return known;
    this.#count += 1;
    const name = `page:${this.#count}`;
    if (typeof source === 'string') {
      this.#names.set(source, name);
      this.#sources.set(name, source);
    } else {
      this.#canvases.set(source, name);
      this.#sources.set(name, new WeakRef(source));
    }
    return name;
  }

  /** @param {(name: string) => boolean} isWanted */
  keepOnly(isWanted) {
    for (const [name, source] of this.#sources) {
      if (isWanted(name)) continue;
      this.#sources.delete(name);
      if (typeof source === 'string') this.#names.delete(source);
      else if (source.deref()) this.#canvases.delete(/** @type {HTMLCanvasElement} */ (source.deref()));
    }
  }

  /**
   * The bytes of a picture that only this page can read.
   * @param {string} name or the address of a picture of the page's own site
   * @returns {Promise<string>} in base64
   */
  async read(name) {
    const source = this.#sources.get(name) ?? name;
    if (typeof source !== 'string') return readCanvas(source.deref());
    if (source.length > MAX_SOURCE_CHARS) throw new Error('the picture is too large');
    if (/^data:/i.test(source)) return dataBase64(source);
    const response = await fetch(source, { credentials: 'omit', redirect: 'error', cache: 'force-cache' });
    if (!response.ok) throw new Error('the picture is gone');
    return blobBase64(await response.blob());
  }
}

/**
 * @param {HTMLCanvasElement | undefined} canvas
 * @returns {Promise<string>}
 */
async function readCanvas(canvas) {
  if (!canvas) throw new Error('the picture is gone');
  // PNG: nothing is lost, and nothing added.
  /** @type {Blob | null} */
  const blob = await new Promise((resolve) => HTMLCanvasElement.prototype.toBlob.call(canvas, resolve, 'image/png'));
  if (!blob) throw new Error('the drawing surface gave no picture');
  return blobBase64(blob);
}

/**
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
async function blobBase64(blob) {
  if (blob.size > MAX_PAGE_BYTES) throw new Error('the picture is too large');
  /** @type {string} */
  const encoded = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
  return encoded.slice(encoded.indexOf(',') + 1);
}
