// @ts-check
// Follows the elements of a page that show pictures: walks the page in idle time, and looks at an element again when it
// changes. Whatever a page does to one of its elements, the others are still looked at; the one is counted.

import { sourceKind } from './addresses.js';
import { worthOf } from './candidates.js';
import { attributeOf, boxOf, frameDocument, fullAddress, isElement, isHidden, isInPage, tagOf } from './dom.js';
import { elementsBelow, isVideo, lookAt, sourceOf } from './sources.js';

/** @typedef {import('./sources.js').Unseen} Unseen */
/** @typedef {import('./pictures.js').Pictures} Pictures */
/** @typedef {import('./holdings.js').Holdings} Holdings */
/** @typedef {import('./badges.js').Badges} Badges */

/** Pictures are checked this far before they come into view. */
const AHEAD = '300px';
/** More pictures than this are not followed in one page. */
const MAX_FOLLOWED = 5000;
/** The page is looked at for so long at a time, at least. */
const SLICE_MS = 8;
const HIDDEN_SLICE_MS = 100;
/** A canvas that was empty is looked at again after these pauses. */
const CANVAS_PAUSES_MS = [1000, 3000, 9000];
/** Smaller frames show no picture that could be checked. */
const MIN_FRAME_PX = 64;
const MAX_FRAME_SITES = 8;

export class Follower {
  /** @type {Map<Element, string>} followed elements, and the name of the picture that each shows */
  #followed = new Map();
  /** @type {Map<Element, Unseen>} */
  #unseen = new Map();
  /** @type {Set<Element>} */
  #frames = new Set();
  /** @type {Set<Element>} elements in or near the viewport; all of them count in a scan on request */
  #near = new Set();
  /** @type {Set<Node>} subtrees to be walked */
  #toWalk = new Set();
  /** @type {Set<Element>} elements to be looked at anew */
  #toConsider = new Set();
  /** @type {Iterator<Element> | null} */
  #walking = null;
  #idleScheduled = false;
  #removed = false;
  /** @type {WeakSet<Node>} */
  #observed = new WeakSet();
  /** @type {WeakMap<Element, number>} how often an empty canvas was looked at */
  #canvasLooks = new WeakMap();
  #sight;
  #changes;
  #options;

  /**
   * @param {object} options
   * @param {Pictures} options.pictures
   * @param {Holdings} options.holdings
   * @param {Badges} options.badges
   * @param {() => boolean} options.isWanted whether all pictures of the page are to be followed
   * @param {() => void} options.onChange there may be something to offer or to tell
   * @param {() => void} options.onFrame a frame came
   */
  constructor(options) {
    this.#options = options;
    this.#sight = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          if (isIntersecting) this.#near.add(target);
          else this.#near.delete(target);
        }
        options.onChange();
      },
      { rootMargin: AHEAD },
    );
    this.#changes = new MutationObserver((records) => this.#note(records));
  }

  /** Walks the whole page, and whatever is added to it. */
  walk() {
    this.observe(document);
    this.#toWalk.add(document);
    this.#scheduleIdle();
  }

  stop() {
    this.#changes.disconnect();
    this.#sight.disconnect();
  }

  /**
   * Why pictures are not checked, with the number of elements of each kind.
   * @returns {{[why: string]: number}}
   */
  get unseen() {
    /** @type {{[why: string]: number}} */
    const counts = {};
    for (const why of this.#unseen.values()) counts[why] = (counts[why] ?? 0) + 1;
    return counts;
  }

  /**
   * Frames large enough to show a picture, and the sites of those into which this page cannot look.
   * @returns {{count: number, sites: string[]}}
   */
  get frames() {
    let count = 0;
    /** @type {Set<string>} */
    const sites = new Set();
    for (const frame of this.#frames) {
      try {
        const { width, height } = boxOf(frame);
        if (!isInPage(frame) || Math.min(width, height) < MIN_FRAME_PX) continue;
        count += 1;
        const address = attributeOf(frame, 'src').slice(0, 5000);
        const full = address && tagOf(frame) === 'iframe' && !frameDocument(frame) ? fullAddress(address) : null;
        if (full && /^https?:/.test(full) && sites.size < MAX_FRAME_SITES) sites.add(new URL(full).origin);
      } catch {
        // It is counted all the same.
      }
    }
    return { count, sites: [...sites] };
  }

  /** @param {Element} element */
  nameOn(element) {
    return this.#followed.get(element);
  }

  /**
   * Elements whose pictures are to be offered, each with its place.
   * @param {boolean} all or only those near the viewport
   * @returns {{name: string, box: DOMRect}[]}
   */
  placed(all) {
    /** @type {{name: string, box: DOMRect}[]} */
    const found = [];
    for (const element of all ? this.#followed.keys() : this.#near) {
      const name = this.#followed.get(element);
      if (name) found.push({ name, box: boxOf(element) });
    }
    return found;
  }

  /**
   * Shows an answer on every element that shows the picture now.
   * @param {string} name
   * @param {import('./badges.js').Words | null} words
   */
  show(name, words) {
    for (const [element, shown] of this.#followed) {
      if (shown !== name) continue;
      // It may show another picture by now, which the observers have not told yet.
      if (this.#nameNow(element) === name) this.#options.badges.set(element, words);
      else this.#toConsider.add(element);
    }
    if (this.#toConsider.size) this.#scheduleIdle();
  }

  /**
   * The element on which the user asked: the one of the last context menu; where that came before this script, the largest
   * in view that shows the picture, else the largest.
   * @param {string} source as the browser tells it
   * @param {Element | undefined} target
   * @returns {{element: Element, name: string} | null}
   */
  find(source, target) {
    const name = this.#nameOf(source);
    if (!name) return null;
    if (target && isInPage(target) && this.#nameNow(target) === name) return { element: target, name };
    /** @type {{element: Element, rank: number} | null} */
    let best = null;
    for (const element of elementsBelow(document, this.#told, this.#options.badges.host)) {
      if (!/^(img|svg:image|input|embed|object|video)$/.test(tagOf(element)) || this.#nameNow(element) !== name) continue;
      const { width, height, top, bottom } = boxOf(element);
      const inView = bottom > 0 && top < innerHeight;
      const rank = width * height + (inView ? 1e9 : 0);
      if (!best || rank > best.rank) best = { element, rank };
    }
    return best && { element: best.element, name };
  }

  /**
   * @param {Element} element
   * @param {string} name
   * @param {{others?: string[], likely?: boolean}} [facts]
   */
  follow(element, name, facts) {
    const { pictures, badges, onChange } = this.#options;
    if (this.#followed.size >= MAX_FOLLOWED && !this.#followed.has(element)) this.#prune();
    if (this.#followed.size >= MAX_FOLLOWED && !this.#followed.has(element)) return void this.#count(element, 'many');
    this.#followed.set(element, name);
    this.#sight.observe(element);
    const { words } = pictures.add(name, facts);
    if (words) badges.set(element, words);
    onChange();
  }

  /** @param {Node} root a document or shadow root */
  observe(root) {
    if (this.#observed.has(root)) return;
    this.#observed.add(root);
    this.#changes.observe(root, {
      subtree: true,
      childList: true,
      attributes: true,
      attributeFilter: ['src', 'srcset', 'href', 'style', 'class', 'poster', 'data', 'type'],
    });
    // `load` does not bubble, and does not leave a shadow tree; capturing sees it everywhere within.
    EventTarget.prototype.addEventListener.call(
      root,
      'load',
      ({ target }) => {
        if (!isElement(target)) return;
        if (this.#frames.has(target)) this.#options.onFrame();
        if (this.#options.isWanted() || this.#followed.has(target)) {
          this.#toConsider.add(target);
          this.#scheduleIdle();
        }
      },
      { capture: true, passive: true },
    );
  }

  #told = {
    onShadow: (/** @type {ShadowRoot} */ shadow) => this.observe(shadow),
    onTrouble: (/** @type {Element} */ element) => void this.#count(element, 'element'),
  };

  /**
   * The name under which a picture goes; empty where it cannot be checked.
   * @param {string | HTMLCanvasElement} source
   */
  #nameOf(source) {
    if (typeof source !== 'string') return this.#options.holdings.nameOf(source);
    const kind = sourceKind(source);
    return kind === 'fetch' ? source : kind === 'page' ? this.#options.holdings.nameOf(source) : '';
  }

  /**
   * The name of what an element shows now.
   * @param {Element} element
   */
  #nameNow(element) {
    try {
      const found = this.#followed.has(element) ? lookAt(element) : null;
      const source = found && 'source' in found ? found.source : sourceOf(element);
      return source ? this.#nameOf(source) : '';
    } catch {
      return '';
    }
  }

  /**
   * @param {Element} element
   * @param {Unseen} why
   */
  #count(element, why) {
    if (this.#unseen.size < MAX_FOLLOWED || this.#unseen.has(element)) this.#unseen.set(element, why);
    this.#options.onChange();
  }

  /** @param {Element} element looked at anew: its picture may have come, changed or gone */
  #look(element) {
    try {
      this.#consider(element);
    } catch {
      this.#forget(element);
      this.#count(element, 'element');
    }
  }

  /** @param {Element} element */
  #consider(element) {
    if (!isInPage(element)) return this.#forget(element);
    this.#unseen.delete(element);
    const tag = tagOf(element);
    if (/^i?frame$/.test(tag)) this.#noteFrame(element);
    const found = lookAt(element);
    if (isVideo(element)) this.#count(element, 'video');
    else if (found && 'why' in found) this.#count(element, found.why);
    if (!found || 'why' in found) {
      if (tag === 'canvas') this.#lookLater(element);
      return this.#forget(element);
    }
    const name = this.#nameOf(found.source);
    if (this.#followed.get(element) === name && name) return;
    if (this.#followed.has(element)) this.#options.badges.set(element, null);
    this.follow(element, name, { others: found.others, likely: worthOf(found.facts) === 'likely' });
  }

  /** @param {Element} frame */
  #noteFrame(frame) {
    if (this.#frames.has(frame)) return;
    this.#frames.add(frame);
    this.#options.onFrame();
    this.#options.onChange();
  }

  /** @param {Element} canvas that gave no picture yet */
  #lookLater(canvas) {
    const looks = this.#canvasLooks.get(canvas) ?? 0;
    if (looks >= CANVAS_PAUSES_MS.length) return;
    this.#canvasLooks.set(canvas, looks + 1);
    setTimeout(() => {
      this.#toConsider.add(canvas);
      this.#scheduleIdle();
    }, CANVAS_PAUSES_MS[looks]);
  }

  /** @param {Element} element */
  #forget(element) {
    if (!this.#followed.delete(element)) return;
    this.#near.delete(element);
    this.#sight.unobserve(element);
    this.#options.badges.set(element, null);
  }

  #forgetRemoved() {
    for (const element of this.#followed.keys()) if (!isInPage(element)) this.#forget(element);
    for (const element of this.#unseen.keys()) if (!isInPage(element)) this.#unseen.delete(element);
    for (const element of this.#frames) if (!isInPage(element)) this.#frames.delete(element);
  }

  /** Elements that left the page, and pictures that no element shows. */
  #prune() {
    this.#forgetRemoved();
    const { pictures, holdings } = this.#options;
    const shown = new Set(this.#followed.values());
    pictures.keepOnly((name) => shown.has(name));
    holdings.keepOnly((name) => pictures.get(name) !== undefined);
  }

  /** @param {MutationRecord[]} records */
  #note(records) {
    const isWanted = this.#options.isWanted();
    for (const { type, target, addedNodes, removedNodes } of records) {
      if (type === 'attributes') {
        if (isElement(target) && (isWanted || this.#followed.has(target))) this.#toConsider.add(target);
      } else {
        if (isWanted) for (const node of addedNodes) if (isElement(node) && node !== this.#options.badges.host) this.#toWalk.add(node);
        if (removedNodes.length) this.#removed = true;
      }
    }
    this.#scheduleIdle();
  }

  #scheduleIdle() {
    if (this.#idleScheduled) return;
    this.#idleScheduled = true;
    requestIdleCallback((deadline) => this.#whenIdle(deadline), { timeout: 500 });
  }

  /** @param {IdleDeadline} deadline */
  #whenIdle(deadline) {
    this.#idleScheduled = false;
    // In a busy page the browser calls at the time limit with no time left; a slice is then taken all the same. In a tab that
    // nobody looks at it calls seldom, and nobody sees a frame that is late.
    const end = performance.now() + Math.max(deadline.timeRemaining(), isHidden(document) ? HIDDEN_SLICE_MS : SLICE_MS);
    if (this.#removed) {
      this.#removed = false;
      this.#forgetRemoved();
      this.#options.onChange();
    }
    for (const element of this.#toConsider) {
      this.#toConsider.delete(element);
      this.#look(element);
      if (performance.now() > end) return this.#scheduleIdle();
    }
    while (performance.now() < end) if (!this.#step()) return;
    this.#scheduleIdle();
  }

  /**
   * Looks at the next element of the walk.
   * @returns {boolean} false where there is none
   */
  #step() {
    if (!this.#walking) {
      const [root] = this.#toWalk;
      if (!root) return false;
      this.#toWalk.delete(root);
      this.#walking = elementsBelow(root, this.#told, this.#options.badges.host);
    }
    try {
      const { done, value } = this.#walking.next();
      if (done) this.#walking = null;
      else this.#look(value);
    } catch {
      this.#walking = null; // what cannot be walked ends here; other subtrees, and what comes later, do not
    }
    return true;
  }
}
