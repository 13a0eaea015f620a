// @ts-check
// The content script: offers the likely portraits of a page to the background, nearest to the viewport first and a few at a
// time, shows what comes back, and tells what could not be looked at. It fetches nothing but pictures that only the page
// holds. build.sh joins this folder's modules into one file, as content scripts are no modules.

import { ASK, BACKGROUND, CHECK, CONTENT, FRAMES, GONE, HELLO, MAX_ITEMS, MODE, OPEN, READ, RESULTS, SCAN, TALLY } from '../lib/names.js';
import { Badges } from './badges.js';
import { nearest } from './candidates.js';
import { isElement } from './dom.js';
import { Follower } from './follower.js';
import { Holdings } from './holdings.js';
import { PATIENCE_MS, Pictures } from './pictures.js';

/** @typedef {import('./badges.js').Words} Words */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {{auto: boolean, scan: boolean, badges: boolean, busy: Words | null}} Mode */

const PUMP_MS = 120;
const TALLY_MS = 500;
const FRAMES_MS = 1000;
/** A frame smaller than this counts for nothing. */
const MIN_OWN_PX = 64;

/** A clock that rings once, at the earliest time that was asked for. */
class Alarm {
  #ring;
  /** @type {any} */
  #timer = null;
  #at = Infinity;

  /** @param {() => void} ring */
  constructor(ring) {
    this.#ring = ring;
  }

  /** @param {number} ms */
  set(ms) {
    const at = performance.now() + ms;
    if (at >= this.#at) return;
    clearTimeout(this.#timer);
    this.#at = at;
    this.#timer = setTimeout(() => {
      this.#at = Infinity;
      this.#ring();
    }, ms);
  }
}

/** One life of this document, and its conversation with the background. */
class Conversation {
  /** `crypto.randomUUID` is missing on plain http. */
  #page = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  /** @type {Mode} */
  #mode = { auto: false, scan: false, badges: true, busy: null };
  #scanning = false;
  #told = '';
  /** @type {WeakRef<Element> | null} */
  #menuTarget = null;
  #pictures = new Pictures();
  #holdings = new Holdings();
  #pumpAlarm = new Alarm(() => void this.#pump());
  #tallyAlarm = new Alarm(() => this.#tell());
  #framesAlarm = new Alarm(() => void this.#send({ type: FRAMES }));
  #badges = new Badges((element) => {
    const url = this.#follower.nameOn(element);
    if (url) void this.#send({ type: OPEN, url });
  });
  #follower = new Follower({
    pictures: this.#pictures,
    holdings: this.#holdings,
    badges: this.#badges,
    isWanted: () => this.#isWanted,
    onChange: () => this.#schedulePump(),
    onFrame: () => this.#scanning && this.#framesAlarm.set(FRAMES_MS),
  });

  start() {
    const passive = { capture: true, passive: true };
    addEventListener('contextmenu', ({ target }) => (this.#menuTarget = isElement(target) ? new WeakRef(target) : null), passive);
    addEventListener('pagehide', () => void this.#send({ type: GONE }));
    addEventListener('pageshow', ({ persisted }) => persisted && this.#greet());
    chrome.runtime.onMessage.addListener((message, sender, reply) => this.#receive(message, sender, reply));
    this.#greet();
  }

  #greet() {
    this.#told = '';
    void this.#send({ type: HELLO, since: performance.timeOrigin }).then((wanted) => wanted && this.#setMode(wanted));
  }

  /** Whether all pictures of the page are. */
  get #isWanted() {
    return this.#mode.auto || this.#scanning;
  }

  /**
   * @param {object} message
   * @returns {Promise<any>} null where the extension was reloaded, or the answer was an error
   */
  async #send(message) {
    try {
      const answer = await chrome.runtime.sendMessage({ to: BACKGROUND, page: this.#page, ...message });
      return answer?.ok ? answer.value : null;
    } catch {
      return null;
    }
  }

  // ---- Offering pictures ---------------------------------------------------------------------------------------------

  #schedulePump(ms = PUMP_MS) {
    this.#pumpAlarm.set(ms);
    this.#tallyAlarm.set(TALLY_MS);
  }

  async #pump() {
    const now = Date.now();
    const underWay = this.#pictures.underWay(now, (url) => this.#answer(url, null));
    const free = MAX_ITEMS - underWay;
    const offered = free > 0 ? this.#choose(free, now) : [];
    if (offered.length === 0) {
      if (underWay) this.#pumpAlarm.set(PATIENCE_MS);
      return;
    }
    this.#pictures.send(offered, now);
    const items = offered.map(({ url, asked, likely, others }) => ({ url, asked, likely, others }));
    const taken = await this.#send({ type: CHECK, items });
    if (!taken) {
      // Neither answer nor error: the extension is gone. What was offered stays sent.
      if (!chrome.runtime?.id) return this.#stop();
      for (const { url } of offered) this.#delay(url);
    } else {
      for (const { url, words } of taken.results) this.#answer(url, words);
      for (const url of taken.busy) this.#delay(url);
    }
    this.#schedulePump();
  }

  /** @param {string} url */
  #delay(url) {
    this.#pictures.delay(url, Date.now());
    this.#schedulePump(1000);
  }

  /**
   * @param {number} count
   * @param {number} now
   * @returns {Picture[]}
   */
  #choose(count, now) {
    const asked = this.#pictures.asked();
    if (!this.#isWanted) return asked.slice(0, count);
    /** @type {Map<Picture, {thing: Picture, box: DOMRect}>} */
    const boxed = new Map();
    for (const { name, box } of this.#follower.placed(this.#scanning)) {
      const picture = this.#pictures.get(name);
      if (picture?.state !== 'waiting' || picture.until > now || boxed.has(picture)) continue;
      boxed.set(picture, { thing: picture, box });
    }
    const viewport = { width: innerWidth, height: innerHeight };
    /** @type {(likely: boolean) => Picture[]} */
    const ranked = (likely) => nearest([...boxed.values()].filter(({ thing }) => thing.likely === likely), viewport, count);
    return [...new Set([...asked, ...ranked(true), ...ranked(false)])].slice(0, count);
  }

  /**
   * @param {string} url
   * @param {Words | null} words
   */
  #answer(url, words) {
    if (this.#pictures.answer(url, words)) this.#follower.show(url, words);
  }

  /** Tells how far this page is, if that has changed. */
  #tell() {
    if (!this.#isWanted) return;
    const { unseen, frames } = this.#follower;
    const isInner = parent !== window && Math.min(innerWidth, innerHeight) >= MIN_OWN_PX;
    const tally = { waiting: this.#pictures.countWaiting(true), scanning: this.#scanning, unseen, frames, isInner };
    const told = JSON.stringify(tally);
    if (told === this.#told) return;
    this.#told = told;
    void this.#send({ type: TALLY, tally });
  }

  // ---- Messages of the background ------------------------------------------------------------------------------------

  /** @param {string} source */
  #ask(source) {
    const target = this.#menuTarget?.deref();
    const found = this.#follower.find(source, target);
    if (!found) return { found: false };
    const { element, name } = found;
    this.#follower.observe(document);
    this.#follower.follow(element, name);
    const words = this.#mode.busy;
    Object.assign(this.#pictures.add(name), { asked: true, state: 'waiting', tries: 0, until: 0, words });
    this.#badges.set(element, words);
    this.#schedulePump(0);
    return { found: true };
  }

  #scan() {
    this.#scanning = true;
    this.#follower.walk();
    this.#tallyAlarm.set(TALLY_MS);
  }

  /** @param {Mode} wanted */
  #setMode(wanted) {
    const wasAuto = this.#mode.auto;
    this.#mode = wanted;
    if (wanted.scan && !this.#scanning) return this.#scan();
    if (wanted.auto && !wasAuto) this.#follower.walk();
    if (!wanted.auto && wasAuto) this.#scanning = false;
  }

  /**
   * @param {any} message
   * @param {chrome.runtime.MessageSender} sender
   * @param {(answer: any) => void} reply
   * @returns {boolean} whether the answer comes later
   */
  #receive(message, sender, reply) {
    if (sender.id !== chrome.runtime.id || message?.to !== CONTENT) return false;
    if (message.page && message.page !== this.#page) return false;
    switch (message.type) {
      case SCAN:
        this.#scan();
        reply({});
        return false;
      case ASK:
        reply(this.#ask(message.srcUrl));
        return false;
      case MODE:
        this.#setMode(message.mode);
        return false;
      case RESULTS:
        for (const { url, words } of message.results) this.#answer(url, words);
        this.#schedulePump();
        return false;
      case READ:
        this.#holdings.read(message.url).then(
          (value) => reply({ ok: true, value }),
          (error) => reply({ ok: false, error: { code: 'unreachable', message: String(error?.message) } }),
        );
        return true;
      default:
        return false;
    }
  }

  #stop() {
    this.#follower.stop();
    this.#badges.host.remove();
  }
}

new Conversation().start();
