// @ts-check
// The one place from which the extension reaches the network: GET, without cookies, without referrer, of a picture that
// the page shows anyway. Redirects are not followed: where they lead can only be seen when it is too late.

import { coded } from '../../shared/messages.js';
import { refusal } from './policy.js';

/** Larger files are no profile photos; the model's own limit on pixels holds besides. */
export const MAX_PICTURE_BYTES = 16_000_000;
const TIMEOUT_MS = 20_000;

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
  if (why) throw coded('refused', `this address is not fetched (${why})`);
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
    if (response.type === 'opaqueredirect') throw coded('refused', 'this address leads to another one, which is not followed');
    if (response.status === 429 || response.status >= 500) throw coded('busy', `status ${response.status}`);
    if (!response.ok) throw coded('refused', `expected status 200, found ${response.status}`);
    const type = (response.headers.get('content-type') ?? '').split(';')[0].trim().toLowerCase();
    if (!isPictureType(type)) throw coded('refused', `expected a picture, found ${type}`);
    return await readAll(response);
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
  if (type === 'image/svg+xml') return false; // a drawing, no photo
  return type === '' || type.startsWith('image/') || type === 'application/octet-stream' || type === 'binary/octet-stream';
}

/** @param {Response} response */
async function readAll(response) {
  const tooLarge = () => coded('refused', `expected at most ${MAX_PICTURE_BYTES} bytes, found more`);
  if (Number(response.headers.get('content-length')) > MAX_PICTURE_BYTES) throw tooLarge();
  if (!response.body) throw coded('unreachable', 'expected a response with a body');
  /** @type {Uint8Array[]} */
  const chunks = [];
  let total = 0;
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw coded('unreachable', error.message);
      });
      if (done) break;
      total += value.length;
      if (total > MAX_PICTURE_BYTES) throw tooLarge();
      chunks.push(value);
    }
  } finally {
    reader.releaseLock();
  }
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
