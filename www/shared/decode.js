// @ts-check
// The browser's own decoder, for pictures that Rust does not read; which ones those are Rust says (src/picture/decode/avif.rs).
// The browser's picture is drawn on a canvas, which turns it, brings it to sRGB and lays it over white, and is taken from there as a
// video frame: what a canvas gives back itself, browsers change against fingerprinting.

/** @typedef {{height: number, width: number, rgba: Uint8Array<ArrayBuffer>}} Decoded Upright, in sRGB. */

/** Side of the picture with which it is tried whether pixels come back as they were put in. */
const TRIED_PX = 32;

/** @type {Promise<boolean> | null} Tried once. */
let faithful = null;

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {string} type its media type
 * @returns {Promise<Decoded | null>} null where this browser cannot decode the file, or would change its pixels
 */
export async function decodeInBrowser(bytes, type) {
  try {
    faithful ??= isFaithful();
    if (!(await faithful)) return null;
    const bitmap = await createImageBitmap(new Blob([bytes], { type }));
    const { height, width } = bitmap;
    const context = whiteCanvas(height, width);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return { height, width, rgba: await pixelsOf(context.canvas) };
  } catch {
    return null; // not its format, a broken file, no WebCodecs, no memory
  }
}

/**
 * @param {number} height
 * @param {number} width
 */
function whiteCanvas(height, width) {
  const canvas = new OffscreenCanvas(width, height);
  // Without a GPU, whose arithmetic is its own.
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  if (!context) throw new Error('expected a canvas of this size');
  context.fillStyle = 'white';
  context.fillRect(0, 0, width, height);
  return context;
}

/** @param {OffscreenCanvas} canvas */
async function pixelsOf(canvas) {
  const frame = new VideoFrame(canvas, { timestamp: 0 });
  try {
    const rgba = new Uint8Array(4 * canvas.height * canvas.width);
    await frame.copyTo(rgba, { format: 'RGBA', layout: [{ offset: 0, stride: 4 * canvas.width }] });
    return rgba;
  } finally {
    frame.close();
  }
}

async function isFaithful() {
  const put = new ImageData(TRIED_PX, TRIED_PX);
  for (let at = 0; at < put.data.length; at += 1) put.data[at] = at % 4 === 3 ? 255 : (at * 167) % 251;
  const context = whiteCanvas(TRIED_PX, TRIED_PX);
  context.putImageData(put, 0, 0);
  const got = await pixelsOf(context.canvas);
  return got.every((value, at) => value === put.data[at]);
}
