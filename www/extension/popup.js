// @ts-check
// The toolbar popup: checks the page, switches automatic checks for its site on and off, asks for the hosts that
// pictures are kept on, and lists what was found. `?tab=N` shows another tab than the current one.

import * as view from '../shared/view.js';
import { ask, fillOwnTexts, find, make, makeButton } from './lib/dom.js';
import { cutKey } from './lib/messages.js';
import { CHECK_PAGE, OPEN, RETRY, SET_SITE, STATUS } from './lib/names.js';
import { siteName, sitePattern } from './lib/policy.js';
import { framesNotSeen, notChecked } from './lib/reasons.js';
import { SETTINGS, settingsFrom } from './lib/settings.js';
import { entriesOf } from './lib/store.js';
import { say } from './lib/strings.js';
import { badgeWords, threshold } from './lib/verdict.js';

/** @typedef {import('./lib/messages.js').Frame} Frame */
/** @typedef {import('./lib/messages.js').Record} Record */

const MAX_LISTED = 100;
/** The list follows the results, but not each single one. */
const REDRAW_MS = 300;

/** @type {HTMLInputElement} */
const auto = find('#auto');
const note = find('#note');

/** What the click handlers need at hand: a permission can only be asked for before anything is awaited. */
const now = {
  tabId: -1,
  /** @type {string} match pattern of the tab's site; empty where it cannot be known or checked */
  site: '',
  /** @type {string[]} */
  blocked: [],
  /** @type {string[]} match patterns of the sites of frames that were not looked into */
  framed: [],
  /** @type {import('./lib/settings.js').Settings} */
  settings: settingsFrom(null),
};

async function findTab() {
  const asked = Number(new URLSearchParams(location.search).get('tab'));
  const tab = asked ? await chrome.tabs.get(asked) : (await chrome.tabs.query({ active: true, currentWindow: true }))[0];
  now.tabId = tab?.id ?? -1;
  now.site = /^https?:/.test(tab?.url ?? '') ? sitePattern(/** @type {string} */ (tab?.url)) : '';
}

/**
 * @returns {Promise<{records: [string, Record][], frames: Frame[], isCut: boolean}>} of the documents that the tab shows now,
 *   newest first; whether there were more
 */
async function readTab() {
  const all = await chrome.storage.session.get(null);
  /** @type {[string, Frame][]} */
  const ofTab = entriesOf(all, 'frame/').filter(([key]) => key.startsWith(`${now.tabId}/`));
  const frames = ofTab.map(([, frame]) => frame);
  const pages = new Set(['menu', ...frames.map(({ page }) => page)]);
  /** @type {[string, Record][]} */
  const records = entriesOf(all, 'record/');
  const isCut = all[cutKey(now.tabId)] === true;
  return { records: records.filter(([, { job }]) => job.tabId === now.tabId && pages.has(job.page)).reverse(), frames, isCut };
}

/** @param {string} words */
function tell(words) {
  note.textContent = words;
  note.hidden = words === '';
}

/**
 * @param {string} key
 * @param {Record} record
 */
function row(key, record) {
  const { report, thumb, url, autoScan } = record;
  const { level, label } = badgeWords(/** @type {any} */ (report), threshold(autoScan, now.settings.threshold));
  const item = make('li');
  const button = makeButton('', () => void ask({ type: OPEN, key }));
  button.className = 'face-row';
  button.dataset.level = level;
  /** @type {HTMLImageElement} */
  const picture = /** @type {any} */ (make('img'));
  picture.alt = '';
  picture.width = picture.height = 40;
  if (thumb) picture.src = thumb;
  else picture.classList.add('none');
  const words = make('span', '', 'face-words');
  const pFake = report?.p_fake ?? null;
  words.append(
    make('strong', pFake === null ? label : say('popupFace', { label, score: view.score(pFake) })),
    make('span', sourceName(url), 'quiet'),
  );
  button.append(picture, words);
  item.append(button);
  return item;
}

/** @param {{why: string, count: number, words: string}} reason */
function whyRow({ why, count, words }) {
  const item = make('li');
  item.dataset.why = why;
  item.append(make('strong', String(count), 'tabular'), make('span', words));
  return item;
}

/** @param {string} url */
function sourceName(url) {
  if (!URL.canParse(url) || url.startsWith('page:')) return say('panelFromPage');
  const { host, pathname } = new URL(url);
  return `${host} ${pathname.split('/').at(-1)}`;
}

async function draw() {
  now.settings = settingsFrom((await chrome.storage.local.get(SETTINGS))[SETTINGS]);
  const { records, frames, isCut } = await readTab();
  const done = records.filter(([, { report }]) => report);
  const isFlagged = (/** @type {Record} */ { report, autoScan }) =>
    report !== null && badgeWords(report, threshold(autoScan, now.settings.threshold)).level === 'flag';
  const flagged = done.filter(([, record]) => isFlagged(record));
  const quiet = done.filter(([, record]) => !isFlagged(record) && record.report?.band !== 'not_assessed');
  const blocked = records.filter(([, { state }]) => state === 'blocked');
  const told = frames.flatMap(({ tally }) => (tally ? [tally] : []));
  const waiting = told.reduce((sum, tally) => sum + tally.waiting, 0);
  const checked = isCut ? say('popupMoreThan', { count: done.length }) : done.length;
  const counts = { checked, flagged: flagged.length, waiting };
  const nothing = told.length ? 'popupNothing' : 'popupIdle';
  find('#counts').textContent = say(waiting ? 'popupCountsWaiting' : records.length ? 'popupCounts' : nothing, counts);
  find('#faces').replaceChildren(...flagged.slice(0, MAX_LISTED).map(([key, record]) => row(key, record)));
  find('#quiet-part').hidden = quiet.length === 0;
  find('#quiet-count').textContent = say('popupQuiet', { count: quiet.length });
  find('#quiet-faces').replaceChildren(...quiet.slice(0, MAX_LISTED).map(([key, record]) => row(key, record)));

  const unseen = notChecked(records.map(([, record]) => record), frames);
  find('#unseen-part').hidden = unseen.length === 0;
  find('#unseen-count').textContent = say('popupUnseen', { count: unseen.reduce((sum, { count }) => sum + count, 0) });
  find('#unseen').replaceChildren(...unseen.map(whyRow));

  now.blocked = [...new Set(blocked.map(([, { url }]) => sitePattern(url)))];
  find('#blocked').hidden = blocked.length === 0;
  const hosts = now.blocked.map(siteName).join(', ');
  find('#blocked-text').textContent = say(blocked.length === 1 ? 'popupBlockedOne' : 'popupBlocked', { count: blocked.length, hosts });

  now.framed = [...new Set(framesNotSeen(frames).sites.map(sitePattern))];
  find('#framed').hidden = now.framed.length === 0;
  find('#framed-text').textContent = say('popupFramed', { hosts: now.framed.map(siteName).join(', ') });

  find('#auto-row').hidden = now.site === '';
  find('#auto-text').textContent = say('popupAuto', { site: siteName(now.site) });
  auto.checked = now.settings.sites.includes(now.site);
  const wanted = [now.site, ...now.blocked].filter(Boolean);
  find('#auto-why').hidden = auto.checked || now.site === '';
  find('#auto-why').textContent = say('popupAutoWhy', { hosts: wanted.map(siteName).join(', ') });
}

async function drawEngine() {
  const line = find('#engine');
  try {
    const { engine } = await ask({ type: STATUS });
    const id = String(engine.model).slice(0, 12);
    if (engine.error) line.textContent = say('popupEngineFailed', { message: view.errorInWords(engine.error) });
    else if (!engine.loaded) line.textContent = say('popupEngineIdle', { id });
    else {
      const { using, note: why } = view.backendInWords(engine.loaded);
      line.textContent = say('popupEngine', { using, name: engine.loaded.model.name, id });
      line.title = why;
    }
  } catch (error) {
    line.textContent = say('popupEngineFailed', { message: /** @type {Error} */ (error).message });
  }
}

find('#check').addEventListener('click', async () => {
  tell('');
  try {
    await ask({ type: CHECK_PAGE, tabId: now.tabId });
    await draw();
  } catch {
    tell(say('popupNoPage'));
  }
});

/**
 * Does what was asked for; what goes wrong is told. Called without anything awaited before, so that a permission may be asked for.
 * @param {() => Promise<void>} action
 */
async function act(action) {
  tell('');
  try {
    await action();
  } catch (error) {
    tell(say('popupFailed', { message: /** @type {Error} */ (error).message }));
  }
  await draw();
}

auto.addEventListener('change', () =>
  act(async () => {
    if (!auto.checked) return void (await ask({ type: SET_SITE, site: now.site, on: false }));
    // Not awaited: the question must be asked while the click still counts. Should the popup close over it, the
    // background finds here what was wanted.
    void chrome.storage.session.set({ intent: { site: now.site, at: Date.now() } });
    const given = await chrome.permissions.request({ origins: [now.site, ...now.blocked] });
    if (given) await ask({ type: SET_SITE, site: now.site, on: true });
    else tell(say('popupDenied'));
    await chrome.storage.session.remove('intent');
  }),
);

find('#allow').addEventListener('click', () =>
  act(async () => {
    const given = await chrome.permissions.request({ origins: now.blocked });
    if (given) await ask({ type: RETRY });
    else tell(say('popupDenied'));
  }),
);

find('#allow-frames').addEventListener('click', () =>
  act(async () => {
    const given = await chrome.permissions.request({ origins: now.framed });
    if (given) await ask({ type: CHECK_PAGE, tabId: now.tabId });
    else tell(say('popupDenied'));
  }),
);

find('#options').addEventListener('click', () => void chrome.runtime.openOptionsPage());

/** @type {any} */
let timer = null;
chrome.storage.session.onChanged.addListener(() => {
  timer ??= setTimeout(async () => {
    await draw();
    await drawEngine();
    timer = null;
  }, REDRAW_MS);
});

fillOwnTexts(document);
await findTab();
await draw();
await drawEngine();
