// @ts-check
// The engine's queue: bounded, what the user asked for first, and hosts that fail left in peace for a while.

/** @typedef {{id: string, host: string, asked: boolean}} Queued */

/** First pause after a failure of a host, doubled with each further one. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;

/** @template {Queued} Job */
export class JobQueue {
  #max;
  /** @type {Map<string, Job>} */
  #jobs = new Map();
  /** @type {Map<string, {until: number, pause: number}>} */
  #paused = new Map();

  /** @param {number} max */
  constructor(max) {
    this.#max = max;
  }

  get size() {
    return this.#jobs.size;
  }

  /**
   * Takes a job in; the same job twice is one.
   * @param {Job} job
   * @returns {boolean} false where the queue is full
   */
  add(job) {
    if (this.#jobs.has(job.id)) return true;
    if (this.#jobs.size >= this.#max) return false;
    this.#jobs.set(job.id, job);
    return true;
  }

  /**
   * The next job whose host is not paused, taken out; null where there is none.
   * @param {number} now
   * @returns {Job | null}
   */
  take(now) {
    /** @type {Job | null} */
    let next = null;
    for (const job of this.#jobs.values()) {
      if (this.#pausedUntil(job.host) > now) continue;
      if (job.asked) {
        next = job;
        break;
      }
      next ??= job;
    }
    if (next) this.#jobs.delete(next.id);
    return next;
  }

  /**
   * How long until a job may be taken: 0 for at once, null where the queue is empty.
   * @param {number} now
   * @returns {number | null}
   */
  waitMs(now) {
    if (this.#jobs.size === 0) return null;
    const first = Math.min(...Array.from(this.#jobs.values(), ({ host }) => this.#pausedUntil(host)));
    return Math.max(0, first - now);
  }

  /**
   * @param {string} host which did not answer, or asked for patience
   * @param {number} now
   */
  failed(host, now) {
    const last = this.#paused.get(host);
    const pause = last ? Math.min(last.pause * 2, LONGEST_PAUSE_MS) : FIRST_PAUSE_MS;
    this.#paused.set(host, { until: now + pause, pause });
  }

  /** @param {string} host */
  succeeded(host) {
    this.#paused.delete(host);
  }

  /** @param {(job: Job) => boolean} isGone */
  drop(isGone) {
    for (const job of this.#jobs.values()) if (isGone(job)) this.#jobs.delete(job.id);
  }

  /** @param {string} host */
  #pausedUntil(host) {
    return this.#paused.get(host)?.until ?? 0;
  }
}

/**
 * A map that forgets what was not touched for longest.
 * @template Value
 */
export class Recent {
  #max;
  /** @type {Map<string, Value>} */
  #values = new Map();

  /** @param {number} max */
  constructor(max) {
    this.#max = max;
  }

  /** @param {string} key */
  get(key) {
    const value = this.#values.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }

  /**
   * @param {string} key
   * @param {Value} value
   */
  set(key, value) {
    this.#values.delete(key);
    this.#values.set(key, value);
    for (const oldest of this.#values.keys()) {
      if (this.#values.size <= this.#max) break;
      this.#values.delete(oldest);
    }
  }
}
