// @ts-check
// Runs the detector for the extension: holds the queue, fetches pictures, asks for kept verdicts, and drives the worker
// that page and extension share. Lives in the offscreen document (Chromium) or the event page (Firefox). It keeps
// nothing on disk and knows no tab: every job says for whom it is.

import { EngineClient } from '../shared/client.js';
import { coded, failure } from '../shared/messages.js';
import { sha256 } from '../shared/model.js';
import { leadingFace } from '../shared/view.js';
import { fetchPicture } from './lib/fetch.js';
import { holdTogether, readManifest } from './lib/manifest.js';
import {
  BACKGROUND,
  DONE,
  DROP,
  ENQUEUE,
  EVIDENCE,
  FETCH_PAGE,
  LOOKUP,
  PAGE_PICTURE,
  PREFER,
  STATUS,
  STILL_ALLOWED,
  overAll,
  pack,
  unpack,
} from './lib/messages.js';
import { JobQueue, Recent } from './lib/queue.js';

/** @typedef {import('../shared/messages.js').Assessment} Assessment */
/** @typedef {import('../shared/messages.js').Preference} Preference */
/** @typedef {import('./lib/messages.js').Form} Form */
/** @typedef {import('./lib/messages.js').Job} Job */
/** @typedef {import('./lib/messages.js').Kept} Kept */
/** @typedef {import('./lib/messages.js').Outcome} Outcome */

/** More jobs than this are refused; the content scripts offer them again. */
const MAX_QUEUE = 256;
/** Pictures fetched at once: one is computed while the next ones arrive. */
const LANES = 3;
/** How often a picture is tried that could not be fetched. */
const MAX_TRIES = 3;
/** With nothing to do for so long, the model's memory is given back. */
const IDLE_MS = 5 * 60_000;
/** An address is taken to show the same picture for so long. */
const SAME_PICTURE_MS = 10 * 60_000;
/** Evidence for so many pictures is kept: a panel may be opened again. */
const SHOWN = 4;
const THUMBNAIL_PX = 72;

export class EngineHost {
  #send;
  #onIdle;
  #activeTabFetch;
  /** @type {import('./lib/fetch.js').FetchMode} */
  #fetchMode;
  #client;
  #root;
  /** @type {JobQueue<Job>} */
  #queue = new JobQueue(MAX_QUEUE);
  /** @type {Map<string, number>} */
  #tries = new Map();
  /** @type {Set<string>} */
  #working = new Set();
  /** @type {Set<string>} jobs under way whose end is being told: asked for again now, they are done again */
  #telling = new Set();
  /** @type {Preference} */
  #preference = 'auto';
  /** @type {import('../shared/messages.js').Loaded | null} */
  #loaded = null;
  /** @type {{code: string, message: string} | null} */
  #error = null;
  /** @type {ReturnType<typeof readManifest> | null} */
  #manifest = null;
  /** @type {Recent<{sha: string, at: number}>} */
  #shaOf = new Recent(2000);
  /** @type {Recent<string>} */
  #thumbs = new Recent(500);
  /** @type {Recent<Assessment>} those with pictures for the panel, by content */
  #shown = new Recent(SHOWN);
  /** @type {Map<string, Promise<Kept>>} */
  #judging = new Map();
  /** @type {any} */
  #idleTimer = null;
  /** @type {any} */
  #wakeTimer = null;

  /**
   * @param {object} options
   * @param {(message: object) => Promise<any>} options.send to the background; resolves to its answer
   * @param {() => Worker} options.createWorker
   * @param {URL} options.root of the extension
   * @param {boolean} options.activeTabFetch whether a press of the toolbar button lets all of the extension fetch from the
   *   site; where it does not, such a fetch would fail, and tell the site the extension's address
   * @param {import('./lib/fetch.js').FetchMode} options.fetchMode
   * @param {() => void} [options.onIdle]
   */
  constructor({ send, createWorker, root, activeTabFetch, fetchMode, onIdle = () => {} }) {
    this.#send = send;
    this.#activeTabFetch = activeTabFetch;
    this.#fetchMode = fetchMode;
    this.#root = root;
    this.#onIdle = onIdle;
    this.#client = new EngineClient({
      createWorker,
      onLoaded: (loaded) => {
        this.#loaded = loaded;
        this.#error = null;
      },
    });
    this.#rest();
  }

  /**
   * Answers a message of the background.
   * @param {any} message
   * @returns {Promise<any>}
   */
  async handle(message) {
    switch (message.type) {
      case ENQUEUE:
        this.#prefer(message.preference);
        return this.#enqueue(message.jobs);
      case PREFER:
        return this.#prefer(message.preference);
      case DROP:
        return this.#queue.drop((job) => job.tabId === message.tabId);
      case STATUS:
        return this.#state();
      case EVIDENCE:
        return this.#evidence(message.job);
      default:
        throw coded('internal', `unknown message ${message.type}`);
    }
  }

  async #state() {
    const { id, thresholds } = await this.#readManifest();
    return { loaded: this.#loaded, autoScan: thresholds.auto_scan, model: id, queued: this.#queue.size + this.#working.size, error: this.#error };
  }

  /** @param {Preference} preference */
  #prefer(preference) {
    if (preference === this.#preference) return;
    this.#preference = preference;
    if (this.#loaded) {
      this.#loaded = null;
      this.#ensureLoaded().catch((error) => this.#note(error));
    }
  }

  /** @param {unknown} error */
  #note(error) {
    const { code, message } = failure(error);
    if (code !== 'cancelled') this.#error = { code, message };
  }

  /** @param {Job[]} jobs */
  #enqueue(jobs) {
    const isUnderWay = (/** @type {string} */ id) => this.#working.has(id) && !this.#telling.has(id);
    const accepted = jobs.filter((job) => isUnderWay(job.id) || this.#queue.add(job)).map(({ id }) => id);
    this.#pump();
    return { accepted };
  }

  #pump() {
    clearTimeout(this.#wakeTimer);
    while (this.#working.size < LANES) {
      const job = this.#queue.take(Date.now());
      if (!job) break;
      this.#working.add(job.id);
      void this.#work(job).finally(() => {
        this.#working.delete(job.id);
        this.#pump();
      });
    }
    const wait = this.#queue.waitMs(Date.now());
    if (this.#working.size < LANES && wait) this.#wakeTimer = setTimeout(() => this.#pump(), wait);
    this.#rest();
  }

  #rest() {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      if (this.#working.size || this.#queue.size) return;
      this.#client.close();
      this.#loaded = null;
      this.#onIdle();
    }, IDLE_MS);
  }

  /** @param {Job} job */
  async #work(job) {
    /** @type {Outcome} */
    let outcome;
    try {
      outcome = await this.#judge(job);
      this.#queue.succeeded(job.host);
    } catch (error) {
      const { code } = failure(error);
      if (code === 'cancelled') return void this.#queue.add(job); // another backend was chosen: once more on that one
      if ((code === 'unreachable' || code === 'busy') && this.#again(job, true)) return;
      // The worker was lost with it; a new one is tried once, for the fault may have been another picture's.
      if (isWorkerLost(code) && !this.#tries.has(job.id) && this.#again(job, false)) return;
      outcome = outcomeOf(error);
      if (outcome.kind === 'failed') this.#note(error);
    }
    this.#tries.delete(job.id);
    // A background that misses it asks for the job again.
    this.#telling.add(job.id);
    await this.#tell({ to: BACKGROUND, type: DONE, job, outcome }).catch(() => {});
    this.#telling.delete(job.id);
  }

  /**
   * Sends twice where need be, as the background may just be stopping.
   * @param {object} message
   */
  #tell(message) {
    return this.#send(message).catch(() => this.#send(message));
  }

  /**
   * Puts a job back.
   * @param {Job} job
   * @param {boolean} pause whether its host is left in peace for a while
   */
  #again(job, pause) {
    const tries = (this.#tries.get(job.id) ?? 0) + 1;
    if (pause) this.#queue.failed(job.host, Date.now());
    if (tries >= MAX_TRIES) return false;
    this.#tries.set(job.id, tries);
    return this.#queue.add(job);
  }

  /**
   * The shown form of a picture, or, where that cannot be read, the first other one that can.
   * @param {Job} job
   * @returns {Promise<Outcome>}
   */
  async #judge(job) {
    const shown = await this.#judgeForm(job, job);
    if (shown.kind !== 'verdict' || shown.report.reason !== 'unreadable') return shown;
    for (const form of job.others) {
      // One that cannot be had leaves what is known of the shown one.
      const other = await this.#judgeForm(job, form).catch(() => null);
      if (other?.kind === 'verdict' && other.report.reason !== 'unreadable') return { ...other, form: form.url };
    }
    return shown;
  }

  /**
   * @param {Job} job
   * @param {Form} form
   * @returns {Promise<Outcome>}
   */
  async #judgeForm(job, form) {
    const { id, thresholds } = await this.#readManifest();
    const seen = this.#shaOf.get(form.url);
    if (seen && Date.now() - seen.at < SAME_PICTURE_MS && !PAGE_PICTURE.test(form.url)) {
      const kept = await this.#lookup(id, seen.sha);
      if (kept) return verdictOf(kept, this.#thumbs.get(seen.sha) ?? '', true);
    }
    const bytes = await this.#bytes(job, form);
    const sha = await sha256(bytes);
    this.#shaOf.set(form.url, { sha, at: Date.now() });
    const kept = await this.#lookup(id, sha);
    const result = kept ?? (await this.#judgeBytes(sha, bytes, thresholds.auto_scan));
    const thumb = this.#thumbs.get(sha) ?? (await thumbnail(bytes, result.report));
    this.#thumbs.set(sha, thumb);
    return verdictOf(result, thumb, kept !== null);
  }

  /**
   * @param {string} model
   * @param {string} sha
   * @returns {Promise<Kept | null>}
   */
  async #lookup(model, sha) {
    const answer = await this.#send({ to: BACKGROUND, type: LOOKUP, key: `${model}/${sha}` }).catch(() => null);
    return answer?.value ?? null;
  }

  /**
   * One check a content, however many ask for it at once.
   * @param {string} sha
   * @param {Uint8Array<ArrayBuffer>} bytes
   * @param {number} autoScan what is to be flagged must hold under gentle changes; few pictures come that far
   * @returns {Promise<Kept>}
   */
  #judgeBytes(sha, bytes, autoScan) {
    const running = this.#judging.get(sha);
    if (running) return running;
    const judging = this.#assess(sha, bytes, { stabilityFrom: autoScan, evidence: false })
      .then(({ report, failure }) => ({ report: nameless(report), failure, autoScan }))
      .finally(() => this.#judging.delete(sha));
    this.#judging.set(sha, judging);
    return judging;
  }

  /**
   * @param {string} sha
   * @param {Uint8Array<ArrayBuffer>} bytes
   * @param {import('../shared/messages.js').AssessOptions} options
   */
  async #assess(sha, bytes, options) {
    await this.#ensureLoaded();
    const file = { name: sha, arrayBuffer: async () => bytes.slice().buffer };
    return this.#client.assess(file, options);
  }

  async #ensureLoaded() {
    // The client remembers what it fell back to; it is told the user's choice only when it holds nothing.
    const loaded = this.#loaded ?? (await this.#client.load(this.#preference));
    holdTogether(await this.#readManifest(), loaded);
    return loaded;
  }

  /**
   * The closer look, for the panel.
   * @param {Job} job
   * @returns {Promise<import('./lib/messages.js').Found>}
   */
  async #evidence(job) {
    let found = await this.#lookCloser(job, job);
    for (const form of job.others) {
      if (found.assessment.report.reason !== 'unreadable') break;
      found = await this.#lookCloser(job, form).catch(() => found);
    }
    const { bytes, assessment } = found;
    const { thresholds } = await this.#ensureLoaded();
    return {
      report: nameless(assessment.report),
      failure: assessment.failure,
      evidence: assessment.evidence.map((one) => one && overAll(one, packed)),
      photo: pack(bytes),
      thresholds,
    };
  }

  /**
   * @param {Job} job
   * @param {Form} form
   */
  async #lookCloser(job, form) {
    const bytes = await this.#bytes(job, form);
    const sha = await sha256(bytes);
    const assessment = this.#shown.get(sha) ?? (await this.#assess(sha, bytes, { stabilityFrom: 0, evidence: true }));
    this.#shown.set(sha, assessment);
    return { bytes, assessment };
  }

  /**
   * @param {Job} job
   * @param {Form} form of its picture
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async #bytes(job, { url, inPage, permitted }) {
    const wanted = { ...job, url, inPage, permitted };
    if (!PAGE_PICTURE.test(url) && (permitted || this.#activeTabFetch) && (await this.#stillAllowed(wanted))) {
      try {
        return await fetchPicture(url, this.#fetchMode);
      } catch (error) {
        // Without a lasting permission for the site, the page's own pictures can still be read in the page.
        if (!inPage || failure(error).code !== 'unreachable') throw error;
      }
    }
    if (!inPage) throw coded('withdrawn', 'the permission for this host was withdrawn');
    const answer = await this.#send({ to: BACKGROUND, type: FETCH_PAGE, job: wanted });
    if (!answer?.ok) throw coded('unreachable', answer?.error?.message ?? 'the page gave no picture');
    try {
      return unpack(answer.value);
    } catch {
      throw Object.assign(coded('refused', 'expected a picture, found an address that holds none'), { why: 'type' });
    }
  }

  /** @param {Job} job */
  async #stillAllowed(job) {
    const answer = await this.#tell({ to: BACKGROUND, type: STILL_ALLOWED, job }).catch(() => null);
    if (!answer?.ok) throw coded('unreachable', 'the background did not say whether this host may be read'); // asked again later
    return answer.value === true;
  }

  #readManifest() {
    if (!this.#manifest) {
      const reading = readManifest(new URL('model/grnet.json', this.#root));
      this.#manifest = reading;
      reading.catch(() => (this.#manifest = null)); // the next job tries again
    }
    return this.#manifest;
  }
}

/**
 * Whether an error is one after which the worker is replaced, whatever the picture.
 * @param {string} code
 */
function isWorkerLost(code) {
  return ['internal', 'timeout', 'gpu_lost', 'no_memory'].includes(code);
}

/**
 * How a job ended that has no verdict.
 * @param {unknown} error
 * @returns {Outcome}
 */
function outcomeOf(error) {
  const { code, message } = failure(error);
  if (code === 'unreachable' || code === 'withdrawn') return { kind: code, message };
  if (code === 'busy') return { kind: 'refused', why: 'status', message };
  if (code !== 'refused') return { kind: 'failed', code, message };
  return { kind: 'refused', why: /** @type {{why?: string}} */ (error).why ?? 'failed', message };
}

/**
 * A report without the name that the engine gave its file.
 * @param {import('../shared/messages.js').Report} report
 */
function nameless(report) {
  return { ...report, file: { ...report.file, name: '' } };
}

/**
 * @param {Kept} kept
 * @param {string} thumb
 * @param {boolean} cached
 * @returns {Outcome}
 */
function verdictOf({ report, failure, autoScan }, thumb, cached) {
  return { kind: 'verdict', report, failure, autoScan, thumb, cached, form: '' };
}

/**
 * @param {import('../shared/messages.js').Picture} picture
 * @returns {import('./lib/messages.js').PackedPicture}
 */
function packed({ height, width, rgba }) {
  return { height, width, rgba: pack(rgba) };
}

/**
 * The leading face, small, as a data: address for the popup's list; empty where there is none. For the eye only: the
 * verdict never passes through a canvas.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {import('../shared/messages.js').Report} report
 */
async function thumbnail(bytes, report) {
  const face = report.faces[leadingFace(report)];
  if (!face) return '';
  const { x, y, width, height } = face.box;
  const side = Math.max(width, height) * 1.3;
  try {
    const left = Math.round(x + (width - side) / 2);
    const top = Math.round(y + (height - side) / 2);
    const bitmap = await createImageBitmap(new Blob([bytes]), left, top, Math.round(side), Math.round(side), {
      resizeWidth: THUMBNAIL_PX,
      resizeHeight: THUMBNAIL_PX,
      resizeQuality: 'medium',
    });
    const canvas = new OffscreenCanvas(THUMBNAIL_PX, THUMBNAIL_PX);
    canvas.getContext('2d')?.drawImage(bitmap, 0, 0);
    bitmap.close();
    const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.8 });
    return `data:image/jpeg;base64,${pack(new Uint8Array(await blob.arrayBuffer()))}`;
  } catch {
    return ''; // the browser may not know a format that Rust reads
  }
}
