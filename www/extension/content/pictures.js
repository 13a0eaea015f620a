// @ts-check
// Pictures in the DOM: which elements show one, from where, and what is known of it. Reads the page, changes nothing.

import { backgroundSource } from './candidates.js';

/** Elements that may carry a shadow root, besides custom ones. */
const SHADOW_HOSTS = /^(article|aside|blockquote|body|div|footer|h[1-6]|header|main|nav|p|section|span)$|-/;

/** Elements that show a picture as their background where they hold nothing else. */
const BACKGROUND_HOSTS = /^(a|div|span|i|b|button|figure|li|section)$|-/;

/** How many elements around a picture are asked for words. */
const WORDS_DEPTH = 3;

/**
 * @param {Element} element
 * @returns {ShadowRoot | null} closed ones too, which the browser opens for extensions
 */
export function shadowRootOf(element) {
  if (!SHADOW_HOSTS.test(element.localName)) return null;
  if (chrome.dom?.openOrClosedShadowRoot) return chrome.dom.openOrClosedShadowRoot(/** @type {HTMLElement} */ (element));
  return /** @type {any} */ (element).openOrClosedShadowRoot ?? element.shadowRoot;
}

/**
 * Where the picture comes from that an element shows now; empty where it shows none (yet).
 * @param {Element} element
 * @returns {string}
 */
export function sourceOf(element) {
  if (element instanceof HTMLImageElement) {
    return element.complete && element.naturalWidth > 0 ? element.currentSrc || element.src : '';
  }
  if (element instanceof SVGImageElement) {
    return element.href.baseVal && new URL(element.href.baseVal, document.baseURI).href;
  }
  if (!BACKGROUND_HOSTS.test(element.localName) || element.firstElementChild || element.textContent?.trim()) return '';
  const source = backgroundSource(getComputedStyle(element).backgroundImage);
  return source && new URL(source, document.baseURI).href;
}

/**
 * @param {Element} element
 * @returns {import('./candidates.js').Facts}
 */
export function factsOf(element) {
  const { width, height } = element.getBoundingClientRect();
  const isImage = element instanceof HTMLImageElement;
  return {
    shownWidth: width,
    shownHeight: height,
    fileWidth: isImage ? element.naturalWidth : 0,
    fileHeight: isImage ? element.naturalHeight : 0,
    words: wordsOf(element),
    round: isRound(element, width),
  };
}

/** @param {Element} element */
function wordsOf(element) {
  const words = [];
  const source = sourceOf(element);
  if (/^https?:/.test(source)) words.push(new URL(source).pathname.slice(-120));
  /** @type {Element | null} */
  let around = element;
  for (let depth = 0; around && depth < WORDS_DEPTH; depth += 1, around = around.parentElement) {
    for (const name of ['class', 'id', 'alt', 'aria-label', 'data-testid']) words.push(around.getAttribute(name) ?? '');
  }
  return words.join(' ').slice(0, 1000);
}

/**
 * Whether the picture, or what cuts it, has the shape of a circle.
 * @param {Element} element
 * @param {number} width
 */
function isRound(element, width) {
  for (const shape of [element, element.parentElement]) {
    if (!shape) continue;
    const radius = getComputedStyle(shape).borderTopLeftRadius;
    const size = Number.parseFloat(radius);
    if (radius.endsWith('%') ? size >= 40 : size >= width * 0.4 && size > 0) return true;
  }
  return false;
}

/**
 * Every element below a node, shadow trees included; `onShadow` is told each shadow root.
 * @param {Node} root
 * @param {(shadow: ShadowRoot) => void} onShadow
 * @param {Element} skip ours
 * @returns {Generator<Element>}
 */
export function* elementsBelow(root, onShadow, skip) {
  /** @type {Node[]} */
  const waiting = [root];
  for (let node; (node = waiting.pop()); ) {
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_ELEMENT);
    for (let next = node instanceof Element ? node : walker.nextNode(); next; next = walker.nextNode()) {
      const element = /** @type {Element} */ (next);
      if (element === skip) continue;
      yield element;
      const shadow = shadowRootOf(element);
      if (!shadow) continue;
      onShadow(shadow);
      waiting.push(shadow);
    }
  }
}
