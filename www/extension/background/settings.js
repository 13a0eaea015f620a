// @ts-check
// What the user chose, as the background reads and changes it.

import { sitePattern } from '../lib/policy.js';
import { SETTINGS, settingsFrom } from '../lib/settings.js';

/** @typedef {import('../lib/settings.js').Settings} Settings */

/** @returns {Promise<Settings>} */
export async function readSettings() {
  return settingsFrom((await chrome.storage.local.get(SETTINGS))[SETTINGS]);
}

/** @param {string[]} sites */
export async function keepSites(sites) {
  await chrome.storage.local.set({ [SETTINGS]: { ...(await readSettings()), sites } });
}

/**
 * Whether the user allowed the host of an address.
 * @param {string} url
 * @returns {Promise<boolean>}
 */
export function mayRead(url) {
  return chrome.permissions.contains({ origins: [sitePattern(url)] });
}
