// @ts-check
// Sites that are checked by themselves: which, and that each has its permission.

import { coded } from '../../shared/messages.js';
import { CONTENT, MODE } from '../lib/messages.js';
import { modeFor } from './answers.js';
import { CONTENT_SCRIPT } from './pages.js';
import { keepSites, readSettings } from './settings.js';

/** How long a permission that was just given may still switch a site on: the popup may have closed over the question. */
const INTENT_MS = 2 * 60_000;

export class Sites {
  #pages;

  /** @param {import('./pages.js').Pages} pages */
  constructor(pages) {
    this.#pages = pages;
  }

  /** Content scripts of the sites that are switched on, anew: those that the browser kept may be of an older version. */
  async register() {
    await chrome.scripting.unregisterContentScripts().catch(() => {});
    await this.#match((await readSettings()).sites);
  }

  /**
   * Brings the browser's content scripts to those of these sites: what is missing first, so that no site is without in between.
   * @param {string[]} sites
   */
  async #match(sites) {
    const { scripting } = chrome;
    const wanted = await permittedOf(sites);
    const there = (await scripting.getRegisteredContentScripts()).map(({ id }) => id);
    const missing = wanted.filter((site) => !there.includes(scriptOf(site)));
    if (missing.length) {
      await scripting.registerContentScripts(
        missing.map((site) => ({
          id: scriptOf(site),
          matches: [site],
          js: [CONTENT_SCRIPT],
          runAt: 'document_idle',
          allFrames: true,
          matchOriginAsFallback: true, // frames that the page writes itself are of its site
        })),
      );
    }
    const needless = there.filter((id) => !wanted.map(scriptOf).includes(id));
    if (needless.length) await scripting.unregisterContentScripts({ ids: needless });
  }

  /** After an update: the scripts in open pages are of the old version, and nobody hears them any more. */
  async begin() {
    await this.register();
    for (const url of await permittedOf((await readSettings()).sites)) {
      const open = await chrome.tabs.query({ url });
      for (const { id } of open) if (id !== undefined) await this.#pages.inject(id).catch(() => {});
    }
  }

  /**
   * @param {string} site a match pattern
   * @param {boolean} on
   */
  async set(site, on) {
    const { permissions, tabs } = chrome;
    if (on && !(await permissions.contains({ origins: [site] }))) throw coded('refused', `expected permission for ${site}`);
    const others = (await readSettings()).sites.filter((kept) => kept !== site);
    // A script more than there are sites does nothing; a site that is said to be on and has none would.
    if (on) await this.#match([...others, site]);
    await keepSites(on ? [...others, site] : others);
    if (!on) await this.#match(others);
    // Asked while the permission that it needs is there; and the permission goes even if a tab never answers.
    const open = await tabs.query({ url: site }).catch(() => []);
    const removed = on ? Promise.resolve(true) : permissions.remove({ origins: [site] });
    // Tabs are told even if that fails, and then whoever asked.
    await removed.catch(() => false);
    for (const tab of open) {
      if (tab.id === undefined) continue;
      if (on) await this.#pages.inject(tab.id).catch(() => {});
      const message = { to: CONTENT, type: MODE, mode: { ...(await modeFor(tab.url ?? '', false)), auto: on } };
      await tabs.sendMessage(tab.id, message).catch(() => {});
    }
    await removed;
  }

  /**
   * The popup closes when the browser asks; what the user wanted is finished here.
   * @param {string[]} origins that were allowed
   */
  async finishIntent(origins) {
    const { intent } = /** @type {{intent?: {site: string, at: number}}} */ (await chrome.storage.session.get('intent'));
    if (!intent || !origins.includes(intent.site) || Date.now() - intent.at >= INTENT_MS) return;
    await chrome.storage.session.remove('intent');
    await this.set(intent.site, true);
  }

  /** Sites whose permission was taken back elsewhere. */
  async forgetWithdrawn() {
    const { sites } = await readSettings();
    const kept = await permittedOf(sites);
    if (kept.length === sites.length) return;
    await keepSites(kept);
    await this.#match(kept);
  }
}

/** @param {string} site */
const scriptOf = (site) => `auto ${site}`;

/**
 * @param {string[]} sites
 * @returns {Promise<string[]>}
 */
async function permittedOf(sites) {
  const permitted = await Promise.all(sites.map((site) => chrome.permissions.contains({ origins: [site] })));
  return sites.filter((_, index) => permitted[index]);
}
