// @ts-check
// From a report to what a badge may say of it. A page scan raises its voice only above the score that, in validation, at
// most one untouched photo in a hundred reached; a picture that the user asked about gets an answer in any case.

import { verdict } from '../../shared/view.js';
import { say } from './strings.js';

/** @typedef {import('../../shared/messages.js').Report} Report */
/**
 * `flag`: above the scan threshold. `weak`: above the threshold for a single photo only. The others are the bands.
 * @typedef {'flag' | 'weak' | 'unsure' | 'none' | 'unjudged'} Level
 */
/** @typedef {{level: Level, label: string, title: string}} Words `label` fits on a badge; `title` is the sentence. */

/** @type {Readonly<Record<import('../../shared/messages.js').Band, Level>>} */
const LEVELS = { likely_fake: 'weak', inconclusive: 'unsure', no_signs_found: 'none', not_assessed: 'unjudged' };

/** @type {Readonly<Record<Level, import('./strings.js').WordsKey>>} */
const LABELS = {
  flag: 'labelFlag',
  weak: 'labelWeak',
  unsure: 'labelUnsure',
  none: 'labelNone',
  unjudged: 'labelUnjudged',
};

/**
 * The threshold in force: the user may be stricter than the model, never more lenient.
 * @param {number} autoScan the model's own
 * @param {number} chosen the user's; 0 for none
 * @returns {number}
 */
export function threshold(autoScan, chosen) {
  return Math.max(autoScan, chosen);
}

/**
 * @param {Pick<Report, 'band' | 'p_fake'>} report
 * @param {number} limit what `threshold` gave
 * @returns {Level}
 */
export function levelOf({ band, p_fake: pFake }, limit) {
  // A high score whose verdict did not hold under gentle changes has another band, and is no flag.
  return band === 'likely_fake' && pFake !== null && pFake >= limit ? 'flag' : LEVELS[band];
}

/**
 * @param {Pick<Report, 'band' | 'p_fake' | 'reason'>} report
 * @param {number} limit
 * @returns {Words}
 */
export function badgeWords(report, limit) {
  const level = levelOf(report, limit);
  const { title, meaning } = verdict(report);
  const words = { flag: say('titleFlag'), weak: say('titleWeak'), unsure: title, none: title, unjudged: meaning };
  return { level, label: say(LABELS[level]), title: words[level] };
}
