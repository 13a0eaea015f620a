// @ts-check
// What the user chose, in storage.local under one key; anything missing or odd is the default.

/**
 * `threshold`: stricter than the model's, or 0. `badges`: drawn on pictures. `sites`: match patterns checked by themselves.
 * @typedef {{threshold: number, badges: boolean, preference: import('../../shared/messages.js').Preference,
 *   sites: string[]}} Settings
 */

export const SETTINGS = 'settings';

/** A hundred sites are more than anybody keeps in view. */
const MAX_SITES = 500;

/**
 * @param {any} kept
 * @returns {Settings}
 */
export function settingsFrom(kept) {
  const { threshold, badges, preference, sites } = kept ?? {};
  return {
    threshold: threshold >= 0 && threshold <= 1 ? threshold : 0,
    badges: badges !== false,
    preference: ['auto', 'gpu', 'cpu'].includes(preference) ? preference : 'auto',
    sites: Array.isArray(sites) ? sites.filter((site) => typeof site === 'string').slice(0, MAX_SITES) : [],
  };
}
