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
  STILL_ALLOWED,
  HELLO,
  LOOKUP,
  MAX_ITEMS,
  OPEN,
  RETRY,
  SET_SITE,
  STATUS,
} from './names.js';
import { MAX_URL_CHARS } from './policy.js';

export * from './names.js';

/**
 * What is to be checked, and for whom. `page` names one life of a document, so that results never reach its successor.
 * @typedef {{id: string, host: string, asked: boolean, url: string, tabId: number, frameId: number, page: string,
 *   inPage: boolean, permitted: boolean, keep: boolean}} Job `inPage`: the page itself can read it; `permitted`: the user
 *   allowed its host for good; `keep`: the verdict may be kept on disk (not in private windows)
 */
/** @typedef {import('../../shared/messages.js').Report} Report */
/**
 * How a job ended. `unreachable`: the fetch was refused by the network or by the browser's rules; `withdrawn`: the permission
 * for its host went while it waited.
 * @typedef {{kind: 'verdict', report: Report, failure: string | null, autoScan: number, thumb: string, cached: boolean}
 *   | {kind: 'unreachable' | 'withdrawn' | 'refused', message: string}
 *   | {kind: 'failed', code: string, message: string}} Outcome
 */
/** @typedef {{report: Report, failure: string | null, autoScan: number}} Kept A verdict as it is cached. */
/**
 * One picture of a tab, as popup and panel show it. `blocked`: its host must be allowed first.
 * @typedef {{state: 'waiting' | 'done' | 'blocked' | 'refused' | 'failed', url: string, job: Job, report: Report | null,
 *   failure: string | null, autoScan: number, thumb: string, message: string}} Record
 */
/** @typedef {{height: number, width: number, rgba: string}} PackedPicture `rgba` in base64. */
/**
 * What the panel shows: the closer look at a picture, with its file in base64.
 * @typedef {{report: Report, failure: string | null, photo: string,
 *   evidence: ({photo: PackedPicture, residual: PackedPicture, heat: PackedPicture} | null)[],
 *   thresholds: import('../../shared/messages.js').Thresholds}} Found
 */
/**
 * @typedef {{loaded: import('../../shared/messages.js').Loaded | null, autoScan: number | null, model: string | null,
 *   queued: number, error: {code: string, message: string} | null}} EngineState
 */

/**
 * @param {unknown} value
 * @param {number} max
 * @returns {value is string}
 */
function isText(value, max) {
  return typeof value === 'string' && value.length > 0 && value.length <= max;
}

/**
 * Whether a content script may say this.
 * @param {any} message
 * @returns {boolean}
 */
export function isFromContent(message) {
  if (message?.to !== BACKGROUND || !isText(message.page, 40)) return false;
  if (message.type === HELLO) return true;
  if (message.type === OPEN) return isText(message.url, MAX_URL_CHARS);
  if (message.type !== CHECK || !Array.isArray(message.items)) return false;
  return (
    message.items.length <= MAX_ITEMS &&
    message.items.every(
      (/** @type {any} */ item) =>
        typeof item === 'object' && isText(item?.url, MAX_URL_CHARS) && typeof item.asked === 'boolean',
    )
  );
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
      return true;
    case CHECK_PAGE:
    case RETRY:
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
  return message?.to === BACKGROUND && [DONE, LOOKUP, FETCH_PAGE, STILL_ALLOWED].includes(message.type);
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
  return tab && /^(https?|file):/.test(url) ? 'content' : null;
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
