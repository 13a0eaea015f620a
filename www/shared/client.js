// @ts-check
// The page's side of the engine worker: promises with ids, time limits, and a new worker where the old one is beyond
// use (a trap in wasm, no answer in time, a lost GPU). It shows nothing; main.js does.

import { ASSESS, ENGINE, KEEP, LOAD, NETWORK, PROGRESS, READY, REPORT_SCHEMA, coded } from './messages.js';

/** @typedef {import('./messages.js').Assessment} Assessment */
/** @typedef {import('./messages.js').Loaded} Loaded */
/** @typedef {import('./messages.js').Preference} Preference */
/** @typedef {import('./messages.js').Progress} Progress */
/** @typedef {{type: string} & Record<string, unknown>} Body */
/** @typedef {{name: string, arrayBuffer(): Promise<ArrayBuffer>}} FileLike */
/** @typedef {{resolve: (value: any) => void, reject: (error: Error) => void, timer: any}} Waiting */
/**
 * @typedef {object} Options
 * @property {() => Worker} createWorker
 * @property {(progress: Progress) => void} [onProgress]
 * @property {(urls: string[]) => void} [onNetwork] every request the worker has made
 * @property {(loaded: Loaded) => void} [onLoaded] after each load, the automatic ones too
 */

/** A photo takes seconds even on a software GPU; past this the worker is taken for hung. */
const ASSESS_TIMEOUT_MS = 180_000;
/** A clock that rings so much too late was asleep, with its tab or its machine. */
const ASLEEP_MS = 10_000;

/** `Promise.withResolvers`, which Chrome has since 119 only. */
function withResolvers() {
  let resolve = () => {};
  /** @type {(error: Error) => void} */
  let reject = () => {};
  /** @type {Promise<void>} */
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
}

export class EngineClient {
  #options;
  #nextId = 1;
  /** @type {Worker | null} */
  #worker = null;
  /** @type {{promise: Promise<void>, reject: (error: Error) => void} | null} */
  #ready = null;
  /** @type {Promise<Loaded> | null} */
  #loaded = null;
  /** @type {Preference} */
  #preference = 'auto';
  /** @type {import('./messages.js').Note | null} */
  #note = null;
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
  }

  /**
   * Loads model and wasm for `preference`; a second call with another preference starts over in a new worker.
   * @param {Preference} preference
   * @returns {Promise<Loaded>}
   */
  load(preference) {
    if (this.#loaded && preference === this.#preference) return this.#loaded;
    this.close();
    this.#preference = preference;
    this.#note = null;
    return this.#ensureLoaded();
  }

  /**
   * @param {FileLike} file
   * @param {import('./messages.js').AssessOptions} [options]
   * @returns {Promise<Assessment>}
   */
  async assess(file, options = {}) {
    try {
      return await this.#assessOnce(file, options);
    } catch (error) {
      if (!(error instanceof Error) || !('code' in error) || error.code !== 'gpu_lost') throw error;
    }
    // The bytes went with the first try, so the file is read again, for the CPU; a second failure is final.
    this.close();
    this.#preference = 'cpu';
    this.#note = 'gpu_lost';
    return this.#assessOnce(file, options);
  }

  /** Ends the worker; whatever is pending fails with `cancelled`. */
  close() {
    this.#replace(coded('cancelled', 'stopped'));
  }

  /**
   * A report as a self-contained page to print or keep.
   * @param {import('./messages.js').Report} report
   * @param {(import('./messages.js').Evidence | null)[]} evidence
   * @param {string | null} failure
   * @returns {Promise<string>} HTML
   */
  async keep(report, evidence, failure) {
    await this.#ensureLoaded();
    const pictures = report.faces.map((_, index) => {
      const shown = evidence[index];
      if (!shown) return new Uint8Array();
      const bytes = new Uint8Array(shown.photo.rgba.length + shown.residual.rgba.length);
      bytes.set(shown.photo.rgba);
      bytes.set(shown.residual.rgba, shown.photo.rgba.length);
      return bytes;
    });
    return this.#request({ type: KEEP, report: JSON.stringify(report), pictures, failure });
  }

  /**
   * @param {FileLike} file
   * @param {import('./messages.js').AssessOptions} options
   */
  async #assessOnce(file, options) {
    const bytes = await file.arrayBuffer().catch((error) => {
      throw coded('io', error.message);
    });
    await this.#ensureLoaded();
    /** @type {Assessment} */
    const assessment = await this.#request(
      { type: ASSESS, name: file.name, bytes, ...options },
      ASSESS_TIMEOUT_MS,
      [bytes],
    );
    if (assessment.report.schema !== REPORT_SCHEMA) {
      throw coded('internal', `expected schema ${REPORT_SCHEMA}, found ${assessment.report.schema}`);
    }
    return assessment;
  }

  #ensureLoaded() {
    if (!this.#loaded) {
      const loading = this.#load();
      this.#loaded = loading;
      // A failed load is forgotten, so that the next try starts afresh.
      loading.catch(() => loading === this.#loaded && (this.#loaded = null));
    }
    return this.#loaded;
  }

  /** @returns {Promise<Loaded>} */
  async #load() {
    const note = this.#note;
    const value = await this.#request({ type: LOAD, preference: this.#preference });
    const loaded = { ...value, note: value.note ?? note };
    this.#options.onLoaded?.(loaded);
    return loaded;
  }

  #startWorker() {
    const worker = this.#options.createWorker();
    this.#worker = worker;
    const { promise, resolve, reject } = withResolvers();
    this.#ready = { promise, reject };
    promise.catch(() => {}); // told to whoever awaits it; not a second time as an unhandled rejection
    worker.addEventListener('message', ({ data }) => {
      if (worker !== this.#worker) return;
      if (data.type === READY) resolve();
      else this.#receive(data);
    });
    // An uncaught error; one without words is a worker file that does not load.
    worker.addEventListener('error', ({ message }) => {
      const error = message ? coded('internal', message) : coded('io', 'the worker could not start');
      if (worker === this.#worker) this.#replace(error);
    });
    return this.#ready;
  }

  /**
   * @param {Body} body
   * @param {number} [timeoutMs]
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  async #request(body, timeoutMs, transfer = []) {
    await (this.#ready ?? this.#startWorker()).promise;
    const worker = this.#worker;
    if (!worker) throw coded('cancelled', 'stopped');
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      /** @type {Waiting} */
      const waiting = { resolve, reject, timer: null };
      this.#waiting.set(id, waiting);
      if (timeoutMs) this.#limit(waiting, timeoutMs);
      worker.postMessage({ id, to: ENGINE, ...body }, transfer);
    });
  }

  /**
   * Gives the worker up that does not answer in time. What was asleep wakes with its time over, and so does the worker: it gets it
   * once more.
   * @param {Waiting} waiting
   * @param {number} timeoutMs
   */
  #limit(waiting, timeoutMs) {
    const due = performance.now() + timeoutMs;
    waiting.timer = setTimeout(() => {
      if (performance.now() > due + ASLEEP_MS) this.#limit(waiting, timeoutMs);
      else this.#replace(coded('timeout', `no answer in ${timeoutMs / 1000} s`));
    }, timeoutMs);
  }

  /** @param {any} data a reply or an event of the worker */
  #receive(data) {
    if (data.type === PROGRESS) return this.#options.onProgress?.(data.progress);
    if (data.type === NETWORK) return this.#options.onNetwork?.(data.urls);
    const waiting = this.#waiting.get(data.id);
    if (!waiting) return;
    this.#waiting.delete(data.id);
    clearTimeout(waiting.timer);
    if (data.ok) return waiting.resolve(data.value);
    const error = coded(data.error.code, data.error.message);
    waiting.reject(error);
    // What waited beside it is at no fault, and may be asked for once more.
    if (data.error.fatal) this.#replace(coded('cancelled', 'the worker was lost with another photo'));
  }

  /** @param {Error & {code: string}} error what pending requests are told */
  #replace(error) {
    this.#worker?.terminate();
    this.#worker = null;
    this.#ready?.reject(error);
    this.#ready = null;
    this.#loaded = null;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }
}
