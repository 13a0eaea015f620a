// @ts-check
// The options: threshold, badges, device, sites and hosts with their permissions, kept verdicts, keys.

import { fillTexts } from '../page/dom.js';
import * as view from '../shared/view.js';
import { ask, fillOwnTexts, find, make, makeButton } from './lib/dom.js';
import { CLEAR_CACHE, SET_SITE, STATUS } from './lib/names.js';
import { siteName } from './lib/policy.js';
import { SETTINGS, settingsFrom } from './lib/settings.js';
import { say } from './lib/strings.js';

/** @typedef {import('./lib/settings.js').Settings} Settings */

/** @type {HTMLInputElement} */
const slider = find('#threshold');
/** @type {HTMLInputElement} */
const badges = find('#badges');
/** @type {HTMLSelectElement} */
const preference = find('#preference');

/** @returns {Promise<Settings>} */
const read = async () => settingsFrom((await chrome.storage.local.get(SETTINGS))[SETTINGS]);

/** @param {Partial<Settings>} changes */
async function change(changes) {
  await chrome.storage.local.set({ [SETTINGS]: { ...(await read()), ...changes } });
}

/** The slider's choice; 0 for the model's own threshold, at its lower end. The browser rounds both to its steps. */
function chosen() {
  const value = Number(slider.value);
  return value - Number(slider.min) < Number(slider.step) / 2 ? 0 : value;
}

function showThreshold() {
  find('#threshold-value').textContent = chosen() ? chosen().toFixed(3) : say('optionsThresholdOwn');
}

/**
 * @param {HTMLElement} list
 * @param {string[]} patterns
 * @param {string} none
 * @param {(pattern: string) => Promise<unknown>} revoke
 */
function fillSites(list, patterns, none, revoke) {
  if (patterns.length === 0) return list.replaceChildren(make('li', none, 'quiet'));
  list.replaceChildren(
    ...patterns.map((pattern) => {
      const item = make('li', '', 'row');
      const button = makeButton(say('optionsRevoke'), () => void revoke(pattern).then(draw));
      button.className = 'plain';
      button.setAttribute('aria-label', say('optionsRevokeSite', { site: siteName(pattern) }));
      item.append(make('span', siteName(pattern)), button);
      return item;
    }),
  );
}

async function draw() {
  const { engine, cache } = await ask({ type: STATUS });
  const settings = await read();
  slider.min = String(engine.autoScan);
  slider.value = String(Math.max(engine.autoScan, settings.threshold));
  find('#threshold-why').textContent = say('optionsThresholdWhy', { limit: engine.autoScan.toFixed(3) });
  showThreshold();
  badges.checked = settings.badges;
  preference.value = settings.preference;
  const id = String(engine.model).slice(0, 12);
  find('#engine').textContent = engine.loaded
    ? say('popupEngine', { using: view.backendInWords(engine.loaded).using, name: engine.loaded.model.name, id })
    : say('popupEngineIdle', { id });
  fillSites(find('#sites'), settings.sites, say('optionsSitesNone'), (site) => ask({ type: SET_SITE, site, on: false }));
  const { origins = [] } = await chrome.permissions.getAll();
  const hosts = origins.filter((origin) => !settings.sites.includes(origin));
  fillSites(find('#hosts'), hosts, say('optionsHostsNone'), (host) => chrome.permissions.remove({ origins: [host] }));
  find('#cache').textContent = say('optionsCacheSize', { count: cache.entries, size: view.bytes(cache.bytes) });
  const keys = await chrome.commands.getAll();
  find('#keys').replaceChildren(
    ...keys.flatMap(({ name, description, shortcut }) => [
      make('dt', name === '_execute_action' ? say('optionsKeyOpen') : description),
      make('dd', shortcut || say('optionsKeyNone'), 'mono'),
    ]),
  );
}

slider.addEventListener('input', showThreshold);
slider.addEventListener('change', () => void change({ threshold: chosen() }));
badges.addEventListener('change', () => void change({ badges: badges.checked }));
preference.addEventListener('change', () => {
  void change({ preference: /** @type {Settings['preference']} */ (preference.value) });
});
find('#clear').addEventListener('click', () => void ask({ type: CLEAR_CACHE }).then(draw));
find('#keys-change').addEventListener('click', () => {
  const firefox = /** @type {{openShortcutSettings?: () => void}} */ (/** @type {unknown} */ (chrome.commands));
  if (firefox.openShortcutSettings) firefox.openShortcutSettings();
  else void chrome.tabs.create({ url: 'chrome://extensions/shortcuts' });
});

fillTexts(document);
fillOwnTexts(document);
document.title = say('optionsTitle');
await draw();
