// @ts-check
// The pictures and documents of open tabs, in storage.session: what popup and panel show. A document has one life, from its
// hello to the hello of its successor; what belongs to an earlier one goes.

import { cutKey, recordKey } from '../lib/messages.js';
import { BoundedStore } from '../lib/store.js';
import { levelOf } from '../lib/verdict.js';

/** @typedef {import('../lib/messages.js').Frame} Frame */
/** @typedef {import('../lib/messages.js').Record} Record */
/** @typedef {import('../lib/messages.js').Tally} Tally */
/** @typedef {{tabId: number, frameId: number, page: string}} Place */

/** The browser grants 10 MB of storage.session; the jobs (link.js) have their part of it. */
const LIMITS = {
  records: { maxEntries: 1000, maxBytes: 5_000_000 },
  frames: { maxEntries: 500, maxBytes: 1_000_000 },
};

/**
 * What was flagged stays in the list longest: of a page with thousands of pictures it is what was looked for.
 * @param {Record} record
 */
const isDear = ({ report, autoScan }) => report !== null && levelOf(report, autoScan) === 'flag';

/** @param {Place} place */
const frameKey = ({ tabId, frameId }) => `${tabId}/${frameId}`;

/**
 * Whether a key, of a record or a frame, is of this tab.
 * @param {number} tabId
 * @returns {(key: string) => boolean}
 */
const ofTab = (tabId) => (key) => key.startsWith(`${tabId}/`);

export class Tabs {
  /** @type {BoundedStore<Record>} */
  #records = new BoundedStore(chrome.storage.session, 'record/', LIMITS.records, Date.now, isDear, (keys) => this.#tellCut(keys));
  /** @type {BoundedStore<Frame>} */
  #frames = new BoundedStore(chrome.storage.session, 'frame/', LIMITS.frames);

  /** Tabs marked as cut in this life of the worker: once a list is full, every picture pushes one out. @type {Set<number>} */
  #cut = new Set();

  /**
   * Pictures had to make room for newer ones: what the popup counts of their tabs is not all.
   * @param {string[]} keys
   */
  async #tellCut(keys) {
    const tabs = keys.map((key) => Number(key.split('/')[0])).filter((tabId) => !this.#cut.has(tabId));
    if (tabs.length === 0) return;
    try {
      await chrome.storage.session.set(Object.fromEntries(tabs.map((tabId) => [cutKey(tabId), true])));
      for (const tabId of tabs) this.#cut.add(tabId);
    } catch {
      // A full area: the count is too low, as it is without the mark.
    }
  }

  /** @param {number} tabId whose list begins anew */
  async #forgetCut(tabId) {
    this.#cut.delete(tabId);
    await chrome.storage.session.remove([cutKey(tabId)]);
  }

  /** @param {string} key */
  record(key) {
    return this.#records.get(key);
  }

  /** @param {Record} record */
  keep(record) {
    return this.#records.put(recordKey(record.job), record);
  }

  /** @returns {Promise<Record[]>} of all tabs, oldest first */
  async records() {
    return (await this.#records.entries()).map(([, record]) => record);
  }

  /**
   * Those of a tab above the model's own threshold, below which none is flagged; the others, up to a thousand, are not read.
   * @param {number} tabId
   * @returns {Promise<Record[]>}
   */
  async flagged(tabId) {
    const isHere = ofTab(tabId);
    const found = await this.#records.entries((key, { dear }) => dear && isHere(key));
    return found.map(([, record]) => record);
  }

  /**
   * A document begins.
   * @param {Place & {site: string, since: number}} document `since`: when the browser went to it
   */
  async begin({ site, since, ...place }) {
    const { tabId, frameId, page } = place;
    // A new page in the tab: its frames may have said hello before it, and they came later than it began.
    const isHere = ofTab(tabId);
    const ofFrame = (/** @type {string} */ key) => key.startsWith(`${tabId}/${frameId}/`) && !key.startsWith(`${tabId}/${frameId}/${page}/`);
    await this.#records.removeWhere((key, at) => ofFrame(key) || (frameId === 0 && isHere(key) && at < since));
    if (frameId === 0) {
      await this.#frames.removeWhere((key, at) => isHere(key) && at < since);
      await this.#forgetCut(tabId);
    }
    await this.#frames.put(frameKey(place), { page, site, tally: null });
  }

  /**
   * @param {Place & {site: string}} document
   * @param {Tally} tally
   */
  async tell({ site, ...place }, tally) {
    await this.#frames.put(frameKey(place), { page: place.page, site, tally });
  }

  /** @param {Place} place of a document that ends */
  async end(place) {
    const known = await this.#frames.get(frameKey(place));
    if (known?.page === place.page) await this.#frames.remove(frameKey(place));
  }

  /**
   * Whether the user asked for all pictures of this tab's page.
   * @param {number} tabId
   */
  async isScanned(tabId) {
    return (await this.#frames.get(`${tabId}/0`))?.tally?.scanning === true;
  }

  /**
   * The documents that a tab shows now.
   * @param {number} tabId
   * @returns {Promise<Set<string>>}
   */
  async pages(tabId) {
    const frames = await this.#frames.entries(ofTab(tabId));
    return new Set(frames.map(([, { page }]) => page));
  }

  /** @param {number} tabId */
  async close(tabId) {
    await this.#records.removeWhere(ofTab(tabId));
    await this.#frames.removeWhere(ofTab(tabId));
    await this.#forgetCut(tabId);
  }
}
