// @ts-check
// The scan threshold of the shipped model, read from where it stands: the header of the model file.

import { coded } from '../../shared/messages.js';

/** The header is a table of tensor names and one JSON document: far below this. */
const MAX_HEADER_BYTES = 4_000_000;

/**
 * The first bytes of a safetensors file up to the end of its header, and no more than needed.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @returns {Promise<Uint8Array>} the header without its length
 */
async function readHeader(stream) {
  const reader = stream.getReader();
  let bytes = new Uint8Array();
  let end = 8;
  try {
    while (bytes.length < end) {
      const { done, value } = await reader.read();
      if (done) throw coded('bad_weights', `expected a model header of ${end} bytes, found the end after ${bytes.length}`);
      const longer = new Uint8Array(bytes.length + value.length);
      longer.set(bytes);
      longer.set(value, bytes.length);
      bytes = longer;
      if (bytes.length < 8) continue;
      const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
      if (length > MAX_HEADER_BYTES) {
        throw coded('bad_weights', `expected a model header of at most ${MAX_HEADER_BYTES} bytes, found ${length}`);
      }
      end = 8 + length;
    }
  } finally {
    void reader.cancel();
  }
  return bytes.subarray(8, end);
}

/**
 * The score that, in validation, at most one untouched photo in a hundred reached (`thresholds.auto_scan`).
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream of the model file
 * @returns {Promise<number>} 0..1
 */
export async function readAutoScan(stream) {
  const header = JSON.parse(new TextDecoder().decode(await readHeader(stream)));
  const value = JSON.parse(header.__metadata__.grnet).thresholds.auto_scan;
  if (!(value >= 0 && value <= 1)) throw coded('bad_weights', `expected auto_scan from 0 to 1, found ${value}`);
  return value;
}
