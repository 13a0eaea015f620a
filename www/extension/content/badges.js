// @ts-check
// Badges over pictures, in one closed shadow root that lets every click through: page scripts can neither read them,
// nor find them by asking what lies at a point. A click on one is seen by its place, and only a person's click counts.

import { appendToPage, boxOf, isInPage, makeOwn } from './dom.js';

/** @typedef {{level: string, label: string, title: string}} Words */

/** Room that a label takes on a picture: its letters on average, and what is around it. On smaller ones the mark stands alone. */
const LETTER_PX = 7.2;
const AROUND_PX = 40;
const EDGE_PX = 4;
/** A page that keeps taking the badges away is not fought for ever. */
const MAX_RETURNS = 20;

/** @type {Readonly<Record<string, string>>} */
const MARKS = { flag: '!', weak: '?', unsure: '?', none: '·', unjudged: '–', busy: '…', blocked: '↗', failed: '×' };

/** Styles are set through CSSOM, which a page's Content-Security-Policy does not touch. */
const STYLES = {
  host: 'all:initial;position:fixed;inset:0;z-index:2147483647;pointer-events:none;display:block;contain:strict;color-scheme:light',
  badge:
    'position:absolute;left:0;top:0;box-sizing:border-box;display:flex;align-items:center;gap:5px;max-width:300px;min-height:22px;padding:2px 4px;border-radius:12px;font:600 12px/1.3 system-ui,sans-serif;color:#fff;box-shadow:0 0 0 1.5px #fff,0 1px 5px #0008;will-change:transform',
  mark: 'flex:none;width:14px;text-align:center;font-weight:800;font-size:14px',
  words: 'padding:0 5px 0 0;text-align:left',
};

/**
 * @param {HTMLElement} element
 * @param {string} styles `name:value;…`
 * @param {string} [priority]
 */
function dress(element, styles, priority = '') {
  for (const style of styles.split(';')) {
    const colon = style.indexOf(':');
    element.style.setProperty(style.slice(0, colon), style.slice(colon + 1), priority);
  }
}

/**
 * @typedef {{node: HTMLElement, text: HTMLElement, words: Words, seen: boolean, open: boolean,
 *   at: {left: number, top: number, right: number, bottom: number} | null}} Badge
 */

export class Badges {
  /** The element that carries them all. */
  host = makeOwn('div');
  #root;
  #onOpen;
  /** @type {Map<Element, Badge>} */
  #badges = new Map();
  #seen;
  #returns = 0;
  #scheduled = false;

  /** @param {(element: Element) => void} onOpen a person clicked on the badge of this picture */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    dress(this.host, STYLES.host, 'important');
    this.#root = this.host.attachShadow({ mode: 'closed' });
    this.#attach();
    // Also tells what is scrolled out of sight inside of something else.
    this.#seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const badge = this.#badges.get(target);
        if (badge) badge.seen = isIntersecting;
      }
      this.schedule();
    });
    const passive = { capture: true, passive: true };
    addEventListener('scroll', () => this.schedule(), passive);
    addEventListener('resize', () => this.schedule(), passive);
    addEventListener('pointermove', (event) => this.#hover(event), passive);
    for (const type of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click', 'auxclick']) {
      addEventListener(type, (event) => this.#press(/** @type {MouseEvent} */ (event)), { capture: true });
    }
  }

  /**
   * Shows words on a picture, or nothing for null.
   * @param {Element} element
   * @param {Words | null} words
   */
  set(element, words) {
    const kept = this.#badges.get(element);
    if (!words) {
      kept?.node.remove();
      this.#badges.delete(element);
      this.#seen.unobserve(element);
      return;
    }
    const badge = kept ?? this.#make(element);
    badge.words = words;
    badge.node.style.background = words.level === 'flag' ? '#a33a14' : '#3f4d5c';
    badge.node.setAttribute('aria-label', words.title);
    /** @type {HTMLElement} */ (badge.node.firstChild).textContent = MARKS[words.level] ?? '';
    this.schedule();
  }

  /** Places the badges anew in the next frame. */
  schedule() {
    if (this.#scheduled || this.#badges.size === 0) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#place();
    });
  }

  #attach() {
    appendToPage(this.host);
  }

  /** @param {Element} element */
  #make(element) {
    const node = makeOwn('div');
    dress(node, STYLES.badge);
    node.style.display = 'none'; // until it has its place
    node.setAttribute('role', 'img');
    const mark = makeOwn('span');
    dress(mark, STYLES.mark);
    const text = makeOwn('span');
    dress(text, STYLES.words);
    node.append(mark, text);
    this.#root.append(node);
    /** @type {Badge} */
    const badge = { node, text, words: { level: '', label: '', title: '' }, seen: true, open: false, at: null };
    this.#badges.set(element, badge);
    this.#seen.observe(element);
    return badge;
  }

  #place() {
    if (!this.host.isConnected && this.#returns < MAX_RETURNS) {
      this.#returns += 1;
      this.#attach();
    }
    // All reads before all writes, so that the page is laid out once.
    const boxes = Array.from(this.#badges, ([element, badge]) => ({ element, badge, box: boxOf(element) }));
    for (const { element, badge, box } of boxes) {
      if (!isInPage(element)) {
        this.set(element, null);
        continue;
      }
      const shown = badge.seen && box.width > 0;
      badge.node.style.display = shown ? 'flex' : 'none';
      if (!shown) {
        badge.at = null;
        continue;
      }
      const { title, label } = badge.words;
      const text = badge.open ? title : box.width >= label.length * LETTER_PX + AROUND_PX ? label : '';
      if (badge.text.textContent !== text) badge.text.textContent = text;
      badge.text.style.display = text ? 'inline' : 'none';
      const left = Math.max(EDGE_PX, Math.min(box.left + EDGE_PX, innerWidth - (badge.open ? 304 : 30)));
      const top = box.top + EDGE_PX;
      badge.node.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
      badge.node.style.zIndex = badge.open ? '1' : '0';
    }
    for (const { badge } of boxes) if (badge.node.style.display === 'flex') badge.at = badge.node.getBoundingClientRect();
  }

  /** @param {MouseEvent} event */
  #at({ clientX: x, clientY: y }) {
    for (const [element, { at }] of this.#badges) {
      if (at && x >= at.left && x <= at.right && y >= at.top && y <= at.bottom) return element;
    }
    return null;
  }

  /** @param {MouseEvent} event */
  #hover(event) {
    if (this.#badges.size === 0) return;
    const over = this.#at(event);
    for (const [element, badge] of this.#badges) {
      if (badge.open === (element === over)) continue;
      badge.open = element === over;
      this.schedule();
    }
  }

  /** @param {MouseEvent} event */
  #press(event) {
    if (!event.isTrusted || this.#badges.size === 0) return;
    const element = this.#at(event);
    if (!element) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === 'click') this.#onOpen(element);
  }
}
