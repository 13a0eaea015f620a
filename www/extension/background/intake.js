// @ts-check
// What pages want checked: sorts their pictures into those that may be fetched and those that may not, hands the former to
// the engine, and takes back how they ended.

import { failure } from '../../shared/messages.js';
import { CONTENT, NOTHING_YET, PAGE_PICTURE, READ, recordKey, recordOf } from '../lib/messages.js';
import { refusal, sitePattern } from '../lib/policy.js';
import { showOn, wordsFor } from './answers.js';
import { mayRead, readSettings } from './settings.js';

/** @typedef {import('../lib/messages.js').Form} Form */
/** @typedef {import('../lib/messages.js').Item} Item */
/** @typedef {import('../lib/messages.js').Job} Job */
/** @typedef {import('../lib/messages.js').Outcome} Outcome */
/** @typedef {import('../lib/messages.js').Record} Record */
/** @typedef {{tabId: number, frameId: number, page: string, keep: boolean}} Where */

export class Intake {
  #link;
  #tabs;
  /** @type {Promise<number> | null} */
  #retrying = null;

  /**
   * @param {import('./link.js').EngineLink} link
   * @param {import('./tabs.js').Tabs} tabs
   */
  constructor(link, tabs) {
    this.#link = link;
    this.#tabs = tabs;
  }

  /**
   * Takes in what may be fetched.
   * @param {Item[]} items
   * @param {Where & {site: string}} where `site`: address of the document's site; empty for none
   * @returns {Promise<{results: object[], busy: string[]}>} `busy`: to be offered again later
   */
  async check(items, { site, ...where }) {
    const chosen = await readSettings();
    const reach = reachFrom(site);
    const results = [];
    /** @type {Job[]} */
    const wanted = [];
    for (const { url, asked, likely, others } of items) {
      const { why, host, form } = await reach(url);
      /** @type {Job} */
      const job = { ...where, ...form, id: recordKey({ ...where, url }), host, asked, others: [] };
      const record = this.#intakeRecord(job, why, likely);
      if (record.state === 'waiting') {
        const forms = await Promise.all(others.map(reach));
        job.others = forms.filter(({ why }) => why === null).map(({ form }) => form);
        wanted.push(job);
      }
      await this.#tabs.keep(record);
      if (record.state !== 'waiting') results.push({ url, words: wordsFor(record, chosen) });
    }
    const accepted = await this.#link.enqueue(wanted);
    return { results, busy: wanted.filter(({ id }) => !accepted.includes(id)).map(({ url }) => url) };
  }

  /**
   * @param {Job} job
   * @param {string | null} why it is out of reach
   * @param {boolean} likely
   * @returns {Record}
   */
  #intakeRecord(job, why, likely) {
    if (why && why !== 'blocked') return recordOf(job, { kind: 'refused', why, message: why });
    // For what is called an ornament nobody is asked for a permission.
    if (why && !likely && !job.asked) return recordOf(job, { kind: 'refused', why: 'elsewhere', message: 'elsewhere' });
    return { ...NOTHING_YET, state: why ? 'blocked' : 'waiting', url: job.url, job };
  }

  /**
   * Takes back a job from the engine.
   * @param {Job} job
   * @param {Outcome} outcome
   */
  async finish(job, outcome) {
    await this.#link.keepVerdict(job, outcome);
    // The host was withdrawn meanwhile, or is out of reach for the page's own means too (its policy forbids them): ask for it.
    const outOfReach = outcome.kind === 'unreachable' && !PAGE_PICTURE.test(job.url);
    const locked = outcome.kind === 'withdrawn' || (outOfReach && !(await mayRead(job.url)));
    const record = locked ? this.#intakeRecord(job, 'blocked', true) : recordOf(job, outcome);
    await this.#tabs.keep(record);
    // Last but for the showing: stopped before, the job would be handed out again.
    await this.#link.settle(job);
    await showOn(record, this.#tabs);
  }

  /**
   * Pictures that waited for a permission which is there now.
   * @returns {Promise<number>} how many
   */
  retryBlocked() {
    // The browser tells of a permission at the moment when the popup does: once is enough.
    this.#retrying ??= this.#retryNow().finally(() => (this.#retrying = null));
    return this.#retrying;
  }

  async #retryNow() {
    /** @type {Job[]} */
    const wanted = [];
    for (const record of await this.#tabs.records()) {
      if (record.state !== 'blocked' || !(await mayRead(record.url))) continue;
      const job = { ...record.job, permitted: true };
      await this.#link.writeDown(job);
      await this.#tabs.keep(this.#intakeRecord(job, null, true));
      wanted.push(job);
    }
    const accepted = await this.#link.enqueue(wanted);
    // More than the engine holds at a time: those can be asked for again.
    const refused = wanted.filter(({ id }) => !accepted.includes(id));
    for (const job of refused) await this.#tabs.keep(this.#intakeRecord(job, 'blocked', true));
    return accepted.length;
  }

  /**
   * A permission may be withdrawn, and the press of the toolbar button ends when its page is left, maybe while a job waits. A
   * fetch without either would tell the site the extension's address. A tab's address can be seen only where its page may be read.
   * @param {Job} job
   */
  async stillAllowed({ tabId, url, permitted }) {
    if (permitted) return mayRead(url);
    try {
      const tab = await chrome.tabs.get(tabId);
      return Boolean(tab.url) && new URL(/** @type {string} */ (tab.url)).origin === new URL(url).origin;
    } catch {
      return false; // the tab was closed
    }
  }

  /** @param {Job} job */
  async readInPage({ tabId, frameId, page, url }) {
    try {
      return await chrome.tabs.sendMessage(tabId, { to: CONTENT, type: READ, page, url }, { frameId });
    } catch (error) {
      return { ok: false, error: failure(error) };
    }
  }
}

/**
 * How pictures can be had from a document of `site`; each host is looked up once.
 * @param {string} site
 * @returns {(url: string) => Promise<{why: string | null, host: string, form: Form}>} `why`: `blocked` where the user must
 *   allow the host first, another key of reasons.js where it is not to be had at all
 */
function reachFrom(site) {
  /** @type {Map<string, Promise<boolean>>} */
  const permitted = new Map();
  return async (url) => {
    if (PAGE_PICTURE.test(url)) return { why: null, host: '', form: { url, inPage: true, permitted: false } };
    const why = refusal(url);
    if (why) return { why, host: '', form: { url, inPage: false, permitted: false } };
    const pattern = sitePattern(url);
    const known = permitted.get(pattern) ?? mayRead(url);
    permitted.set(pattern, known);
    const { host, origin } = new URL(url);
    const form = { url, inPage: site !== '' && origin === new URL(site).origin, permitted: await known };
    return { why: form.inPage || form.permitted ? null : 'blocked', host, form };
  };
}
