// @ts-check
// The content script: follows the pictures of a page, offers the likely portraits to the background, nearest to the
// viewport first and a few at a time, and shows what comes back. It fetches nothing but pictures that only the page
// holds. build.sh joins this folder's modules into one file, as content scripts are no modules.

import { ASK, BACKGROUND, CHECK, CONTENT, HELLO, MAX_ITEMS, MODE, OPEN, READ, RESULTS, SCAN } from '../lib/names.js';
import { Badges } from './badges.js';
import { dataBase64, isCandidate, nearest, sourceKind } from './candidates.js';
import { elementsBelow, factsOf, sourceOf } from './pictures.js';

/** @typedef {import('./badges.js').Words} Words */
/**
 * `waiting`: to be offered. `sent`: with the background. `known`: answered.
 * @typedef {{url: string, state: 'waiting' | 'sent' | 'known', asked: boolean, words: Words | null, tries: number,
 *   until: number}} Picture `until`: when a sent picture is offered again, or a refused one may be
 */

/** Pictures are checked this far before they come into view. */
const AHEAD = '300px';
/** An offered picture whose answer is this late is offered again: the engine may have been stopped with it. */
const PATIENCE_MS = 120_000;
const MAX_TRIES = 3;
/** Larger pictures than this are not carried from the page to the engine. */
const MAX_PAGE_BYTES = 12_000_000;
/** More pictures than this are not followed in one page. */
const MAX_FOLLOWED = 5000;
const PUMP_MS = 120;

/** One life of this document; `crypto.randomUUID` is missing on plain http. */
const page = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @type {{auto: boolean, badges: boolean, busy: Words | null}} */
let mode = { auto: false, badges: true, busy: null };
/** @type {Map<Element, string>} followed elements, and the name of the picture that each shows */
const followed = new Map();
/** @type {Map<string, Picture>} by name: the address, or `page:n` */
const pictures = new Map();
/** @type {Map<string, string>} sources of pictures that only the page holds, by name */
const pageSources = new Map();
/** @type {Map<string, string>} */
const pageNames = new Map();
let pageCount = 0;
/** @type {WeakRef<Element> | null} */
let lastMenuTarget = null;
/** @type {Set<Element>} elements in or near the viewport; all of them count in a scan on request */
const near = new Set();
let scanning = false;

const badges = new Badges((element) => {
  const url = followed.get(element);
  if (url) send({ type: OPEN, url });
});

/**
 * @param {object} message
 * @returns {Promise<any>} null where the extension was reloaded, or the answer was an error
 */
async function send(message) {
  try {
    const answer = await chrome.runtime.sendMessage({ to: BACKGROUND, page, ...message });
    return answer?.ok ? answer.value : null;
  } catch {
    return null;
  }
}

// ---- Following pictures ----------------------------------------------------------------------------------------------

/**
 * The name under which a picture goes; empty where it cannot be checked.
 * @param {string} source
 */
function nameOf(source) {
  const kind = sourceKind(source);
  if (kind !== 'page') return kind ? source : '';
  let name = pageNames.get(source);
  if (!name) {
    pageCount += 1;
    name = `page:${pageCount}`;
    pageNames.set(source, name);
    pageSources.set(name, source);
  }
  return name;
}

/**
 * Looks at an element anew: its picture may have come, changed or gone.
 * @param {Element} element
 */
function consider(element) {
  if (!element.isConnected) return forget(element);
  const source = sourceOf(element);
  const url = source ? nameOf(source) : '';
  if (followed.get(element) === url && url) return;
  if (followed.has(element)) badges.set(element, null);
  if (!url || !isCandidate(factsOf(element))) return forget(element);
  follow(element, url);
}

/**
 * @param {Element} element
 * @param {string} url
 */
function follow(element, url) {
  if (followed.size >= MAX_FOLLOWED && !followed.has(element)) prune();
  if (followed.size >= MAX_FOLLOWED && !followed.has(element)) return;
  followed.set(element, url);
  sight.observe(element);
  const picture = pictures.get(url);
  if (!picture) pictures.set(url, { url, state: 'waiting', asked: false, words: null, tries: 0, until: 0 });
  else if (picture.words) badges.set(element, picture.words);
  schedulePump();
}

/** @param {Element} element */
function forget(element) {
  if (!followed.delete(element)) return;
  near.delete(element);
  sight.unobserve(element);
  badges.set(element, null);
}

/** Elements that left the page, and pictures that no element shows. */
function prune() {
  for (const element of followed.keys()) if (!element.isConnected) forget(element);
  const shown = new Set(followed.values());
  for (const [url, { state }] of pictures) if (!shown.has(url) && state !== 'sent') pictures.delete(url);
  for (const [source, name] of pageNames) {
    if (pictures.has(name)) continue;
    pageNames.delete(source);
    pageSources.delete(name);
  }
}

const sight = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) near.add(target);
      else near.delete(target);
    }
    schedulePump();
  },
  { rootMargin: AHEAD },
);

/** @type {Set<Node>} subtrees to be walked */
const toWalk = new Set();
/** @type {Set<Element>} elements to be looked at anew */
const toConsider = new Set();
/** @type {Iterator<Element> | null} */
let walking = null;
let idleScheduled = false;

const changes = new MutationObserver((records) => {
  for (const { type, target, addedNodes, removedNodes } of records) {
    if (type === 'attributes') {
      const element = /** @type {Element} */ (target);
      if (mode.auto || followed.has(element)) toConsider.add(element);
    } else {
      if (mode.auto) for (const node of addedNodes) if (node instanceof Element && node !== badges.host) toWalk.add(node);
      if (removedNodes.length) removed = true;
    }
  }
  scheduleIdle();
});
let removed = false;

/** @type {WeakSet<Node>} */
const observed = new WeakSet();

/** @param {Node} root a document or shadow root */
function observe(root) {
  if (observed.has(root)) return;
  observed.add(root);
  changes.observe(root, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ['src', 'srcset', 'href', 'style', 'class'],
  });
  // `load` does not bubble, and does not leave a shadow tree; capturing sees it everywhere within.
  root.addEventListener(
    'load',
    ({ target }) => {
      if (target instanceof Element && (mode.auto || scanning || followed.has(target))) {
        toConsider.add(target);
        scheduleIdle();
      }
    },
    { capture: true, passive: true },
  );
}

function scheduleIdle() {
  if (idleScheduled) return;
  idleScheduled = true;
  requestIdleCallback(whenIdle, { timeout: 500 });
}

/** @param {IdleDeadline} deadline */
function whenIdle(deadline) {
  idleScheduled = false;
  // In a busy page the browser calls at the time limit with no time left; a slice is then taken all the same.
  const end = performance.now() + Math.max(deadline.timeRemaining(), 8);
  if (removed) {
    removed = false;
    for (const element of followed.keys()) if (!element.isConnected) forget(element);
  }
  for (const element of toConsider) {
    toConsider.delete(element);
    consider(element);
    if (performance.now() > end) return scheduleIdle();
  }
  while (performance.now() < end) {
    if (!walking) {
      const [root] = toWalk;
      if (!root) return;
      toWalk.delete(root);
      walking = elementsBelow(root, observe, badges.host);
    }
    const { done, value } = walking.next();
    if (done) walking = null;
    else consider(value);
  }
  scheduleIdle();
}

// ---- Offering them ---------------------------------------------------------------------------------------------------

/** @type {any} */
let pumpTimer = null;
let pumpAt = Infinity;

/** @param {number} [ms] */
function schedulePump(ms = PUMP_MS) {
  const at = performance.now() + ms;
  if (at >= pumpAt) return;
  clearTimeout(pumpTimer);
  pumpAt = at;
  pumpTimer = setTimeout(() => {
    pumpAt = Infinity;
    void pump();
  }, ms);
}

async function pump() {
  const now = Date.now();
  let underWay = 0;
  for (const picture of pictures.values()) {
    if (picture.state !== 'sent') continue;
    if (picture.until > now) underWay += 1;
    else if (picture.tries < MAX_TRIES) picture.state = 'waiting';
    else answer(picture.url, null);
  }
  const free = MAX_ITEMS - underWay;
  const offered = free > 0 ? choose(free, now) : [];
  if (offered.length === 0) {
    if (underWay) schedulePump(PATIENCE_MS);
    return;
  }
  for (const picture of offered) {
    picture.state = 'sent';
    picture.tries += 1;
    picture.until = now + PATIENCE_MS;
  }
  const taken = await send({ type: CHECK, items: offered.map(({ url, asked }) => ({ url, asked })) });
  if (!taken) {
    // Neither answer nor error: the extension is gone. What was offered stays sent.
    if (!chrome.runtime?.id) return stop();
    for (const picture of offered) delay(picture);
  } else {
    for (const { url, words } of taken.results) answer(url, words);
    for (const url of taken.busy) delay(/** @type {Picture} */ (pictures.get(url)));
  }
  schedulePump();
}

/**
 * Lets a picture wait before it is offered again, longer each time.
 * @param {Picture} picture
 */
function delay(picture) {
  picture.state = 'waiting';
  picture.until = Date.now() + 500 * 2 ** picture.tries;
  schedulePump(1000);
}

/**
 * @param {number} count
 * @param {number} now
 * @returns {Picture[]}
 */
function choose(count, now) {
  const asked = [...pictures.values()].filter(({ state, asked }) => asked && state === 'waiting');
  if (!mode.auto && !scanning) return asked.slice(0, count);
  /** @type {Map<Picture, {thing: Picture, box: DOMRect}>} */
  const boxed = new Map();
  for (const element of scanning ? followed.keys() : near) {
    const picture = pictures.get(followed.get(element) ?? '');
    if (picture?.state !== 'waiting' || picture.until > now || boxed.has(picture)) continue;
    boxed.set(picture, { thing: picture, box: element.getBoundingClientRect() });
  }
  const viewport = { width: innerWidth, height: innerHeight };
  return [...new Set([...asked, ...nearest([...boxed.values()], viewport, count)])].slice(0, count);
}

/**
 * @param {string} url
 * @param {Words | null} words
 */
function answer(url, words) {
  const picture = pictures.get(url);
  if (!picture) return;
  picture.state = 'known';
  picture.words = words;
  for (const [element, shown] of followed) {
    if (shown !== url) continue;
    // It may show another picture by now, which the observers have not told yet.
    if (nameOf(sourceOf(element)) === url) badges.set(element, words);
    else toConsider.add(element);
  }
  if (toConsider.size) scheduleIdle();
}

// ---- Messages of the background ---------------------------------------------------------------------------------------

/**
 * The element on which the user asked: the one of the last context menu, else the first that shows the picture.
 * @param {string} url
 */
function findElement(url) {
  const target = lastMenuTarget?.deref();
  if (target?.isConnected && nameOf(sourceOf(target)) === url) return target;
  for (const element of elementsBelow(document, observe, badges.host)) {
    if ((element instanceof HTMLImageElement || element instanceof SVGImageElement) && nameOf(sourceOf(element)) === url) return element;
  }
  return null;
}

/** @param {string} source */
function ask(source) {
  const url = nameOf(source);
  const element = url && findElement(url);
  if (!element) return { found: false };
  observe(document);
  follow(element, url);
  const picture = /** @type {Picture} */ (pictures.get(url));
  Object.assign(picture, { asked: true, state: 'waiting', tries: 0, until: 0, words: mode.busy });
  badges.set(element, mode.busy);
  schedulePump(0);
  return { found: true };
}

function scan() {
  scanning = true;
  observe(document);
  toWalk.add(document);
  scheduleIdle();
}

/** @param {typeof mode} wanted */
function setMode(wanted) {
  const wasAuto = mode.auto;
  mode = wanted;
  if (mode.auto && !wasAuto) {
    observe(document);
    toWalk.add(document);
    scheduleIdle();
  }
  if (!mode.auto && wasAuto) scanning = false;
}

/**
 * The bytes of a picture that only this page can read.
 * @param {string} url
 * @returns {Promise<string>} in base64
 */
async function read(url) {
  const source = pageSources.get(url) ?? url;
  if (source.length > MAX_PAGE_BYTES * 2) throw new Error('the picture is too large');
  if (source.startsWith('data:')) return dataBase64(source);
  const response = await fetch(source, { credentials: 'omit', redirect: 'error', cache: 'force-cache' });
  const blob = await response.blob();
  if (!response.ok || blob.size > MAX_PAGE_BYTES) throw new Error('the picture is gone or too large');
  /** @type {string} */
  const encoded = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
  return encoded.slice(encoded.indexOf(',') + 1);
}

/** @type {(message: any, sender: chrome.runtime.MessageSender, reply: (answer: any) => void) => boolean} */
function receive(message, sender, reply) {
  if (sender.id !== chrome.runtime.id || message?.to !== CONTENT) return false;
  if (message.page && message.page !== page) return false;
  switch (message.type) {
    case SCAN:
      scan();
      reply({ page });
      return false;
    case ASK:
      reply(ask(message.srcUrl));
      return false;
    case MODE:
      setMode(message.mode);
      return false;
    case RESULTS:
      for (const { url, words } of message.results) answer(url, words);
      schedulePump();
      return false;
    case READ:
      read(message.url).then(
        (value) => reply({ ok: true, value }),
        (error) => reply({ ok: false, error: { code: 'unreachable', message: String(error.message) } }),
      );
      return true;
    default:
      reply({ page, waiting: countWaiting() });
      return false;
  }
}

/** Pictures that this page still wants checked. */
function countWaiting() {
  const wanted = mode.auto || scanning;
  let count = 0;
  for (const { state, asked } of pictures.values()) if (state === 'sent' || (state === 'waiting' && (wanted || asked))) count += 1;
  return count;
}

function stop() {
  changes.disconnect();
  sight.disconnect();
  badges.host.remove();
}

addEventListener('contextmenu', ({ target }) => (lastMenuTarget = target instanceof Element ? new WeakRef(target) : null), {
  capture: true,
  passive: true,
});
chrome.runtime.onMessage.addListener(receive);
void send({ type: HELLO }).then((wanted) => wanted && setMode(wanted));
