// @ts-check
// The way to the engine: jobs are written down before they are handed over, so that neither a stopped background nor an engine
// that went away loses one; and the verdicts that are kept for good.

import { coded } from '../../shared/messages.js';
import { DROP, ENQUEUE } from '../lib/messages.js';
import { BoundedStore } from '../lib/store.js';
import { readSettings } from './settings.js';

/** @typedef {import('../lib/messages.js').Job} Job */
/** @typedef {import('../lib/messages.js').Kept} Kept */
/** @typedef {import('../lib/messages.js').Outcome} Outcome */
/**
 * Where the engine lives.
 * @typedef {object} Engine
 * @property {string} url of its document; empty where it lives in this one
 * @property {() => Promise<boolean>} ensure true where it was started just now
 * @property {(message: object) => Promise<any>} send
 */

/** The browser grants 10 MB of storage.local and of storage.session each. */
const LIMITS = {
  verdicts: { maxEntries: 2000, maxBytes: 4_000_000 },
  jobs: { maxEntries: 512, maxBytes: 2_000_000 },
};

export class EngineLink {
  #engine;
  /** Whether the engine has heard of this life of the background. */
  #isKnown = false;
  /** @type {BoundedStore<Kept>} */
  verdicts = new BoundedStore(chrome.storage.local, 'verdict/', LIMITS.verdicts);
  /** @type {BoundedStore<Job>} */
  #jobs = new BoundedStore(chrome.storage.session, 'job/', LIMITS.jobs);

  /** @param {Engine} engine */
  constructor(engine) {
    this.#engine = engine;
  }

  /**
   * @param {object} message
   * @returns {Promise<any>}
   */
  async ask(message) {
    if ((await this.#engine.ensure()) || !this.#isKnown) {
      // A new engine knows nothing; and the last life of the background may have been stopped after it had written a job down,
      // or before it had taken an end: whatever is under way is given to the engine again, which does nothing twice.
      this.#isKnown = true;
      const underWay = (await this.#jobs.entries()).map(([, job]) => job);
      if (underWay.length) {
        await this.#engine.send({ type: ENQUEUE, jobs: underWay, preference: (await readSettings()).preference });
      }
    }
    const answer = await this.#engine.send(message);
    if (!answer?.ok) throw coded(answer?.error?.code ?? 'internal', answer?.error?.message ?? 'the engine gave no answer');
    return answer.value;
  }

  /**
   * Before anything else is done about it: were this worker stopped then, the engine would still get it.
   * @param {Job} job
   */
  async writeDown(job) {
    await this.#jobs.put(job.id, job);
  }

  /**
   * @param {Job[]} wanted
   * @returns {Promise<string[]>} ids of those that were accepted
   */
  async enqueue(wanted) {
    if (wanted.length === 0) return [];
    const { preference } = await readSettings();
    for (const job of wanted) await this.writeDown(job);
    /** @type {{accepted: string[]}} */
    const { accepted } = await this.ask({ type: ENQUEUE, jobs: wanted, preference });
    for (const { id } of wanted) if (!accepted.includes(id)) await this.#jobs.remove(id);
    return accepted;
  }

  /**
   * Keeps what is worth it of a job that is done.
   * @param {Job} job
   * @param {Outcome} outcome
   */
  async keepVerdict(job, outcome) {
    if (outcome.kind !== 'verdict' || outcome.cached || !job.keep) return;
    const { report, failure, autoScan } = outcome;
    await this.verdicts.put(`${report.model.id}/${report.file.sha256}`, { report, failure, autoScan });
  }

  /** @param {Job} job told to its page; until then it counts as under way */
  async settle(job) {
    await this.#jobs.remove(job.id);
  }

  /** @param {number} tabId of a tab that was closed */
  async drop(tabId) {
    const before = await this.#jobs.size();
    await this.#jobs.removeWhere((key) => key.startsWith(`${tabId}/`));
    if (before.entries) await this.#engine.send({ type: DROP, tabId }).catch(() => {});
  }
}
