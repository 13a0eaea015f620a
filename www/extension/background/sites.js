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

  /** Content scripts of switched-on sites, as the browser has them against as they should be. */
  async register() {
    const wanted = await permittedOf((await readSettings()).sites);
    await chrome.scripting.unregisterContentScripts().catch(() => {});
    if (wanted.length === 0) return;
    await chrome.scripting.registerContentScripts(
      wanted.map((site) => ({
        id: `auto ${site}`,
        matches: [site],
        js: [CONTENT_SCRIPT],
        runAt: 'document_idle',
        allFrames: true,
        matchOriginAsFallback: true, // frames that the page writes itself are of its site
      })),
    );
  }

  /**
   * @param {string} site a match pattern
   * @param {boolean} on
   */
  async set(site, on) {
    const { permissions, tabs } = chrome;
    if (on && !(await permissions.contains({ origins: [site] }))) throw coded('refused', `expected permission for ${site}`);
    const others = (await readSettings()).sites.filter((kept) => kept !== site);
    await keepSites(on ? [...others, site] : others);
    await this.register();
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
    await this.register();
  }
}

/**
 * @param {string[]} sites
 * @returns {Promise<string[]>}
 */
async function permittedOf(sites) {
  const permitted = await Promise.all(sites.map((site) => chrome.permissions.contains({ origins: [site] })));
  return sites.filter((_, index) => permitted[index]);
}
