// @ts-check
// The pictures of a page by name, and how far each is: to be offered, offered, answered. Knows no element and sends nothing.

/** @typedef {import('./badges.js').Words} Words */
/**
 * `waiting`: to be offered. `sent`: with the background. `known`: answered. `until`: when a sent picture is offered again, or
 * a refused one may be.
 * @typedef {{url: string, others: string[], likely: boolean, state: 'waiting' | 'sent' | 'known', asked: boolean,
 *   words: Words | null, tries: number, until: number}} Picture
 */

/** An offered picture whose answer is this late is offered again: the engine may have been stopped with it. */
export const PATIENCE_MS = 120_000;
const MAX_TRIES = 3;

export class Pictures {
  /** @type {Map<string, Picture>} */
  #byUrl = new Map();

  /** @param {string} url */
  get(url) {
    return this.#byUrl.get(url);
  }

  /**
   * The picture of this name, taken in if it is new.
   * @param {string} url
   * @param {{others?: string[], likely?: boolean}} [facts]
   * @returns {Picture}
   */
  add(url, { others = [], likely = true } = {}) {
    const known = this.#byUrl.get(url);
    if (known) {
      known.likely ||= likely; // shown somewhere as what is worth a check
      return known;
    }
    /** @type {Picture} */
    const picture = { url, others, likely, state: 'waiting', asked: false, words: null, tries: 0, until: 0 };
    this.#byUrl.set(url, picture);
    return picture;
  }

  /** @param {(url: string) => boolean} isShown; what waits for an answer stays */
  keepOnly(isShown) {
    for (const [url, { state }] of this.#byUrl) if (!isShown(url) && state !== 'sent') this.#byUrl.delete(url);
  }

  /** Those about which the user asked. */
  asked() {
    return [...this.#byUrl.values()].filter(({ asked, state }) => asked && state === 'waiting');
  }

  /**
   * Those with the background. Who was there for too long waits again, or is given up.
   * @param {number} now
   * @param {(url: string) => void} giveUp
   * @returns {number} how many there still are
   */
  underWay(now, giveUp) {
    let count = 0;
    for (const picture of this.#byUrl.values()) {
      if (picture.state !== 'sent') continue;
      if (picture.until > now) count += 1;
      else if (picture.tries < MAX_TRIES) picture.state = 'waiting';
      else giveUp(picture.url);
    }
    return count;
  }

  /**
   * @param {Picture[]} offered
   * @param {number} now
   */
  send(offered, now) {
    for (const picture of offered) {
      picture.state = 'sent';
      picture.tries += 1;
      picture.until = now + PATIENCE_MS;
    }
  }

  /**
   * Lets a picture wait before it is offered again, longer each time.
   * @param {string} url
   * @param {number} now
   */
  delay(url, now) {
    const picture = this.#byUrl.get(url);
    if (picture) Object.assign(picture, { state: 'waiting', until: now + 500 * 2 ** picture.tries });
  }

  /**
   * @param {string} url
   * @param {Words | null} words
   */
  answer(url, words) {
    const picture = this.#byUrl.get(url);
    if (picture) Object.assign(picture, { state: 'known', words });
    return picture !== undefined;
  }

  /**
   * How many are still to be answered.
   * @param {boolean} all whether all of the page are wanted, or only those asked about
   */
  countWaiting(all) {
    let count = 0;
    for (const { state, asked } of this.#byUrl.values()) if (state === 'sent' || (state === 'waiting' && (all || asked))) count += 1;
    return count;
  }
}
