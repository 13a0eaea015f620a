// @ts-check
// A bounded part of an extension storage area: entries under one prefix, the oldest ones dropped when there are too many
// or too large ones, those that matter least first. The service worker may be stopped at any time, so the index is rebuilt
// from the area when needed.

/**
 * The part of `chrome.storage.StorageArea` that is used.
 * @typedef {{get(keys: string | string[] | null): Promise<Record<string, any>>, set(items: object): Promise<void>,
 *   remove(keys: string[]): Promise<void>}} Area
 */

/**
 * What is known of an entry without reading it: when it was put in, its size, whether it is dropped last.
 * @typedef {{at: number, bytes: number, dear: boolean}} About
 */

/** @template Value */
export class BoundedStore {
  #area;
  #prefix;
  #limits;
  /** @type {Promise<Map<string, About>> | null} */
  #index = null;
  #now;
  #isDear;
  #onDropped;

  /**
   * @param {Area} area
   * @param {string} prefix
   * @param {{maxEntries: number, maxBytes: number}} limits
   * @param {() => number} [now]
   * @param {(value: Value) => boolean} [isDear] whether an entry is dropped only when no other is left
   * @param {(keys: string[]) => Promise<void>} [onDropped] told of entries that had to make room
   */
  constructor(area, prefix, limits, now = Date.now, isDear = () => false, onDropped = async () => {}) {
    this.#area = area;
    this.#prefix = prefix;
    this.#limits = limits;
    this.#now = now;
    this.#isDear = isDear;
    this.#onDropped = onDropped;
  }

  /**
   * @param {string} key
   * @returns {Promise<Value | undefined>}
   */
  async get(key) {
    const name = this.#prefix + key;
    return (await this.#area.get(name))[name]?.value;
  }

  /**
   * Keeps an entry, in place of the oldest ones where there is no room. What cannot be kept is not: whoever asks for it later
   * gets nothing, and no answer waits for it.
   * @param {string} key
   * @param {Value} value
   * @returns {Promise<boolean>} whether it is kept
   */
  async put(key, value) {
    const name = this.#prefix + key;
    const entry = { at: this.#now(), value };
    const about = this.#about(name, entry);
    const { maxEntries, maxBytes } = this.#limits;
    if (about.bytes > maxBytes) return false;
    const index = await this.#loaded();
    index.delete(name);
    index.set(name, about);
    await this.#shrink(index, name, maxEntries, maxBytes);
    try {
      await this.#area.set({ [name]: entry });
      return true;
    } catch {
      // The area is full, with what others keep in it. Half of this part may be room enough.
    }
    try {
      await this.#shrink(index, name, Math.ceil(index.size / 2), maxBytes);
      await this.#area.set({ [name]: entry });
      return true;
    } catch {
      index.delete(name);
      await this.#area.remove([name]).catch(() => {}); // an older value would be a wrong one
      return false;
    }
  }

  /**
   * @param {Map<string, About>} index
   * @param {string} newest it stays
   * @param {number} maxEntries
   * @param {number} maxBytes
   */
  async #shrink(index, newest, maxEntries, maxBytes) {
    let total = 0;
    for (const { bytes } of index.values()) total += bytes;
    if (index.size <= maxEntries && total <= maxBytes) return;
    const dropped = [];
    const others = [...index].filter(([name]) => name !== newest);
    for (const [oldest, { bytes }] of others.sort(([, a], [, b]) => Number(a.dear) - Number(b.dear))) {
      if (index.size <= maxEntries && total <= maxBytes) break;
      index.delete(oldest);
      total -= bytes;
      dropped.push(oldest);
    }
    if (dropped.length === 0) return;
    await this.#area.remove(dropped);
    await this.#onDropped(dropped.map((name) => name.slice(this.#prefix.length)));
  }

  /** @param {string} key */
  remove(key) {
    return this.removeWhere((found) => found === key);
  }

  /** @param {(key: string, at: number) => boolean} matches `at`: when it was put in */
  async removeWhere(matches) {
    const index = await this.#loaded();
    const gone = [...index].filter(([name, { at }]) => matches(name.slice(this.#prefix.length), at)).map(([name]) => name);
    for (const name of gone) index.delete(name);
    if (gone.length) await this.#area.remove(gone);
  }

  /** @returns {Promise<{entries: number, bytes: number}>} */
  async size() {
    const sizes = [...(await this.#loaded()).values()];
    return { entries: sizes.length, bytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  /**
   * @param {(key: string, about: About) => boolean} [wanted] which entries are read at all
   * @returns {Promise<[string, Value][]>} oldest first
   */
  async entries(wanted = () => true) {
    const known = [...(await this.#loaded())];
    const names = known.filter(([name, about]) => wanted(name.slice(this.#prefix.length), about)).map(([name]) => name);
    return entriesOf(await this.#area.get(names), this.#prefix);
  }

  /**
   * @param {string} name
   * @param {{at: number, value: Value}} entry
   * @returns {About}
   */
  #about(name, entry) {
    return { at: entry.at, bytes: name.length + JSON.stringify(entry).length, dear: this.#isDear(entry.value) };
  }

  #loaded() {
    this.#index ??= this.#load();
    return this.#index;
  }

  async #load() {
    /** @type {Map<string, About>} */
    const index = new Map();
    const found = Object.entries(await this.#area.get(null)).filter(([name]) => name.startsWith(this.#prefix));
    for (const [name, entry] of found.sort(([, a], [, b]) => a.at - b.at)) {
      index.set(name, this.#about(name, entry));
    }
    return index;
  }
}

/**
 * The entries under a prefix in the whole content of an area, oldest first.
 * @param {Record<string, any>} all
 * @param {string} prefix
 * @returns {[string, any][]}
 */
export function entriesOf(all, prefix) {
  return Object.entries(all)
    .filter(([name]) => name.startsWith(prefix))
    .sort(([, a], [, b]) => a.at - b.at)
    .map(([name, entry]) => [name.slice(prefix.length), entry.value]);
}
