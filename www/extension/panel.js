// @ts-check
// The evidence panel, in a window of its own: what page scripts can neither read, nor cover, nor imitate inside the
// extension's address. `#key` names the picture's record; the card is the page's own.

import { makeCard } from '../page/card.js';
import { fillTexts } from '../page/dom.js';
import { text } from '../shared/strings.js';
import * as view from '../shared/view.js';
import { ask, fillOwnTexts, find } from './lib/dom.js';
import { overAll, unpack } from './lib/messages.js';
import { EVIDENCE, RETRY } from './lib/names.js';
import { siteName, sitePattern } from './lib/policy.js';
import { whyInWords } from './lib/reasons.js';
import { SETTINGS, settingsFrom } from './lib/settings.js';
import { say } from './lib/strings.js';
import { threshold } from './lib/verdict.js';

/** @typedef {import('../shared/messages.js').Assessment} Assessment */
/** @typedef {import('../shared/messages.js').Picture} Picture */
/** @typedef {import('./lib/messages.js').Found} Found */
/** @typedef {import('./lib/messages.js').PackedPicture} PackedPicture */
/** @typedef {import('./lib/messages.js').Record} Record */

/** @type {HTMLButtonElement} */
const allow = find('#allow');
const note = find('#note');
let key = '';
let pattern = '';
let photoUrl = '';

/** @param {string} words */
function tell(words) {
  note.textContent = words;
  note.hidden = words === '';
}

/**
 * What there is to say where there is no report.
 * @param {string} band of the style sheet
 * @param {string} title
 * @param {string} [meaning]
 */
function showPlain(band, title, meaning = '') {
  const plain = find('#plain');
  plain.hidden = false;
  plain.dataset.band = band;
  find('h2', plain).textContent = title;
  find('.meaning', plain).textContent = meaning;
}

/**
 * @param {string} name
 * @param {Assessment} assessment
 */
function showCard(name, assessment) {
  const file = new File([], name);
  const card = makeCard(
    { file, photoUrl, state: 'done', assessment, error: null, checkedAt: null },
    { onKeep: () => {} },
  );
  find('.keep', card).hidden = true; // keeping reports is the page's; here nothing is written
  find('.picture', card).hidden = photoUrl === '';
  find('#card').replaceChildren(card);
}

/** @param {Record | undefined} record */
async function show(record) {
  URL.revokeObjectURL(photoUrl);
  photoUrl = '';
  tell('');
  find('#card').replaceChildren();
  find('#plain').hidden = true;
  find('#limit').textContent = '';
  find('#form').textContent = '';
  allow.hidden = true;
  const { url = '', state, report, failure = null, message = '' } = record ?? {};
  const name = /^https?:/.test(url) ? say('panelFrom', { site: new URL(url).host }) : say('panelFromPage');
  find('#plain .file').textContent = name;
  if (!record) return showPlain('failed', text('bandNotAssessed'), say('panelGone'));
  if (state === 'waiting') return showPlain('working', say('panelWaiting'));
  if (state === 'blocked') {
    pattern = sitePattern(url);
    const site = siteName(pattern);
    allow.textContent = say('panelAllow', { site });
    allow.hidden = false;
    return showPlain('not_assessed', say('panelBlocked'), say('panelBlockedMeaning', { site }));
  }
  if (!report) return showPlain('failed', say(state === 'refused' ? 'panelRefused' : 'panelFailed'), whyInWords(record.why, message));
  const settings = settingsFrom((await chrome.storage.local.get(SETTINGS))[SETTINGS]);
  const limit = threshold(record.autoScan, settings.threshold);
  find('#limit').textContent = say('panelThreshold', { limit: limit.toFixed(3) });
  find('#form').textContent = record.form ? say('panelForm', { name: new URL(record.form).pathname.split('/').at(-1) ?? '' }) : '';
  showCard(name, { report, failure, evidence: report.faces.map(() => null) });
  if (report.faces.length > 0) await showEvidence(name);
}

/** @param {string} name */
async function showEvidence(name) {
  const asked = key;
  tell(say('panelLooking'));
  try {
    /** @type {Found} */
    const { report, failure, evidence, photo, thresholds } = await ask({ type: EVIDENCE, key });
    if (asked !== key) return;
    photoUrl = URL.createObjectURL(new Blob([unpack(photo)]));
    // The scales of all scores show where the bands begin.
    document.body.style.setProperty('--no-signs', `${thresholds.no_signs * 100}%`);
    document.body.style.setProperty('--likely-fake', `${thresholds.likely_fake * 100}%`);
    showCard(name, { report, failure, evidence: evidence.map((one) => one && overAll(one, picture)) });
    tell('');
  } catch (error) {
    if (asked === key) tell(say('panelNoEvidence', { message: view.errorInWords(/** @type {Error} */ (error)) }));
  }
}

/**
 * @param {PackedPicture} packed
 * @returns {Picture}
 */
function picture({ height, width, rgba }) {
  return { height, width, rgba: new Uint8ClampedArray(unpack(rgba).buffer) };
}

async function load() {
  key = decodeURIComponent(location.hash.slice(1));
  const name = `record/${key}`;
  /** @type {{[name: string]: any}} */
  const found = await chrome.storage.session.get(name);
  await show(found[name]?.value);
}

allow.addEventListener('click', async () => {
  try {
    if (await chrome.permissions.request({ origins: [pattern] })) await ask({ type: RETRY });
  } catch (error) {
    tell(say('popupFailed', { message: /** @type {Error} */ (error).message }));
  }
});
addEventListener('hashchange', () => void load());
chrome.storage.session.onChanged.addListener((changes) => {
  if (`record/${key}` in changes) void load();
});

fillTexts(document);
fillOwnTexts(document);
document.title = say('panelTitle');
await load();
