// @ts-check
// The photos of this visit: checked one at a time in the order given, so that the page stays free; a failed one never
// blocks the next, and the rest can be stopped. Shown as the card of the chosen photo and, from two on, a grid that can be
// sorted.

import { text } from '../shared/strings.js';
import { score } from '../shared/view.js';
import { jobState, jobVerdict, makeCard } from './card.js';
import { find, make, makeButton } from './dom.js';

/** @typedef {import('../shared/messages.js').Assessment} Assessment */
/** @typedef {import('../shared/messages.js').AssessOptions} AssessOptions */
/** @typedef {Error & {code?: string}} CodedError */
/**
 * @typedef {{file: File, photoUrl: string, state: 'waiting' | 'working' | 'done' | 'failed',
 *   assessment: Assessment | null, error: CodedError | null, checkedAt: string | null, looking?: Promise<void> | null}} Job
 *   `looking`: while pictures of it are made for the eye
 */
/** @typedef {'added' | 'score' | 'verdict' | 'name'} Order */
/**
 * @typedef {object} Options
 * @property {(file: File, options: AssessOptions) => Promise<Assessment>} assess
 * @property {(job: Job, form: 'json' | 'html') => void} onKeep
 */

/** Pictures of what the network looks at are kept for so many photos, those shown last: a face has .4 MB of them. */
const SHOWN = 8;

/** From what a reader should see first to last. */
const VERDICTS = ['likely_fake', 'inconclusive', 'no_signs_found', 'not_assessed', 'failed', 'working', 'waiting'];

export class Queue {
  #options;
  /** @type {Job[]} */
  #jobs = [];
  /** @type {Job | null} */
  #chosen = null;
  /** @type {Job[]} those with evidence, the one shown last behind the others */
  #shown = [];
  #running = false;
  #stopped = false;
  /** @type {Map<Job, HTMLElement>} */
  #tiles = new Map();
  /** @type {HTMLSelectElement} */
  #sort = find('#sort');

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#sort.addEventListener('change', () => this.#showGrid());
    find('#stop').addEventListener('click', () => this.#stopOrGoOn());
    find('#clear').addEventListener('click', () => this.clear());
  }

  /** Every photo of this visit. */
  get jobs() {
    return this.#jobs;
  }

  /** @param {Iterable<File>} files */
  add(files) {
    const first = this.#jobs.length;
    for (const file of files) {
      const photoUrl = URL.createObjectURL(file);
      this.#jobs.push({ file, photoUrl, state: 'waiting', assessment: null, error: null, checkedAt: null });
    }
    // A single photo is what somebody wants to see now; of many, the first, until another is chosen.
    if (!this.#chosen || this.#jobs.length === first + 1) this.#chosen = this.#jobs[first] ?? this.#chosen;
    this.#stopped = false;
    this.show();
    void this.#run();
  }

  clear() {
    for (const { photoUrl } of this.#jobs) URL.revokeObjectURL(photoUrl);
    this.#jobs = [];
    this.#chosen = null;
    this.#shown = [];
    this.#tiles.clear();
    this.show();
    find('#files').focus();
  }

  /** Shows everything anew, for example in another language. */
  show() {
    this.#tiles.clear();
    this.#showProgress();
    this.#showCard();
    this.#showGrid();
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    for (let job; !this.#stopped && (job = this.#jobs.find(({ state }) => state === 'waiting')); ) {
      job.state = 'working';
      this.#changed(job);
      try {
        const assessment = await this.#options.assess(job.file, { stabilityFrom: 0, evidence: job === this.#chosen });
        Object.assign(job, { state: 'done', assessment, checkedAt: new Date().toISOString() });
      } catch (error) {
        const failed = /** @type {CodedError} */ (error);
        // Another backend was chosen: the photo is checked on that one.
        if (failed.code === 'cancelled') job.state = 'waiting';
        else Object.assign(job, { state: 'failed', error: failed });
      }
      if (this.#jobs.includes(job)) this.#changed(job);
      if (job.state !== 'waiting') this.#announce(job);
    }
    this.#running = false;
  }

  #stopOrGoOn() {
    this.#stopped = !this.#stopped;
    this.#showProgress();
    void this.#run();
  }

  /** @param {Job} job */
  #changed(job) {
    this.#showProgress();
    if (job === this.#chosen) this.#showCard();
    const tile = this.#tiles.get(job);
    if (tile) this.#fillTile(tile, job);
    this.#showGrid();
  }

  /** @param {Job} job */
  #announce(job) {
    if (!this.#jobs.includes(job)) return;
    find('#announcer').textContent = text('announce', { name: job.file.name, verdict: jobVerdict(job).title });
  }

  #showProgress() {
    const total = this.#jobs.length;
    const done = this.#jobs.filter(({ state }) => state === 'done' || state === 'failed').length;
    const pending = done < total;
    document.body.classList.toggle('busy', total > 0);
    find('#results').hidden = total === 0;
    const words = this.#stopped && pending ? 'queueStopped' : pending ? 'queueProgress' : total === 1 ? 'queueDoneOne' : 'queueDone';
    find('#queue').textContent = text(words, { done, total });
    /** @type {HTMLProgressElement} */
    const bar = find('#queue-progress');
    bar.hidden = total < 2 || !pending;
    bar.max = Math.max(total, 1);
    bar.value = done;
    const stop = find('#stop');
    stop.hidden = total < 2 || !pending;
    stop.textContent = text(this.#stopped ? 'goOn' : 'stop');
    find('#keep-all').hidden = total < 2 || done === 0;
    find('.sorting').hidden = total < 2;
  }

  #showCard() {
    if (this.#chosen) void this.lookCloser(this.#chosen);
    const card = this.#chosen && makeCard(this.#chosen, { onKeep: this.#options.onKeep });
    find('#cards').replaceChildren(...(card ? [card] : []));
  }

  /**
   * Makes the pictures for the eye of a photo that was checked without them; those of photos shown long ago go.
   * @param {Job} job
   */
  async lookCloser(job) {
    const { assessment } = job;
    if (job.state !== 'done' || !assessment) return;
    this.#shown = [...this.#shown.filter((shown) => shown !== job), job];
    for (const old of this.#shown.splice(0, this.#shown.length - SHOWN)) {
      if (old.assessment) old.assessment.evidence = old.assessment.evidence.map(() => null);
    }
    const isJudged = assessment.report.faces.some(({ p_fake }) => p_fake !== null);
    if (job.looking) return job.looking;
    if (!isJudged || assessment.evidence.some(Boolean)) return;
    job.looking = this.#options.assess(job.file, { evidence: true }).then(
      ({ evidence }) => void (assessment.evidence = evidence),
      () => {}, // the report stands; the file may be gone
    );
    await job.looking;
    job.looking = null;
    if (job === this.#chosen && assessment.evidence.some(Boolean)) this.#showCard();
  }

  #showGrid() {
    const grid = find('#grid');
    grid.hidden = this.#jobs.length < 2;
    if (grid.hidden) return grid.replaceChildren();
    const focused = document.activeElement;
    const tiles = sorted(this.#jobs, /** @type {Order} */ (this.#sort.value)).map((job) => {
      const tile = this.#tiles.get(job) ?? this.#makeTile(job);
      this.#tiles.set(job, tile);
      find('button', tile).setAttribute('aria-pressed', String(job === this.#chosen));
      return tile;
    });
    // Only what stands elsewhere is moved: to lay out thousands of tiles anew takes longer than to judge a photo.
    let next = grid.firstElementChild;
    for (const tile of tiles) {
      if (tile === next) next = next.nextElementSibling;
      else grid.insertBefore(tile, next);
    }
    while (next) {
      const after = next.nextElementSibling;
      next.remove();
      next = after;
    }
    if (focused instanceof HTMLElement && grid.contains(focused)) focused.focus({ preventScroll: true });
  }

  /** @param {Job} job */
  #makeTile(job) {
    const tile = make('li', '', 'tile');
    const button = makeButton('', () => {
      this.#chosen = job;
      this.#showCard();
      this.#showGrid();
    });
    const picture = Object.assign(document.createElement('img'), { alt: '', loading: 'lazy', decoding: 'async' });
    picture.addEventListener('error', () => picture.classList.add('broken'));
    picture.src = job.photoUrl;
    button.append(picture, make('span', '', 'words'));
    tile.append(button);
    this.#fillTile(tile, job);
    return tile;
  }

  /**
   * @param {HTMLElement} tile
   * @param {Job} job
   */
  #fillTile(tile, job) {
    tile.dataset.band = jobState(job);
    const pFake = job.assessment?.report.p_fake ?? null;
    const lines = [make('span', job.file.name, 'name'), make('span', jobVerdict(job).title, 'title')];
    if (pFake !== null) lines.push(make('span', score(pFake), 'tabular'));
    find('.words', tile).replaceChildren(...lines);
  }
}

/**
 * @param {readonly Job[]} jobs
 * @param {Order} order
 * @returns {Job[]}
 */
export function sorted(jobs, order) {
  const found = (/** @type {Job} */ job) => job.assessment?.report.p_fake ?? -1;
  const rank = (/** @type {Job} */ job) => VERDICTS.indexOf(jobState(job));
  /** @type {Record<Order, (a: Job, b: Job) => number>} */
  const orders = {
    added: () => 0,
    score: (a, b) => found(b) - found(a),
    verdict: (a, b) => rank(a) - rank(b) || found(b) - found(a),
    name: (a, b) => a.file.name.localeCompare(b.file.name, undefined, { numeric: true }),
  };
  return [...jobs].sort(orders[order]);
}
