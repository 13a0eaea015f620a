// @ts-check
// Which pictures of a page are likely portraits, and which of them to check first: pure functions over facts that
// pictures.js gathers.

/** Shorter side that a picture must have; the model judges no face under 64 pixels. */
export const MIN_SIDE_PX = 64;

/**
 * What is known of a picture. `fileWidth`, `fileHeight`: of the picture itself, 0 where only the shown size is known.
 * `words`: alternative text, class names and address of the picture and of what is around it.
 * @typedef {{shownWidth: number, shownHeight: number, fileWidth: number, fileHeight: number, words: string,
 *   round: boolean}} Facts
 */
/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */

/** Shown smaller than this, a picture is an ornament, whatever its file holds. */
const MIN_SHOWN_PX = 32;

/** What makers of sites call the pictures of people, as whole words or parts of camelCase and kebab-case names. */
const PERSON =
  /avatar|profile|portrait|headshot|\bphotos?\b|selfie|member|\buser|people|person|\bface\b|author|contact|candidate|displayphoto/;
const NO_PERSON = /logo|icon|sprite|emoji|banner|cover|background|placeholder|captcha|\bmap|flag|badge|button|\bads?\b|advert|product|ghost/;

/**
 * Whether a picture is worth a check in a scan of the page.
 * @param {Facts} facts
 * @returns {boolean}
 */
export function isCandidate({ shownWidth, shownHeight, fileWidth, fileHeight, words, round }) {
  const width = fileWidth || shownWidth;
  const height = fileHeight || shownHeight;
  if (Math.min(width, height) < MIN_SIDE_PX || Math.min(shownWidth, shownHeight) < MIN_SHOWN_PX) return false;
  return portraitScore(shownWidth / shownHeight, plainWords(words), round) >= 2;
}

/**
 * @param {number} aspect width by height, as shown
 * @param {string} words
 * @param {boolean} round
 */
function portraitScore(aspect, words, round) {
  let score = round ? 2 : 0;
  if (aspect >= 0.75 && aspect <= 1.34) score += 2;
  else if (aspect >= 0.5 && aspect <= 1.6) score += 1;
  else score -= 2;
  if (PERSON.test(words)) score += 2;
  if (NO_PERSON.test(words)) score -= 3;
  return score;
}

/**
 * Words apart and in small letters: `profilePhoto_large` is `profile photo large`.
 * @param {string} words
 */
function plainWords(words) {
  return words
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replace(/[_\-./]+/g, ' ')
    .toLowerCase();
}

/**
 * The `count` things nearest to the viewport, nearest first; those in view come by their distance from its middle.
 * @template Thing
 * @param {{thing: Thing, box: Box}[]} boxed
 * @param {{width: number, height: number}} viewport
 * @param {number} count
 * @returns {Thing[]}
 */
export function nearest(boxed, viewport, count) {
  /** @type {(from: number, to: number, size: number) => number} */
  const outside = (from, to, size) => Math.max(0, -to, from - size);
  const ranked = boxed.map(({ thing, box }) => {
    const off = Math.hypot(outside(box.left, box.right, viewport.width), outside(box.top, box.bottom, viewport.height));
    const fromMiddle = Math.abs((box.top + box.bottom - viewport.height) / 2);
    return { thing, off, fromMiddle };
  });
  ranked.sort((a, b) => a.off - b.off || a.fromMiddle - b.fromMiddle);
  return ranked.slice(0, count).map(({ thing }) => thing);
}

/**
 * How a picture's bytes can be had: fetched by the extension, read in the page, or not at all.
 * @param {string} source
 * @returns {'fetch' | 'page' | null}
 */
export function sourceKind(source) {
  if (/^https?:/i.test(source)) return 'fetch';
  if (/^data:image\/svg/i.test(source)) return null;
  return /^(blob:|data:image\/)/i.test(source) ? 'page' : null;
}

/**
 * The first address in a computed `background-image`.
 * @param {string} value
 * @returns {string} empty where there is none
 */
export function backgroundSource(value) {
  const found = /url\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^)]*))\s*\)/.exec(value);
  return (found?.[1] ?? found?.[2] ?? found?.[3] ?? '').replace(/\\(.)/g, '$1').trim();
}

/**
 * The bytes of a data: address.
 * @param {string} source
 * @returns {string} in base64
 */
export function dataBase64(source) {
  const comma = source.indexOf(',');
  const body = source.slice(comma + 1);
  if (/;base64$/i.test(source.slice(0, comma).trim())) return decodeURIComponent(body).replace(/\s+/g, '');
  return btoa(unescapeBytes(body));
}

/**
 * @param {string} text percent-encoded
 * @returns {string} one character a byte
 */
function unescapeBytes(text) {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
}
