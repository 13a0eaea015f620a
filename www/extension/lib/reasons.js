// @ts-check
// Why pictures were not checked, each with its sentence for the popup: what a page's content script tells, what fetching told,
// and what the detector said of what it could not judge.

import { reasonInWords } from '../../shared/view.js';
import { say } from './strings.js';

/** @typedef {import('./messages.js').Frame} Frame */
/** @typedef {import('./messages.js').Record} Record */

/** @type {Readonly<{[why: string]: import('./strings.js').WordsKey}>} */
const REASONS = {
  element: 'whyElement',
  address: 'whyAddress',
  bad_url: 'whyAddress',
  drawing: 'whyDrawing',
  scheme: 'whyScheme',
  canvas: 'whyCanvas',
  video: 'whyVideo',
  large: 'whyLarge',
  many: 'whyMany',
  small: 'whySmall',
  shape: 'whyShape',
  frame: 'whyFrame',
  elsewhere: 'whyElsewhere',
  private: 'whyPrivate',
  credentials: 'whyCredentials',
  redirect: 'whyRedirect',
  status: 'whyStatus',
  type: 'whyType',
  unreachable: 'whyUnreachable',
  failed: 'whyFailed',
};

/** What goes before what, for a reader: first what could be a face. */
const ORDER = Object.keys(REASONS);

/**
 * Everything of a tab that was not checked, by reason.
 * @param {readonly Record[]} records
 * @param {readonly Frame[]} frames
 * @returns {{why: string, count: number, words: string}[]} most first
 */
export function notChecked(records, frames) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  /** @type {(why: string, count: number) => void} */
  const add = (why, count) => void counts.set(why, (counts.get(why) ?? 0) + count);
  for (const { tally } of frames) for (const [why, count] of Object.entries(tally?.unseen ?? {})) add(REASONS[why] ? why : 'element', count);
  const { count, sites } = framesNotSeen(frames);
  if (count) add('frame', count);
  for (const { report, why } of records) {
    if (why) add(REASONS[why] ? why : 'failed', 1);
    else if (report?.band === 'not_assessed' && report.reason) add(`report ${report.reason}`, 1);
  }
  const rank = (/** @type {string} */ why) => (ORDER.includes(why) ? ORDER.indexOf(why) : ORDER.length);
  return [...counts]
    .map(([why, count]) => ({ why, count, words: wordsFor(why, sites) }))
    .sort((a, b) => b.count - a.count || rank(a.why) - rank(b.why));
}

/**
 * @param {string} why
 * @param {readonly string[]} sites
 */
function wordsFor(why, sites) {
  if (why.startsWith('report ')) return reasonInWords(/** @type {any} */ (why.slice('report '.length)));
  const words = say(REASONS[why]);
  return why === 'frame' && sites.length ? say('whyFrameOf', { sites: sites.map((site) => new URL(site).host).join(', ') }) : words;
}

/**
 * Frames of a tab into which no content script came, and what is known of their sites.
 * @param {readonly Frame[]} frames
 * @returns {{count: number, sites: string[]}}
 */
export function framesNotSeen(frames) {
  const told = frames.flatMap(({ tally }) => (tally ? [tally] : []));
  const all = told.reduce((sum, { frames }) => sum + frames.count, 0);
  const seen = told.filter(({ isInner }) => isInner).length;
  const inside = new Set(frames.map(({ site }) => site));
  const sites = [...new Set(told.flatMap(({ frames }) => frames.sites))].filter((site) => !inside.has(site));
  const count = Math.max(0, all - seen);
  return { count, sites: count ? sites : [] };
}

/**
 * Why one picture has no verdict, for its panel.
 * @param {string} why
 * @param {string} message the same for whoever reports it
 * @returns {string}
 */
export function whyInWords(why, message) {
  const words = say(REASONS[why] ?? 'whyFailed');
  return `${words[0].toUpperCase()}${words.slice(1)} (${message}).`;
}
