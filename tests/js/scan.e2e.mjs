// What the content script sees of a page: every module of it in a real browser, on pages that are hostile, odd or merely
// modern. It runs in the page's own world, which is harder than its own would be, and the background is played. Needs no
// wasm; run by `./build.sh test`, which sets GRNET_BROWSER.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { until } from './mock/browser.mjs';
import { drawPictures } from './mock/pictures.mjs';
import { CDN, SOCIAL, startMock } from './mock/server.mjs';
import { GOOD, HOSTILE_COUNT, zooPage } from './mock/zoo.mjs';

const BROWSER = process.env.GRNET_BROWSER ?? assert.fail('GRNET_BROWSER is not set; run ./build.sh test');

let browser, mock;

before(async () => {
  browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox', `--host-resolver-rules=MAP ${SOCIAL} 127.0.0.1,MAP ${CDN} 127.0.0.1`] });
  const drawing = await browser.newPage();
  mock = await startMock(await drawPictures(drawing));
  await drawing.close();
});

after(async () => {
  await browser?.close();
  mock?.close();
});

/** The background, played inside of the page: takes everything in, and writes down what it was told. */
function playBackground() {
  const heard = { items: [], tally: null, errors: [] };
  globalThis.heard = heard;
  addEventListener('error', ({ message }) => heard.errors.push(message));
  addEventListener('unhandledrejection', ({ reason }) => heard.errors.push(String(reason)));
  const answers = {
    hello: () => ({ auto: false, scan: true, badges: true, busy: null }),
    check: ({ items }) => {
      heard.items.push(...items);
      return { results: items.map(({ url }) => ({ url, words: null })), busy: [] };
    },
    tally: ({ tally }) => void (heard.tally = tally),
  };
  globalThis.chrome = {
    runtime: {
      id: 'played',
      onMessage: { addListener: (listener) => (heard.tellContent = (message) => new Promise((reply) => listener({ to: 'content', ...message }, { id: 'played' }, reply))) },
      sendMessage: async (message) => ({ ok: true, value: answers[message.type]?.(message) ?? null }),
    },
    dom: { openOrClosedShadowRoot: (element) => globalThis.closedRoots?.get(element) ?? element.shadowRoot },
  };
  // What the browser does for extensions.
  globalThis.closedRoots = new WeakMap();
  const { attachShadow } = Element.prototype;
  Element.prototype.attachShadow = function (options) {
    const root = attachShadow.call(this, options);
    globalThis.closedRoots.set(this, root);
    return root;
  };
}

/**
 * Scans a page; gives what was offered, by the end of its address, and what was told of the rest.
 * @param {string} html
 * @param {(found: Map<string, object>, heard: any) => boolean} isEnough
 */
async function scan(html, isEnough) {
  mock.pages.set('scan', html);
  const page = await browser.newPage();
  await page.addInitScript(playBackground);
  await page.goto(mock.url('/scan'), { waitUntil: 'load' });
  await page.evaluate((path) => import(path), '/www/extension/content/main.js');
  const look = async () => {
    const heard = await page.evaluate(() => globalThis.heard);
    return { ...heard, found: new Map(heard.items.map((item) => [item.url.replace(/^https?:\/\/[^/]*/, ''), item])) };
  };
  let last;
  await until('the scan has found what it should', async () => isEnough((last = await look()).found, last), 20_000).catch((error) => {
    error.message += `; offered ${[...last.found.keys()].join(' ')}; ${JSON.stringify(last.tally)} ${last.errors}`;
    throw error;
  });
  await sleep(1200); // what it should not find has had its time too
  last = await look();
  return { ...last, page };
}

const named = (found, name) => [...found.values()].find(({ url }) => url.endsWith(`n=${name}`));

test(`${HOSTILE_COUNT} hostile elements hide no portrait`, async (t) => {
  assert.ok(HOSTILE_COUNT >= 50);
  const missing = (found) => GOOD.filter((name) => !named(found, name));
  const { found, tally, page, errors } = await scan(zooPage(mock.url('', CDN)), (found) => missing(found).length === 0);
  assert.deepEqual(missing(found), []);
  assert.deepEqual(errors.filter((message) => !/hostile/.test(message)), []);
  assert.ok(tally.unseen.address >= 10, JSON.stringify(tally.unseen));
  assert.ok(tally.unseen.canvas >= 1 && tally.unseen.element >= 1, JSON.stringify(tally.unseen));
  t.diagnostic(JSON.stringify(tally.unseen));
  await page.close();
});

/** A page of one piece for each name; the piece has the name in its address. */
const pageOf = (pieces) => `<!doctype html><html><head><meta charset="utf-8"><style>img,div{display:block}</style></head><body>${pieces.join('')}</body></html>`;
const photo = (name) => `/photo/plain-200.jpg?n=${name}`;
const sized = 'style="width:96px;height:96px"';

test('pictures are seen wherever a page shows them', async (t) => {
  const css = (rules) => `<style>${rules}</style>`;
  const pieces = {
    'background-children': (n) => `<div style="width:96px;height:96px;background:url(${photo(n)})"><b>Ana</b><img src="/photo/drawing.svg" width="8" height="8"></div>`,
    'background-layers': (n) => `<div style="width:96px;height:96px;background:linear-gradient(#0001,#0002),url(${photo(n)})"></div>`,
    'background-set': (n) => `<div style="width:96px;height:96px;background-image:image-set(url(${photo(n)}) 1x, url(${photo('other')}) 2x)"></div>`,
    'before-background': (n) => `${css(`.a::before{content:'';position:absolute;width:96px;height:96px;background:url(${photo(n)})}`)}<div class="a" style="height:0"></div>`,
    'after-content': (n) => `${css(`.b::after{content:url(${photo(n)})}`)}<span class="b"></span>`,
    'content-url': (n) => `<div style="width:96px;height:96px;content:url(${photo(n)})"></div>`,
    'content-on-img': (n) => `<img src="${photo('replaced')}" style="width:96px;height:96px;content:url(${photo(n)})">`,
    'input-image': (n) => `<input type="image" alt="" src="${photo(n)}" width="96" height="96">`,
    object: (n) => `<object type="image/jpeg" data="${photo(n)}" width="96" height="96"></object>`,
    embed: (n) => `<embed type="image/jpeg" src="${photo(n)}" width="96" height="96">`,
    poster: (n) => `<video poster="${photo(n)}" width="96" height="96"></video>`,
    'list-item': (n) => `<li style="width:96px;height:96px;background:url(${photo(n)}) center/cover"></li>`,
    'in-table': (n) => `<table><tr><td style="width:96px;height:96px;background:url(${photo(n)})">x</td></tr></table>`,
    picture: (n) => `<picture><source type="image/avif" srcset="/photo/plain-200.jpg?n=${n}&type=image/avif"><source type="image/jpeg" srcset="${photo('beside')}"><img src="${photo('beside-src')}" width="96" height="96"></picture>`,
    xlink: (n) => `<svg width="96" height="96"><image xlink:href="${photo(n)}" width="96" height="96"/></svg>`,
    pattern: (n) => `<svg width="96" height="96"><defs><pattern id="p" width="1" height="1"><image href="${photo(n)}" width="96" height="96"/></pattern></defs><circle cx="48" cy="48" r="48" fill="url(#p)"/></svg>`,
    slotted: (n) => `<x-slot><img src="${photo(n)}" width="96" height="96" slot="s"></x-slot>`,
    'late-class': () => '<div id="late" style="width:96px;height:96px"></div>',
    'late-node': () => '<div id="late-place"></div>',
  };
  const canvas = `<canvas id="drawn" width="96" height="96"></canvas><canvas id="later" width="96" height="96"></canvas><canvas id="closed" width="96" height="96"></canvas><canvas id="empty" width="96" height="96"></canvas>
    <script>
      const load = (source) => new Promise((resolve) => Object.assign(new Image(), { onload() { resolve(this); }, src: source }));
      const draw = async (id, source) => document.getElementById(id).getContext('2d').drawImage(await load(source), 0, 0, 96, 96);
      draw('drawn', '${photo('canvas')}');
      setTimeout(draw, 2500, 'later', '${photo('canvas')}');
      draw('closed', '${mock.url(photo('closed'), CDN)}');
      setTimeout(() => (late.style.backgroundImage = 'url(${photo('late-class')})'), 1500);
      setTimeout(() => document.querySelector('#late-place').append(Object.assign(document.createElement('div'), { style: 'width:96px;height:96px;background:url(${photo('late-node')})' })), 1500);
    </script>`;
  const html = pageOf([...Object.entries(pieces).map(([name, make]) => make(name)), canvas]);
  const missing = (found) => Object.keys(pieces).filter((name) => ![...found.values()].some(({ url }) => new RegExp(`n=${name}(&|$)`).test(url)));
  const canvases = (found) => [...found.keys()].filter((url) => url.startsWith('page:')).length;
  const { found, tally, page } = await scan(html, (found) => missing(found).length === 0 && canvases(found) === 2);
  assert.deepEqual(missing(found), []);
  assert.equal(canvases(found), 2, 'the two that can be read');
  assert.equal(tally.unseen.canvas, 2, 'one is closed, one empty');
  for (const name of ['replaced', 'other']) assert.ok(!named(found, name), `${name} is not shown`);
  const { others } = [...found.values()].find(({ url }) => url.includes('n=picture'));
  assert.deepEqual(others.map((url) => new URL(url).searchParams.get('n')), ['beside', 'beside-src']);
  // A canvas is read without loss.
  const name = [...found.keys()].find((url) => url.startsWith('page:'));
  const read = await page.evaluate((url) => globalThis.heard.tellContent({ type: 'read', url }), name);
  assert.equal(Buffer.from(read.value, 'base64').toString('latin1', 1, 4), 'PNG');
  t.diagnostic(JSON.stringify(tally.unseen));
  await page.close();
});

test('words put a portrait behind others, and never drop it', async () => {
  const plain = (name) => `/ads/plain-200.jpg?n=${name}`; // no word of a person in it
  const pieces = {
    manager: (n) => `<img alt="Product Manager" src="${plain(n)}" ${sized}>`,
    psicologo: (n) => `<img alt="psicólogo" class="psicologo" src="${plain(n)}" ${sized}>`,
    silicon: (n) => `<img alt="Silicon Valley" src="${plain(n)}" ${sized}>`,
    discover: (n) => `<img class="discover" src="${plain(n)}" ${sized}>`,
    ads: (n) => `<img src="${plain(n)}" ${sized}>`,
    logo: (n) => `<img class="logo" src="${plain(n)}" ${sized}>`,
    icon: (n) => `<div class="icon" style="width:96px;height:96px;background:url(${plain(n)})"></div>`,
    badge: (n) => `<img alt="Acme badge" src="${plain(n)}" ${sized}>`,
    wide: (n) => `<img src="${plain(n)}" style="width:400px;height:96px">`,
    'wide-named': (n) => `<img class="teamPhoto" src="${plain(n)}" style="width:180px;height:96px">`,
    little: (n) => `<img src="/photo/plain-48.jpg?n=${n}" ${sized}>`,
  };
  const html = pageOf(Object.entries(pieces).map(([name, make]) => make(name)));
  const wanted = ['manager', 'psicologo', 'silicon', 'discover', 'ads', 'logo', 'icon', 'badge'];
  const { found, tally, page } = await scan(html, (found) => wanted.every((name) => named(found, name)));
  const likely = wanted.filter((name) => named(found, name).likely);
  assert.deepEqual(likely, ['manager', 'psicologo', 'silicon', 'discover', 'ads']);
  assert.deepEqual(tally.unseen, { shape: 2, small: 1 });
  await page.close();
});

test('after an update of the extension the old script leaves in silence, and the new one takes over', async () => {
  const html = pageOf([`<img class="avatar" src="${photo('before')}" ${sized}>`, '<div id="place"></div>']);
  const { page, errors } = await scan(html, (found) => named(found, 'before'));
  // What a content script sees of an update: its own id is gone, and nobody answers.
  await page.evaluate((source) => {
    const { runtime } = globalThis.chrome;
    const rootsBefore = document.documentElement.children.length;
    globalThis.chrome = { ...globalThis.chrome, runtime: { ...runtime, id: undefined, sendMessage: () => Promise.reject(new Error('Extension context invalidated.')) } };
    Object.assign(globalThis, { rootsBefore, playedRuntime: runtime });
    document.querySelector('#place').innerHTML = `<img class="avatar" src="${source}" style="width:96px;height:96px">`;
  }, photo('meanwhile'));
  await until('its element is gone', () => page.evaluate(() => document.documentElement.children.length === globalThis.rootsBefore - 1), 20_000);
  await page.evaluate(async (path) => {
    globalThis.chrome = { ...globalThis.chrome, runtime: globalThis.playedRuntime };
    globalThis.heard.items.length = 0;
    await import(path);
  }, '/www/extension/content/main.js?after-the-update');
  await until('the new one has found both', async () => {
    const urls = await page.evaluate(() => globalThis.heard.items.map(({ url }) => url));
    return ['before', 'meanwhile'].every((name) => urls.some((url) => url.endsWith(`n=${name}`)));
  }, 20_000);
  assert.deepEqual(errors, []);
  await page.close();
});
