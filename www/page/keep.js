// @ts-check
// Reports to keep: handed to the browser's own download, written nowhere else.

/** @typedef {import('../shared/messages.js').Report} Report */
/** @typedef {import('./queue.js').Job} Job */

/** A download's address is kept this long; the browser tells nobody when it is done. */
const KEPT_MS = 60_000;

/**
 * The report with the time it was computed, as it is kept.
 * @param {Job} job
 * @returns {Report | null}
 */
export function keptReport({ assessment, checkedAt }) {
  if (!assessment || !checkedAt) return null;
  return { ...assessment.report, checked_at: checkedAt };
}

/**
 * `photo.jpg` -> `photo-grnet.json`
 * @param {string} name
 * @param {'json' | 'html'} form
 * @returns {string}
 */
export function keptName(name, form) {
  return `${name.replace(/\.[^.]*$/, '') || 'photo'}-grnet.${form}`;
}

/**
 * @param {string} name
 * @param {string} content
 * @param {string} type
 */
export function download(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = Object.assign(document.createElement('a'), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}
