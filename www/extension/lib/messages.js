// @ts-check
// Every message between the parts of the extension, with its shape, and who may send what. A content script lives in a
// process that a hostile page may have taken over: it is believed nothing but which pictures it would like checked.

import {
  BACKGROUND,
  CHECK,
  CHECK_PAGE,
  CLEAR_CACHE,
  DONE,
  EVIDENCE,
  FETCH_PAGE,
  FRAMES,
  GONE,
  HELLO,
  LOOKUP,
  MAX_ITEMS,
  OPEN,
  RETRY,
  SET_SITE,
  STATUS,
  STILL_ALLOWED,
  TALLY,
} from './names.js';
import { MAX_URL_CHARS } from './policy.js';

export * from './names.js';

/**
 * What is to be checked, and for whom. `page` names one life of a document, so that results never reach its successor.
 * @typedef {{id: string, host: string, asked: boolean, url: string, others: Form[], tabId: number, frameId: number,
 *   page: string, inPage: boolean, permitted: boolean, keep: boolean}} Job `inPage`: the page itself can read it;
 *   `permitted`: the user allowed its host for good; `others`: other forms of the picture, for a shown one that cannot be
 *   read; `keep`: the verdict may be kept on disk (not in private windows)
 */
/** @typedef {Pick<Job, 'url' | 'inPage' | 'permitted'>} Form One form of a picture, and how it may be had. */
/**
 * What a content script would like checked. `likely`: a portrait, as far as can be told from outside.
 * @typedef {{url: string, asked: boolean, likely: boolean, others: string[]}} Item
 */
/**
 * How far a document is: pictures still to be answered, why others are not checked, its frames and their sites. `isInner`: it
 * is a frame itself.
 * @typedef {{waiting: number, scanning: boolean, unseen: {[why: string]: number}, frames: {count: number, sites: string[]},
 *   isInner: boolean}} Tally
 */
/** @typedef {{page: string, site: string, tally: Tally | null}} Frame A document of a tab; null before its first tally. */
/** @typedef {import('../../shared/messages.js').Report} Report */
/**
 * How a job ended. `unreachable`: the fetch was refused by the network or by the browser's rules; `withdrawn`: the permission
 * for its host went while it waited.
 * @typedef {{kind: 'verdict', report: Report, failure: string | null, autoScan: number, thumb: string, cached: boolean,
 *     form: string}
 *   | {kind: 'unreachable' | 'withdrawn', message: string} | {kind: 'refused', why: string, message: string}
 *   | {kind: 'failed', code: string, message: string}} Outcome `form`: the address of the form that was read, where that was
 *   not the shown one; `why`: a key of reasons.js
 */
/** @typedef {{report: Report, failure: string | null, autoScan: number}} Kept A verdict as it is cached. */
/**
 * One picture of a tab, as popup and panel show it. `blocked`: its host must be allowed first.
 * @typedef {{state: 'waiting' | 'done' | 'blocked' | 'refused' | 'failed', url: string, job: Job, report: Report | null,
 *   failure: string | null, autoScan: number, thumb: string, form: string, why: string, message: string}} Record `why`: a key
 *   of reasons.js, where there is no report
 */
/** @typedef {{height: number, width: number, rgba: string}} PackedPicture `rgba` in base64. */
/**
 * What is shown of a face.
 * @template P
 * @typedef {{photo: P, residual: P, heat: P, heat_own: P}} PicturesOf
 */
/**
 * What the panel shows: the closer look at a picture, with its file in base64.
 * @typedef {{report: Report, failure: string | null, photo: string,
 *   evidence: (PicturesOf<PackedPicture> | null)[],
 *   thresholds: import('../../shared/messages.js').Thresholds}} Found
 */
/**
 * @typedef {{loaded: import('../../shared/messages.js').Loaded | null, autoScan: number | null, model: string | null,
 *   queued: number, error: {code: string, message: string} | null}} EngineState
 */

/** Bounds on what a content script says. */
const MAX_FORMS = 2;
const MAX_REASONS = 20;
const MAX_SITES = 8;

/**
 * @param {unknown} value
 * @param {number} max
 * @returns {value is string}
 */
function isText(value, max) {
  return typeof value === 'string' && value.length > 0 && value.length <= max;
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isCount(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** @param {any} item */
function isItem(item) {
  return (
    typeof item === 'object' &&
    isText(item?.url, MAX_URL_CHARS) &&
    typeof item.asked === 'boolean' &&
    typeof item.likely === 'boolean' &&
    isListOf(item.others, MAX_FORMS, (other) => isText(other, MAX_URL_CHARS))
  );
}

/**
 * @param {unknown} value
 * @param {number} max
 * @param {(part: unknown) => boolean} isPart
 */
function isListOf(value, max, isPart) {
  // Not `every` of the list itself, which passes over its holes.
  return Array.isArray(value) && value.length <= max && Array.from(value).every(isPart);
}

/** @param {any} tally */
function isTally(tally) {
  if (typeof tally !== 'object' || !isCount(tally?.waiting) || typeof tally.unseen !== 'object' || !tally.unseen) return false;
  const unseen = Object.entries(tally.unseen);
  return (
    typeof tally.scanning === 'boolean' &&
    typeof tally.isInner === 'boolean' &&
    unseen.length <= MAX_REASONS &&
    unseen.every(([why, count]) => isText(why, 20) && isCount(count)) &&
    typeof tally.frames === 'object' &&
    isCount(tally.frames?.count) &&
    isListOf(tally.frames.sites, MAX_SITES, (site) => isText(site, 300) && /^https?:/.test(site) && URL.canParse(site))
  );
}

/**
 * Whether a content script may say this.
 * @param {any} message
 * @returns {boolean}
 */
export function isFromContent(message) {
  if (message?.to !== BACKGROUND || !isText(message.page, 40)) return false;
  switch (message.type) {
    case HELLO:
      return Number.isFinite(message.since);
    case GONE:
    case FRAMES:
      return true;
    case OPEN:
      return isText(message.url, MAX_URL_CHARS);
    case TALLY:
      return isTally(message.tally);
    case CHECK:
      return isListOf(message.items, MAX_ITEMS, isItem);
    default:
      return false;
  }
}

/**
 * Whether a page of the extension may say this.
 * @param {any} message
 * @returns {boolean}
 */
export function isFromExtensionPage(message) {
  if (message?.to !== BACKGROUND) return false;
  switch (message.type) {
    case STATUS:
    case CLEAR_CACHE:
    case RETRY:
      return true;
    case CHECK_PAGE:
      return Number.isSafeInteger(message.tabId);
    case SET_SITE:
      return isText(message.site, MAX_URL_CHARS) && typeof message.on === 'boolean';
    case EVIDENCE:
    case OPEN:
      return isText(message.key, 2 * MAX_URL_CHARS);
    default:
      return false;
  }
}

/**
 * Whether this came from the engine's document.
 * @param {any} message
 * @returns {boolean}
 */
export function isFromEngine(message) {
  if (message?.to !== BACKGROUND) return false;
  if (message.type === LOOKUP) return isText(message.key, 200);
  if (![DONE, FETCH_PAGE, STILL_ALLOWED].includes(message.type) || !isText(message.job?.url, MAX_URL_CHARS)) return false;
  return message.type !== DONE || isText(message.outcome?.kind, 20);
}

/**
 * Who sent a message: told by the browser, never by the message.
 * @param {{id?: string, url?: string, tab?: object, origin?: string}} sender
 * @param {{id: string, root: string, engine: string}} own id, root address and engine address of this extension
 * @returns {'content' | 'page' | 'engine' | null}
 */
export function senderKind({ id, url = '', tab }, own) {
  if (id !== own.id) return null;
  if (url.startsWith(own.root)) return own.engine && url === own.engine ? 'engine' : 'page';
  // The documents of frames that a page writes itself have such addresses.
  return tab && /^(https?|file|about|blob|data):/.test(url) ? 'content' : null;
}

/**
 * The address of the site that a document belongs to; that of a frame which a page wrote itself is its page's.
 * @param {{url?: string, origin?: string}} sender
 * @returns {string} empty where it belongs to none
 */
export function siteOf({ url = '', origin = '' }) {
  return [url, origin].find((address) => /^https?:/.test(address) && URL.canParse(address)) ?? '';
}

/**
 * The key of a job's record: one a picture and document.
 * @param {Pick<Job, 'tabId' | 'frameId' | 'page' | 'url'>} job
 * @returns {string}
 */
export function recordKey({ tabId, frameId, page, url }) {
  return `${tabId}/${frameId}/${page}/${url}`;
}

/**
 * Where it is noted that a tab's list of pictures was cut.
 * @param {number} tabId
 */
export const cutKey = (tabId) => `cut/${tabId}`;

/**
 * @param {Uint8Array | Uint8ClampedArray} bytes
 * @returns {string} base64, which survives every browser's messaging
 */
export function pack(bytes) {
  let text = '';
  // Spread over the whole would overflow the stack.
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function unpack(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/**
 * Every picture of a face in another form.
 * @template From
 * @template To
 * @param {PicturesOf<From>} pictures
 * @param {(picture: From) => To} form
 * @returns {PicturesOf<To>}
 */
export function overAll({ photo, residual, heat, heat_own }, form) {
  return { photo: form(photo), residual: form(residual), heat: form(heat), heat_own: form(heat_own) };
}

/** What the background knows of a job before it is judged. */
export const NOTHING_YET = Object.freeze({ report: null, failure: null, autoScan: 1, thumb: '', form: '', why: '', message: '' });

/**
 * The record of a job by how it ended.
 * @param {Job} job
 * @param {Outcome} outcome
 * @returns {Record}
 */
export function recordOf(job, outcome) {
  /** @type {Record} */
  const record = { ...NOTHING_YET, state: 'failed', url: job.url, job };
  switch (outcome.kind) {
    case 'verdict': {
      const { report, failure, autoScan, thumb, form } = outcome;
      return { ...record, state: 'done', report, failure, autoScan, thumb, form };
    }
    case 'refused':
      return { ...record, state: 'refused', why: outcome.why, message: outcome.message };
    case 'failed':
      return { ...record, why: 'failed', message: outcome.message };
    default:
      return { ...record, why: 'unreachable', message: outcome.message };
  }
}
