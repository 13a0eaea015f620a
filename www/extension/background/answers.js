// @ts-check
// What a page is told of its pictures: words for their badges, the number on the toolbar button.

import { CONTENT, RESULTS } from '../lib/messages.js';
import { sitePattern } from '../lib/policy.js';
import { say } from '../lib/strings.js';
import { badgeWords, levelOf, threshold } from '../lib/verdict.js';
import { readSettings } from './settings.js';

/** @typedef {import('../lib/messages.js').Job} Job */
/** @typedef {import('../lib/messages.js').Record} Record */
/** @typedef {import('../lib/settings.js').Settings} Settings */

const FLAG_COLOUR = '#a33a14';

/**
 * What the picture's badge says; null for a quiet one.
 * @param {Record} record
 * @param {Settings} chosen
 */
export function wordsFor({ state, report, autoScan, url, job }, chosen) {
  const { asked } = job;
  if (state === 'done' && report) {
    const words = badgeWords(report, threshold(autoScan, chosen.threshold));
    return asked || (words.level === 'flag' && chosen.badges) ? words : null;
  }
  if (!asked || state === 'waiting') return null;
  if (state === 'blocked') {
    return { level: 'blocked', label: say('labelBlocked'), title: say('titleBlocked', { site: new URL(url).host }) };
  }
  return { level: 'failed', label: say('labelFailed'), title: say('titleFailed') };
}

/**
 * @param {Record} record
 * @param {Settings} chosen
 */
function isFlagged({ report, autoScan }, chosen) {
  return report !== null && levelOf(report, threshold(autoScan, chosen.threshold)) === 'flag';
}

/**
 * Shows a record on its picture.
 * @param {Record} record
 * @param {import('./tabs.js').Tabs} tabs
 */
export async function showOn(record, tabs) {
  const { job } = record;
  const chosen = await readSettings();
  const results = [{ url: job.url, words: wordsFor(record, chosen) }];
  // The page may be gone; then nobody needs the answer.
  const told = { to: CONTENT, type: RESULTS, page: job.page, results };
  await chrome.tabs.sendMessage(job.tabId, told, { frameId: job.frameId }).catch(() => {});
  if (isFlagged(record, chosen)) await countFlags(job, chosen, tabs);
}

/**
 * @param {Job} job
 * @param {Settings} chosen
 * @param {import('./tabs.js').Tabs} tabs
 */
async function countFlags({ tabId, page }, chosen, tabs) {
  const pages = (await tabs.pages(tabId)).add(page);
  const here = (await tabs.flagged(tabId)).filter(({ job }) => pages.has(job.page));
  const text = String(here.filter((record) => isFlagged(record, chosen)).length);
  await chrome.action.setBadgeBackgroundColor({ tabId, color: FLAG_COLOUR }).catch(() => {});
  await chrome.action.setBadgeText({ tabId, text }).catch(() => {});
}

/**
 * What a content script is to do.
 * @param {string} site address of its document's site; empty for none
 * @param {boolean} scan whether the user asked for all pictures of its page
 */
export async function modeFor(site, scan) {
  const { sites, badges } = await readSettings();
  const busy = { level: 'busy', label: say('labelBusy'), title: say('titleBusy') };
  return { auto: site !== '' && sites.includes(sitePattern(site)), scan, badges, busy };
}
