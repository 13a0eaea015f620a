// @ts-check
// Pictures in the DOM: which elements show one, from where, and what is known of it, or why it cannot be checked. Reads the
// page, changes nothing. What it is given a page made, so that anything here may throw; follower.js counts that.

import { readableForms, sourceKind, srcsetAddresses, styleAddresses } from './addresses.js';
import { MIN_SHOWN_PX, worthOf } from './candidates.js';
import { attributeOf, boxOf, fullAddress, image, isElement, makeOwn, parentOf, styleOf, tagOf, videoWidth, walkerOf } from './dom.js';

/** @typedef {import('./candidates.js').Facts} Facts */
/**
 * Why a picture is not checked, as far as the page tells. `element`: it could not be looked at; `address`: it has none that
 * could be one; `drawing`; `scheme`: kept where no extension reads; `canvas`: closed, or empty so far; `video`: moves;
 * `large`; `many`: too many are followed; `small`, `shape`: see candidates.js.
 * @typedef {'element' | 'address' | 'drawing' | 'scheme' | 'canvas' | 'video' | 'large' | 'many' | 'small' | 'shape'} Unseen
 */
/**
 * A picture that an element shows: its full address, or the canvas itself. `others`: addresses of other forms of it.
 * @typedef {{source: string | HTMLCanvasElement, others: string[], facts: Facts}} Shown
 */
/**
 * @typedef {{source: string | HTMLCanvasElement | null, others?: string[], width?: number, height?: number,
 *   fileWidth?: number, fileHeight?: number}} Raw `width`, `height`: as shown, where these are not the element's own;
 *   `source`: null for an address that is none
 */

/** Elements that show nothing of their own: no box, or only text that a person types. */
const NO_PICTURE = /^(base|br|col|datalist|head|link|meta|noscript|optgroup|option|param|script|select|slot|source|style|template|textarea|title|track|wbr)$/;

/** Elements that may carry a shadow root, besides custom ones. */
const SHADOW_HOSTS = /^(article|aside|blockquote|body|div|footer|h[1-6]|header|main|nav|p|section|span)$|-/;

/** Longer addresses are pictures of more bytes than are carried from page to engine. */
export const MAX_SOURCE_CHARS = 24_000_000;

/** How many elements around a picture are asked for words. */
const WORDS_DEPTH = 3;
/** No more of an attribute than this is read. */
const MAX_WORDS = 300;
/** Another form of a picture is only tried where the shown one cannot be read. */
const MAX_OTHERS = 2;

/** A canvas is tried by drawing it this small. */
const TRIAL_PX = 8;

/**
 * What an element shows: a picture, why the picture is not checked, or null where it shows none (yet).
 * @param {Element} element
 * @returns {Shown | {why: Unseen} | null}
 */
export function lookAt(element) {
  const tag = tagOf(element);
  if (NO_PICTURE.test(tag)) return null;
  const box = boxOf(element);
  /** @type {{why: Unseen} | null} */
  let unseen = null;
  for (const raw of rawPictures(element, tag)) {
    const { source, width: shownWidth = box.width, height: shownHeight = box.height } = raw;
    if (!(Math.min(shownWidth, shownHeight) >= MIN_SHOWN_PX)) continue;
    const why = whyNot(source);
    if (why) {
      unseen ??= { why };
      continue;
    }
    const { fileWidth = 0, fileHeight = 0, others = [] } = raw;
    const words = wordsOf(element, source);
    const facts = { shownWidth, shownHeight, fileWidth, fileHeight, round: isRound(element, shownWidth), ...words };
    const worth = worthOf(facts);
    if (worth === 'small' || worth === 'shape') unseen ??= { why: worth };
    else if (source && worth !== 'tiny') return { source, others, facts };
  }
  return unseen;
}

/**
 * The same, of a picture that the user asked about: whatever its size and shape.
 * @param {Element} element
 * @returns {string | HTMLCanvasElement | null}
 */
export function sourceOf(element) {
  for (const { source } of rawPictures(element, tagOf(element))) if (!whyNot(source)) return source;
  return null;
}

/**
 * @param {string | HTMLCanvasElement | null} source
 * @returns {Unseen | null}
 */
function whyNot(source) {
  if (source === null) return 'address';
  if (typeof source !== 'string') return isReadable(source) ? null : 'canvas';
  const kind = sourceKind(source);
  if (kind === 'drawing' || kind === 'scheme') return kind;
  return source.length > MAX_SOURCE_CHARS ? 'large' : null;
}

/**
 * Every picture of an element, the one on top first.
 * @param {Element} element
 * @param {string} tag
 * @returns {Generator<Raw>}
 */
function* rawPictures(element, tag) {
  if (tag === 'svg:image') {
    const address = attributeOf(element, 'href') || attributeOf(element, 'xlink:href');
    if (address) yield { source: fullAddress(address), ...drawnSize(element) };
    return;
  }
  if (tag.startsWith('svg:') && tag !== 'svg:svg') return;
  const style = styleOf(element);
  const replaced = [...stylePictures(style('content'))];
  yield* replaced;
  if (replaced.length === 0) yield* ownPicture(element, tag);
  for (const pseudo of ['::before', '::after']) {
    const of = styleOf(element, pseudo);
    const content = of('content');
    if (content === 'none' || content === 'normal' || content === '') continue; // it is not there
    const [width, height] = [of('width'), of('height')].map((size) => (/px$/.test(size) ? Number.parseFloat(size) : undefined));
    // As large as its file; an element in a line is as wide as that, and its height is the line's.
    const side = Math.max(boxOf(element).width, boxOf(element).height);
    for (const raw of stylePictures(content)) yield { ...raw, width: side, height: side };
    for (const raw of stylePictures(of('background-image'))) yield { ...raw, width, height };
  }
  yield* stylePictures(style('background-image'));
}

/**
 * How large an SVG image is where it has no box of its own, as in a pattern that fills a circle: at most its drawing.
 * @param {Element} image
 * @returns {{width?: number, height?: number}}
 */
function drawnSize(image) {
  if (boxOf(image).width > 0) return {};
  let around = parentOf(image);
  while (around && tagOf(around) !== 'svg:svg') around = parentOf(around);
  if (!around) return {};
  const { width, height } = boxOf(around);
  return { width, height };
}

/**
 * @param {Element} element
 * @param {string} tag
 * @returns {Generator<Raw>}
 */
function* ownPicture(element, tag) {
  /** @type {(name: string) => string} */
  const attribute = (name) => attributeOf(element, name).trim();
  switch (tag) {
    case 'img': {
      const [fileWidth, fileHeight] = [image.width(element), image.height(element)];
      if (!image.complete(element) || !(fileWidth > 0)) return;
      const source = image.current(element) || attribute('src');
      if (!source) return;
      yield { source: fullAddress(source), others: otherForms(element, source), fileWidth, fileHeight };
      return;
    }
    case 'input':
      if (attribute('type').toLowerCase() === 'image' && attribute('src')) yield { source: fullAddress(attribute('src')) };
      return;
    case 'object':
    case 'embed': {
      // What it shows cannot be asked; its type or address may say that it is a picture.
      const address = attribute(tag === 'object' ? 'data' : 'src');
      const isPicture = /^image\//i.test(attribute('type')) || /\.(jpe?g|png|webp|gif|bmp|avif)(?:[?#]|$)|^data:image\//i.test(address.slice(0, 5000));
      if (address && isPicture) yield { source: fullAddress(address) };
      return;
    }
    case 'video':
      if (attribute('poster')) yield { source: fullAddress(attribute('poster')) };
      return;
    case 'canvas':
      yield { source: /** @type {HTMLCanvasElement} */ (element) };
  }
}

/**
 * Whether an element moves: what it shows besides its poster is not checked.
 * @param {Element} element
 */
export function isVideo(element) {
  if (tagOf(element) !== 'video' || !(videoWidth(element) > 0)) return false;
  const { width, height } = boxOf(element);
  return Math.min(width, height) >= MIN_SHOWN_PX;
}

/**
 * @param {string} value of `background-image` or `content`
 * @returns {Generator<Raw>}
 */
function* stylePictures(value) {
  if (!value || value === 'none' || value === 'normal') return;
  if (value.length > MAX_SOURCE_CHARS) {
    yield { source: value }; // its length alone counts
    return;
  }
  for (const [first, ...rest] of styleAddresses(value)) {
    const others = rest.flatMap((address) => fullAddress(address) ?? []).filter((address) => /^https?:/.test(address));
    yield { source: fullAddress(first), others: others.slice(0, MAX_OTHERS) };
  }
}

/**
 * Addresses under which an `<img>` has its picture too: the further sources of a `<picture>`, of its own `srcset`, its `src`.
 * @param {Element} img
 * @param {string} shown
 */
function otherForms(img, shown) {
  /** @type {{address: string, type: string}[]} */
  const forms = [];
  /** @type {(srcset: string, type: string) => void} */
  const add = (srcset, type) => {
    for (const address of srcsetAddresses(srcset.slice(0, 20_000))) forms.push({ address: fullAddress(address) ?? '', type });
  };
  const around = parentOf(img);
  if (around && tagOf(around) === 'picture') {
    const walker = walkerOf(around);
    for (let next = walker.nextNode(), count = 0; next && count < 20; next = walker.nextNode(), count += 1) {
      const source = /** @type {Element} */ (next);
      // Of another crop, where `media` chooses.
      if (tagOf(source) === 'source' && !attributeOf(source, 'media')) add(attributeOf(source, 'srcset'), attributeOf(source, 'type'));
    }
  }
  add(attributeOf(img, 'srcset'), '');
  const src = attributeOf(img, 'src').trim();
  if (src.length < 5000) forms.push({ address: fullAddress(src) ?? '', type: '' });
  const others = forms.filter(({ address }) => /^https?:/.test(address) && address !== shown);
  return readableForms(others).slice(0, MAX_OTHERS);
}

/** @type {HTMLCanvasElement | null} */
let trial = null;

/**
 * Whether a canvas lets itself be read, and holds more than one colour.
 * @param {HTMLCanvasElement} canvas
 */
function isReadable(canvas) {
  trial ??= Object.assign(makeOwn('canvas'), { width: TRIAL_PX, height: TRIAL_PX });
  const context = trial.getContext('2d', { willReadFrequently: true });
  if (!context) return false;
  try {
    context.clearRect(0, 0, TRIAL_PX, TRIAL_PX);
    context.drawImage(canvas, 0, 0, TRIAL_PX, TRIAL_PX);
    const pixels = new Uint32Array(context.getImageData(0, 0, TRIAL_PX, TRIAL_PX).data.buffer);
    return pixels.some((pixel) => pixel !== pixels[0]);
  } catch {
    trial = null; // the picture of another site is in it now; it stays closed
    return false;
  }
}

/**
 * @param {Element} element
 * @param {string | HTMLCanvasElement | null} source
 * @returns {Pick<Facts, 'names' | 'label' | 'around'>}
 */
function wordsOf(element, source) {
  const { folders, file } = pathOf(source);
  /** @type {(of: Element, attributes: string[]) => string} */
  const read = (of, attributes) => attributes.map((name) => attributeOf(of, name).slice(0, MAX_WORDS)).join(' ');
  const around = [folders];
  let outer = parentOf(element);
  for (let depth = 1; outer && depth < WORDS_DEPTH; depth += 1, outer = parentOf(outer)) {
    around.push(read(outer, ['class', 'id', 'aria-label', 'data-testid']));
  }
  return {
    names: `${read(element, ['class', 'id', 'data-testid'])} ${file}`,
    label: read(element, ['alt', 'aria-label', 'title']).trim(),
    around: around.join(' '),
  };
}

/** @param {string | HTMLCanvasElement | null} source */
function pathOf(source) {
  if (typeof source !== 'string' || sourceKind(source) !== 'fetch') return { folders: '', file: '' };
  const path = new URL(source).pathname.slice(-MAX_WORDS);
  const cut = path.lastIndexOf('/') + 1;
  return { folders: path.slice(0, cut), file: path.slice(cut) };
}

/**
 * Whether the picture, or what cuts it, has the shape of a circle.
 * @param {Element} element
 * @param {number} width
 */
function isRound(element, width) {
  for (const shape of [element, parentOf(element)]) {
    if (!shape) continue;
    const radius = styleOf(shape)('border-top-left-radius');
    const size = Number.parseFloat(radius);
    if (radius.endsWith('%') ? size >= 40 : size >= width * 0.4 && size > 0) return true;
  }
  return false;
}

/**
 * @param {Element} element
 * @returns {ShadowRoot | null} closed ones too, which the browser opens for extensions
 */
function shadowRootOf(element) {
  if (!SHADOW_HOSTS.test(tagOf(element))) return null;
  if (chrome.dom?.openOrClosedShadowRoot) return chrome.dom.openOrClosedShadowRoot(/** @type {HTMLElement} */ (element));
  return /** @type {any} */ (element).openOrClosedShadowRoot ?? element.shadowRoot;
}

/**
 * Every element below a node, shadow trees included.
 * @param {Node} root
 * @param {object} told
 * @param {(shadow: ShadowRoot) => void} told.onShadow
 * @param {(element: Element) => void} told.onTrouble an element that may have a shadow tree which cannot be entered
 * @param {Element} skip ours
 * @returns {Generator<Element>}
 */
export function* elementsBelow(root, { onShadow, onTrouble }, skip) {
  /** @type {Node[]} */
  const waiting = [root];
  for (let node; (node = waiting.pop()); ) {
    const walker = walkerOf(node);
    // A walker begins behind its root.
    for (let next = isElement(node) ? node : walker.nextNode(); next; next = walker.nextNode()) {
      const element = /** @type {Element} */ (next);
      if (element === skip) continue;
      yield element;
      try {
        const shadow = shadowRootOf(element);
        if (!shadow) continue;
        onShadow(shadow);
        waiting.push(shadow);
      } catch {
        onTrouble(element);
      }
    }
  }
}
