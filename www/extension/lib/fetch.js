// @ts-check
// The one place from which the extension reaches the network: GET, without cookies, without referrer, of a picture that
// the page shows anyway. Redirects are not followed: where they lead can only be seen when it is too late.

import { coded } from '../../shared/messages.js';
import { refusal } from './policy.js';

/** Larger files are no profile photos; the model's own limit on pixels holds besides. */
export const MAX_PICTURE_BYTES = 16_000_000;
const TIMEOUT_MS = 20_000;

/**
 * An address, answer or file that is not let through; `why` is a key of reasons.js.
 * @param {string} why
 * @param {string} message
 */
function refused(why, message) {
  return Object.assign(coded('refused', message), { why });
}

/**
 * How the browser takes a host that the extension may read. In Chromium such a host counts as its own: with `same-origin`,
 * nothing is asked of one whose permission has just gone, where `cors` would ask it for leave and name the extension's address
 * to it. Firefox fetches from no other host in that mode; there the permission is looked at just before.
 * @typedef {'same-origin' | 'cors'} FetchMode
 */

/**
 * The bytes of a picture.
 *
 * Throws errors with a `code`: `refused` (the address, type or size is not let through), `busy` (the host asks for
 * patience), `unreachable`.
 * @param {string} url
 * @param {FetchMode} mode
 * @param {typeof fetch} [get] played by tests
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function fetchPicture(url, mode, get = fetch) {
  const why = refusal(url);
  if (why) throw refused(why, `this address is not fetched (${why})`);
  /** @type {Response} */
  let response;
  try {
    response = await get(url, {
      mode,
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      redirect: 'manual',
      cache: 'force-cache',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw coded('unreachable', error instanceof Error ? error.message : String(error));
  }
  try {
    if (response.type === 'opaqueredirect') throw refused('redirect', 'this address leads to another one, which is not followed');
    if (response.status === 429 || response.status >= 500) throw coded('busy', `status ${response.status}`);
    if (!response.ok) throw refused('status', `expected status 200, found ${response.status}`);
    const type = (response.headers.get('content-type') ?? '').split(';')[0].trim().toLowerCase();
    if (type === 'image/svg+xml') throw refused('drawing', `expected a photo, found ${type}`);
    return await readAll(response, isPictureType(type) ? null : type);
  } catch (error) {
    void response.body?.cancel().catch(() => {});
    throw error;
  }
}

/**
 * Servers that do not know a type say nothing or `octet-stream`; what the bytes are is told by the bytes.
 * @param {string} type
 */
function isPictureType(type) {
  return type === '' || type.startsWith('image/') || type === 'application/octet-stream' || type === 'binary/octet-stream';
}

/** How the formats begin that browsers show in an `<img>`; `?` is any byte. */
const SIGNATURES = ['\xff\xd8\xff', '\x89PNG\r\n', 'GIF8', 'RIFF????WEBP', 'BM', '????ftypavif', '????ftypavis', '????ftypheic', '\xff\x0a', '????JXL '];
const LONGEST_SIGNATURE = Math.max(...SIGNATURES.map(({ length }) => length));

/**
 * Browsers show a picture whatever its host calls it: what it is, its first bytes tell.
 * @param {Uint8Array} start
 * @returns {boolean}
 */
export function beginsAsPicture(start) {
  return SIGNATURES.some((signature) =>
    Array.from(signature).every((char, at) => char === '?' || start[at] === char.charCodeAt(0)),
  );
}

/**
 * @param {Response} response
 * @param {string | null} doubt the stated type, where that is none of a picture: then the bytes must be
 */
async function readAll(response, doubt) {
  const tooLarge = () => refused('large', `expected at most ${MAX_PICTURE_BYTES} bytes, found more`);
  if (Number(response.headers.get('content-length')) > MAX_PICTURE_BYTES) throw tooLarge();
  if (!response.body) throw coded('unreachable', 'expected a response with a body');
  const bytes = new Bytes();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw coded('unreachable', error.message);
      });
      if (value) bytes.add(value);
      if (bytes.length > MAX_PICTURE_BYTES) throw tooLarge();
      if (doubt !== null && (done || bytes.length >= LONGEST_SIGNATURE)) {
        if (!beginsAsPicture(bytes.joined())) throw refused('type', `expected a picture, found ${doubt}`);
        doubt = null;
      }
      if (done) return bytes.joined();
    }
  } finally {
    reader.releaseLock();
  }
}

/** Bytes as they come. */
class Bytes {
  length = 0;
  /** @type {Uint8Array[]} */
  #chunks = [];

  /** @param {Uint8Array} chunk */
  add(chunk) {
    this.#chunks.push(chunk);
    this.length += chunk.length;
  }

  /** @returns {Uint8Array<ArrayBuffer>} */
  joined() {
    const bytes = new Uint8Array(this.length);
    let at = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }
}
