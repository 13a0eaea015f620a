// @ts-check
// The model file: fetched once with progress in bytes, checked against its manifest before anything uses or keeps it,
// and kept in the Cache API under its own SHA-256, so that a new model is a new entry and a damaged one is never used.

import { coded } from './messages.js';

/** @typedef {{file: string, sha256: string, bytes: number}} Manifest */
/** @typedef {(loaded: number, total: number, cached: boolean) => void} OnProgress */

const CACHE = 'grnet-model';

/**
 * Browsers have digests on secure pages only.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<string>} lower-case hexadecimal
 */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Manifest} manifest
 * @returns {Promise<string | null>} the digest, null where the browser computes none
 */
async function check(bytes, manifest) {
  if (bytes.length !== manifest.bytes) {
    throw coded('bad_weights', `expected ${manifest.bytes} bytes of model, found ${bytes.length}`);
  }
  if (!globalThis.crypto?.subtle) return null; // plain http
  const found = await sha256(bytes);
  if (found !== manifest.sha256) {
    throw coded('bad_weights', `expected the model with sha-256 ${manifest.sha256}, found ${found}`);
  }
  return found;
}

/**
 * A file that did not come, or not to its end.
 * @param {URL} url
 * @param {unknown} error
 */
function broken(url, error) {
  return coded('io', `${url.pathname}: ${error instanceof Error ? error.message : error}`);
}

/**
 * @param {URL} url
 * @param {RequestInit} [options]
 */
async function fetchOk(url, options) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    throw broken(url, error);
  }
  if (!response.ok) throw coded('io', `${url.pathname}: expected status 200, found ${response.status}`);
  return response;
}

/**
 * Reads a file into one buffer of the size the manifest promises; never more, whatever the server sends.
 * @param {URL} url
 * @param {number} total
 * @param {OnProgress} onProgress
 */
async function readModel(url, total, onProgress) {
  const response = await fetchOk(url, { cache: 'no-store' });
  const bytes = new Uint8Array(total);
  let loaded = 0;
  if (!response.body) throw coded('io', 'expected a response with a body');
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read().catch((error) => {
      throw broken(url, error);
    });
    if (done) break;
    if (loaded + value.length > total) throw coded('bad_weights', `expected ${total} bytes of model, found more`);
    bytes.set(value, loaded);
    loaded += value.length;
    onProgress(loaded, total, false);
  }
  return bytes.subarray(0, loaded);
}

/** The cache, or null where there is none (plain http, private windows of some browsers). */
async function openCache() {
  try {
    return await caches.open(CACHE);
  } catch {
    return null;
  }
}

/**
 * The checked bytes of the model beside the manifest, and their digest where the browser computes it.
 * @param {URL} manifestUrl
 * @param {OnProgress} onProgress
 * @returns {Promise<{bytes: Uint8Array<ArrayBuffer>, manifest: Manifest, digest: string | null}>}
 */
export async function loadModel(manifestUrl, onProgress) {
  /** @type {Manifest} */
  const manifest = await (await fetchOk(manifestUrl, { cache: 'no-cache' })).json().catch((error) => {
    throw broken(manifestUrl, error);
  });
  if (typeof manifest.file !== 'string' || !/^[0-9a-f]{64}$/.test(manifest.sha256) || !(manifest.bytes > 0)) {
    throw coded('bad_weights', 'expected file, sha256 and bytes in the model manifest');
  }
  const url = new URL(manifest.file, manifestUrl);
  url.searchParams.set('sha256', manifest.sha256);

  const cache = await openCache();
  const kept = await cache?.match(url);
  if (cache && kept) {
    const bytes = new Uint8Array(await kept.arrayBuffer());
    try {
      const digest = await check(bytes, manifest);
      onProgress(manifest.bytes, manifest.bytes, true);
      return { bytes, manifest, digest };
    } catch {
      await cache.delete(url); // damaged on disk: fetch it again
    }
  }
  onProgress(0, manifest.bytes, false);
  const bytes = await readModel(url, manifest.bytes, onProgress);
  const digest = await check(bytes, manifest);
  try {
    if (cache) {
      for (const old of await cache.keys()) await cache.delete(old);
      await cache.put(url, new Response(bytes, { headers: { 'content-type': 'application/octet-stream' } }));
    }
  } catch {
    // No room on this device: the model works all the same and is fetched again next time.
  }
  return { bytes, manifest, digest };
}
