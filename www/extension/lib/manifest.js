// @ts-check
// What the manifest beside the model file says of it: which file, and from which scores on verdicts change. Read without the
// model, which is 20 MB and may not be needed; engine.js holds the two together once it is loaded.

import { coded } from '../../shared/messages.js';

/** @typedef {import('../../shared/messages.js').Thresholds} Thresholds */

/** The order in which they must rise. */
const THRESHOLDS = /** @type {const} */ (['no_signs', 'likely_fake', 'auto_scan']);

/**
 * @param {URL} url of the manifest
 * @param {typeof fetch} [get] played by tests
 * @returns {Promise<{id: string, thresholds: Thresholds}>} `id`: SHA-256 of the model file
 */
export async function readManifest(url, get = fetch) {
  const response = await get(url);
  if (!response.ok) throw coded('io', `${url.pathname}: expected status 200, found ${response.status}`);
  const { sha256, thresholds } = await response.json().catch(() => {
    throw coded('bad_weights', 'expected the model manifest to be JSON');
  });
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw coded('bad_weights', `expected a SHA-256 in the model manifest, found ${sha256}`);
  const values = THRESHOLDS.map((name) => thresholds?.[name]);
  const rising = values.every((value, at) => typeof value === 'number' && value >= (at ? values[at - 1] : 0) && value <= 1);
  if (!rising) throw coded('bad_weights', `expected rising thresholds from 0 to 1 in the model manifest, found ${JSON.stringify(thresholds)}`);
  return { id: sha256, thresholds };
}

/**
 * The model that was loaded must be the one that the manifest describes.
 * @param {{id: string, thresholds: Thresholds}} manifest
 * @param {Pick<import('../../shared/messages.js').Loaded, 'model' | 'thresholds'>} loaded
 */
export function holdTogether(manifest, loaded) {
  if (loaded.model.id !== manifest.id) {
    throw coded('bad_weights', `expected the model with SHA-256 ${manifest.id}, found ${loaded.model.id}`);
  }
  for (const name of THRESHOLDS) {
    const [stated, found] = [manifest.thresholds[name], loaded.thresholds[name]];
    // Both are decimal forms of one number.
    if (!(Math.abs(stated - found) < 1e-9)) throw coded('bad_weights', `expected ${name} ${stated} as in the manifest, found ${found}`);
  }
}
