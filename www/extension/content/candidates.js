// @ts-check
// Which pictures of a page are likely portraits, and which of them to check first: pure functions over facts that
// sources.js gathers.

/** Shorter side that a picture must have; the model judges no face under 64 pixels. */
export const MIN_SIDE_PX = 64;

/**
 * What is known of a picture. `fileWidth`, `fileHeight`: of the picture itself, 0 where only the shown size is known.
 * `names`: what its makers call it (class names, its file's name); `label`: what people are told of it; `around`: both, of
 * the elements around it and of the folders it lies in.
 * @typedef {{shownWidth: number, shownHeight: number, fileWidth: number, fileHeight: number, names: string, label: string,
 *   around: string, round: boolean}} Facts
 */
/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */
/**
 * `likely`: a portrait, as far as can be told from outside. `maybe`: called an ornament; checked after the others, because
 * only the picture itself can tell. The others are not checked: `tiny` and `small` for their size, `shape` because they are
 * not of a portrait's and nothing calls them one.
 * @typedef {'likely' | 'maybe' | 'tiny' | 'small' | 'shape'} Worth
 */

/** Shown smaller than this, a picture is an ornament, whatever its file holds. */
export const MIN_SHOWN_PX = 32;

/** What makers of sites call the pictures of people. */
const PERSON = new Set(
  (
    'author authors avatar avatars candidate contact displayphoto face faces foto fotos headshot headshots member members ' +
    'people person persona pfp photo photos portrait portraits profile profilephoto profilepic selfie selfies speaker ' +
    'speakers staff team user useravatar userpic userphoto users'
  ).split(' '),
);

/** What they call everything else. */
const ORNAMENT = new Set(
  (
    'ad ads advert advertisement background badge banner bg btn button captcha cover emoji emojis emoticon favicon flag ghost ' +
    'icon icons logo logos logotype map placeholder product products sprite sprites sticker wordmark'
  ).split(' '),
);

/**
 * Whether a picture is worth a check in a scan of the page. Words may raise a picture, and put it behind others; they never
 * drop it, for a face may be there.
 * @param {Facts} facts
 * @returns {Worth}
 */
export function worthOf({ shownWidth, shownHeight, fileWidth, fileHeight, names, label, around, round }) {
  if (!(Math.min(shownWidth, shownHeight) >= MIN_SHOWN_PX)) return 'tiny';
  if (Math.min(fileWidth || shownWidth, fileHeight || shownHeight) < MIN_SIDE_PX) return 'small';
  const person = [names, label, around].some((words) => wordsIn(words).some((word) => PERSON.has(word)));
  const aspect = shownWidth / shownHeight;
  const shape = aspect >= 0.75 && aspect <= 1.34 ? 2 : aspect >= 0.5 && aspect <= 1.6 ? 1 : -2;
  if (shape + (round ? 2 : 0) + (person ? 2 : 0) < 2) return 'shape';
  return !person && !round && isCalledOrnament(names, label) ? 'maybe' : 'likely';
}

/**
 * @param {string} names
 * @param {string} label
 */
function isCalledOrnament(names, label) {
  if (wordsIn(names).some((word) => ORNAMENT.has(word))) return true;
  // People are told of a "Company logo" or a "Flag of Peru"; a "Product Manager" or an "Icon designer" is a person.
  const told = wordsIn(label);
  return ORNAMENT.has(told.at(-1) ?? '') || (ORNAMENT.has(told[0]) && ['of', 'for', 'from', 'von', 'de'].includes(told[1]));
}

/**
 * Whole words in small letters: `profilePhoto_large` is profile, photo, large; `psicólogo` is one word.
 * @param {string} text
 * @returns {string[]}
 */
export function wordsIn(text) {
  return text
    .replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}\p{M}]+/u)
    .filter(Boolean);
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
