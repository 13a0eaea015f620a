// Faults of the browser, injected into the built page in headless Chromium: what the reader is told, that no photo is lost, and
// that the next one is judged. The server and the files it serves are the test's (mock/site.mjs), so that both can do harm.
// Run by `./build.sh test`, which builds the site and sets GRNET_BROWSER.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { startSite } from './mock/site.mjs';

const BROWSER = process.env.GRNET_BROWSER ?? assert.fail('GRNET_BROWSER is not set; run ./build.sh test');
const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const PHOTO = readFileSync(root('tests/pictures/astronaut.jpg'));
const MODEL = '/model/grnet.safetensors';
/** SwiftShader's WebGPU takes seconds a run of the network, and a busy machine longer. */
const PATIENCE_MS = 120_000;
/** The client gives a worker up that is silent for so long. */
const SILENCE_MS = 180_000;

const folder = mkdtempSync(join(tmpdir(), 'grnet-faults-'));
let site, browser;
/** Contexts of the test that runs. */
const contexts = [];

before(async () => {
  // A copy: the built site may be built anew meanwhile.
  cpSync(process.env.GRNET_SITE ?? root('dist/site'), folder, { recursive: true });
  site = await startSite(folder);
  browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox', '--enable-unsafe-webgpu', '--disable-background-networking', '--no-first-run'] });
});

afterEach(async () => {
  site.changes.clear();
  site.cuts.clear();
  for (const context of contexts.splice(0)) await context.close();
});

after(async () => {
  await browser?.close();
  site?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Puts code before the engine worker's own. */
const inWorker = (code) => site.changes.set('/shared/worker.js', (body) => `{ ${code} }\n${body}`);

/** Code that runs `harm` when the worker is given the photo of this name, before the worker sees it. */
const onPhoto = (name, harm) =>
  `addEventListener('message', (event) => { if (event.data.type === 'assess' && event.data.name === '${name}') { ${harm} } });`;

/** `keeps`: whether the site's service worker is there, which keeps its files from the test's further changes. */
async function newContext({ keeps = false } = {}) {
  if (keeps) site.missing.clear();
  else site.missing.add('/sw.js');
  const context = await browser.newContext({ locale: 'en-GB' });
  contexts.push(context);
  return context;
}

/** A page with an empty cache, or another one of a context. */
async function open(query = '?backend=cpu', { context, prepare } = {}) {
  const page = await (context ?? (await newContext())).newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  await prepare?.(page);
  await page.goto(site.url + query);
  return page;
}

/** What the page says of its engine, once it has started or failed. */
async function engine(page) {
  await page.waitForSelector('#status:is([data-state=ready], [data-state=failed])');
  return page.$eval('#status', ({ dataset }) => ({ state: dataset.state, build: dataset.build, text: document.querySelector('#status-text').textContent, note: document.querySelector('#note').textContent }));
}

const ready = async (page, build = 'cpu') => {
  const { state, build: found, note } = await engine(page);
  assert.deepEqual([state, found], ['ready', build], note);
  return note;
};

/** Gives photos by name, as from the file dialog. */
const give = (page, files) =>
  page.setInputFiles('#files', Object.entries(files).map(([name, buffer]) => ({ name, mimeType: 'image/jpeg', buffer })));

/** The bands of so many photos, once all are done. */
async function bands(page, count) {
  const item = count > 1 ? '.tile' : '.card';
  const done = `${item}:not([data-band=waiting], [data-band=working])`;
  // By the clock: a page in the background has no frames.
  await page.waitForFunction(([d, n]) => document.querySelectorAll(d).length >= n, [done, count], { polling: 100 });
  return page.$$eval(item, (items) => items.map(({ dataset }) => dataset.band));
}

const isJudged = (band) => ['likely_fake', 'inconclusive', 'no_signs_found'].includes(band);
const allJudged = (found) => assert.ok(found.every(isJudged), found.join());
const report = async (page) => JSON.parse(await page.textContent('.card .report'));

/** What the card of a photo says. */
async function card(page, index) {
  await page.locator('.tile button').nth(index).click();
  return page.textContent('.card .meaning');
}

// ---- The GPU ---------------------------------------------------------------------------------------------------------

test('no WebGPU, no adapter, no device, no memory for the weights: the CPU computes, and the page says why', async () => {
  const cases = [
    [`Object.defineProperty(navigator, 'gpu', { value: undefined });`, /^This browser offers no WebGPU/],
    ['GPU.prototype.requestAdapter = async () => null;', /^No GPU could be reached/],
    [`GPU.prototype.requestAdapter = () => Promise.reject(new DOMException('the GPU process is gone'));`, /^No GPU could be reached/],
    [`GPUAdapter.prototype.requestDevice = () => Promise.reject(new DOMException('played refusal', 'OperationError'));`, /^No GPU could be reached/],
    [`GPUDevice.prototype.popErrorScope = async () => new GPUOutOfMemoryError('played');`, /^The GPU could not be set up \(.*Out of Memory\)/],
  ];
  for (const [harm, words] of cases) {
    inWorker(harm);
    const page = await open('?backend=gpu');
    assert.match(await ready(page), words);
    if (harm === cases.at(-1)[0]) {
      await give(page, { 'a.jpg': PHOTO });
      allJudged(await bands(page, 1));
    }
    assert.deepEqual(page.problems, []);
    await page.context().close();
  }
});

for (const [what, where, harm] of [
  // When its crops go up.
  ['runs out of memory', 'GPUDevice.prototype.createBuffer', `GPUDevice.prototype.popErrorScope = async () => new GPUOutOfMemoryError('played');`],
  // When its network is on its way. Chromium refuses the mapping once the GPU is through with what it was given; here, never.
  ['is destroyed', 'GPUQueue.prototype.submit', 'GPUBuffer.prototype.mapAsync = () => new Promise(() => {}); return device.destroy();'],
]) {
  test(`a GPU that ${what} in the middle of a photo: the CPU judges that one and the rest, and the page says so`, async () => {
    inWorker(`
      let device;
      const { requestDevice } = GPUAdapter.prototype;
      GPUAdapter.prototype.requestDevice = async function (...given) { return (device = await requestDevice.apply(this, given)); };
      let armed = false;
      ${onPhoto('first.jpg', 'armed = true;')}
      const original = ${where};
      ${where} = function (...given) {
        if (armed) { armed = false; ${harm} }
        return original.apply(this, given);
      };`);
    const page = await open('?backend=gpu');
    assert.equal(await ready(page, 'gpu'), '');
    await give(page, { 'first.jpg': PHOTO, 'second.jpg': PHOTO, 'third.jpg': PHOTO });
    allJudged(await bands(page, 3));
    assert.equal(await ready(page), 'The GPU went away, so the CPU computes.');
    assert.match((await report(page)).backend, /^cpu/);
    assert.equal(await page.textContent('#queue'), 'All 3 photos checked');
    assert.deepEqual(page.problems, []);
  });
}

test('pictures for the eye give their GPU buffers back, and wait for no garbage collector', async () => {
  inWorker(`
    globalThis.buffers = { made: 0, held: 0 };
    const { createBuffer } = GPUDevice.prototype;
    const { destroy } = GPUBuffer.prototype;
    GPUDevice.prototype.createBuffer = function (...given) { buffers.made += 1; buffers.held += 1; return createBuffer.apply(this, given); };
    GPUBuffer.prototype.destroy = function () { buffers.held -= 1; return destroy.call(this); };`);
  const page = await open('?backend=gpu');
  await ready(page, 'gpu');
  const counts = [];
  for (const count of [1, 2]) {
    await give(page, { [`${count}.jpg`]: PHOTO });
    allJudged(await bands(page, count));
    counts.push(await page.workers()[0].evaluate(() => globalThis.buffers));
  }
  const [first, second] = counts;
  assert.ok(second.made > first.made, `${second.made} buffers made, ${first.made} of them for the first photo: is nothing drawn?`);
  assert.equal(second.held, first.held);
});

// ---- The worker and its memory ---------------------------------------------------------------------------------------

/** The wasm with a memory of at most so many pages of 64 KiB: what lies beyond is refused, as by a browser without any. */
const withMemory = (pages) => (wasm) => {
  const leb = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >> 7)]);
  let at = 8;
  const number = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  for (;;) {
    const start = at;
    const kind = wasm[at++];
    const length = number();
    if (kind === 5) {
      const end = at + length;
      at += 2; // one memory, whose flags say that it has no limit
      const section = [1, 1, ...leb(number()), ...leb(pages)];
      return Buffer.concat([wasm.subarray(0, start), Buffer.from([5, ...leb(section.length), ...section]), wasm.subarray(end)]);
    }
    at += length;
  }
};

/** A grey JPEG of so many pixels a side, of 2 bits a block: codes of one bit each say "the same" and "no more". */
function greyJpeg(side) {
  const segment = (marker, ...body) => [0xff, marker, (body.length + 2) >> 8, (body.length + 2) & 255, ...body];
  const codes = (table) => segment(0xc4, table, 1, ...Array(15).fill(0), 0);
  const high = [side >> 8, side & 255];
  const frame = segment(0xc0, 8, ...high, ...high, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0);
  const scan = segment(0xda, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0);
  const head = [0xff, 0xd8, ...segment(0xdb, 0, ...Array(64).fill(1)), ...frame, ...codes(0), ...codes(0x10), ...scan];
  return Buffer.concat([Buffer.from(head), Buffer.alloc(Math.ceil((Math.ceil(side / 8) ** 2 * 3) / 4)), Buffer.from([0xff, 0xd9])]);
}

test('a photo for which memory is lacking is told so, and the others are judged', async () => {
  site.changes.set('/pkg/grnet_bg.wasm', withMemory(3000));
  const page = await open();
  await ready(page);
  await give(page, { 'first.jpg': PHOTO, 'large.jpg': greyJpeg(7000), 'last.jpg': PHOTO });
  const found = await bands(page, 3);
  assert.equal(found[1], 'failed');
  allJudged([found[0], found[2]]);
  assert.match(await card(page, 1), /There is not enough memory: the browser gave \d+ MB\./);
  // Negative control: the photo itself is not at fault.
  site.changes.clear();
  const roomy = await open();
  await give(roomy, { 'large.jpg': greyJpeg(7000) });
  assert.deepEqual(await bands(roomy, 1), ['not_assessed']);
  assert.equal((await report(roomy)).reason, 'no_face');
});

test('a model for which memory is lacking: told, and loaded at a press once there is some', async () => {
  site.changes.set('/pkg/grnet_bg.wasm', withMemory(1000));
  const page = await open();
  const { state, note } = await engine(page);
  assert.equal(state, 'failed');
  assert.match(note, /^There is not enough memory: the browser gave \d+ MB$/);
  site.changes.clear();
  await page.click('#retry');
  await page.waitForSelector('#status[data-state=ready]');
  await give(page, { 'a.jpg': PHOTO });
  allJudged(await bands(page, 1));
});

test('a worker that fails in the middle of a photo: told, and a new one judges the rest', async () => {
  inWorker(onPhoto('bad.jpg', `event.stopImmediatePropagation(); throw new Error('played fault');`));
  const page = await open();
  await ready(page);
  await give(page, { 'first.jpg': PHOTO, 'bad.jpg': PHOTO, 'last.jpg': PHOTO });
  const found = await bands(page, 3);
  assert.equal(found[1], 'failed');
  allJudged([found[0], found[2]]);
  assert.match(await card(page, 1), /An internal error: .*played fault/);
});

test('a worker that ends without a word is given up in time; the photos behind it are judged', async () => {
  inWorker(onPhoto('silent.jpg', 'event.stopImmediatePropagation(); close();'));
  const page = await open('?backend=cpu', { prepare: (page) => page.clock.install() });
  await ready(page);
  await give(page, { 'silent.jpg': PHOTO, 'next.jpg': PHOTO });
  await page.waitForSelector('.tile[data-band=working]');
  await page.clock.runFor(SILENCE_MS + 1000);
  const found = await bands(page, 2);
  assert.deepEqual([found[0], isJudged(found[1])], ['failed', true]);
  assert.match(await card(page, 0), /There was no answer in time: no answer in 180 s/);
});

// ---- Files on their way, and the browser's cache -----------------------------------------------------------------------

test('files that break off on their way are told, and come whole at a press', async () => {
  for (const path of [MODEL, '/pkg/grnet_bg.wasm', '/pkg/grnet.js', '/shared/worker.js']) {
    site.cuts.set(path, 0.5);
    const page = await open();
    const { state, note } = await engine(page);
    assert.equal(state, 'failed', path);
    assert.match(note, /^A file could not be loaded: /, path);
    site.cuts.clear();
    await page.click('#retry');
    await page.waitForSelector('#status[data-state=ready]');
    assert.deepEqual(page.problems, [], path);
    await page.context().close();
  }
});

test('where the page’s own code breaks off, its first words say what to do', async () => {
  site.cuts.set('/shared/strings.js', 0.5);
  const page = await open();
  assert.match(await page.textContent('#status-text'), /should these words stay, reload it/);
  site.cuts.clear();
  await page.reload();
  await ready(page);
});

test('a model cut or changed in the browser’s cache is fetched again, once, and mended', async () => {
  const page = await open();
  await ready(page);
  for (const harm of ['cut', 'changed', 'none']) {
    await page.evaluate(async (harm) => {
      const cache = await caches.open('grnet-model');
      const [key] = await cache.keys();
      const bytes = new Uint8Array(await (await cache.match(key)).arrayBuffer());
      if (harm === 'changed') bytes[bytes.length >> 1] ^= 1;
      await cache.put(key, new Response(bytes.subarray(0, harm === 'cut' ? bytes.length >> 1 : bytes.length)));
    }, harm);
    site.asked.length = 0;
    await page.reload();
    await ready(page);
    assert.equal(site.asked.filter((path) => path === MODEL).length, harm === 'none' ? 0 : 1, harm);
  }
  await give(page, { 'a.jpg': PHOTO });
  allJudged(await bands(page, 1));
});

test('without room in the browser’s storage everything works, and is fetched anew the next time', async () => {
  // Room for the page's files but not the code; for the code but not the model.
  for (const [bytes, visits] of [[1_000_000, 2], [8_000_000, 1]]) {
    const context = await newContext({ keeps: true });
    const page = await open('?backend=cpu', {
      context,
      prepare: async (page) => {
        const protocol = await context.newCDPSession(page);
        await protocol.send('Storage.overrideQuotaForOrigin', { origin: new URL(site.url).origin, quotaSize: bytes });
      },
    });
    for (let visit = 1; visit <= visits; visit += 1) {
      site.asked.length = 0;
      if (visit > 1) await page.reload();
      await ready(page);
      assert.equal(site.asked.filter((path) => path === MODEL).length, 1, `the model is not kept, ${bytes}, visit ${visit}`);
    }
    await give(page, { 'a.jpg': PHOTO });
    allJudged(await bands(page, 1));
    assert.deepEqual(page.problems, []);
    await context.close();
  }
});

// ---- Tabs --------------------------------------------------------------------------------------------------------------

test('two tabs at once: both load and judge, and the model is kept once', async () => {
  const context = await newContext({ keeps: true });
  const pages = await Promise.all([open('?backend=cpu', { context }), open('?backend=cpu', { context })]);
  const names = ['a.jpg', 'b.jpg', 'c.jpg'];
  await Promise.all(pages.map((page) => give(page, Object.fromEntries(names.map((name) => [name, PHOTO])))));
  const reports = [];
  for (const page of pages) {
    allJudged(await bands(page, 3));
    reports.push(await report(page));
    assert.deepEqual(page.problems, []);
  }
  assert.equal(reports[0].p_fake, reports[1].p_fake);
  assert.equal(await pages[0].evaluate(async () => (await (await caches.open('grnet-model')).keys()).length), 1);
  // One goes, in the middle of its work; the other does not notice.
  await Promise.all(pages.map((page) => give(page, { 'd.jpg': PHOTO })));
  await pages[0].close();
  allJudged(await bands(pages[1], 4));
});

test('a tab in the background goes on; one that was frozen goes on where it was', async () => {
  // What the page sees of it, played, as a headless browser shows all of its tabs: no frames, and clocks that ring once a second.
  const hidden = () => {
    Object.defineProperties(document, { visibilityState: { value: 'hidden' }, hidden: { value: true } });
    const { setTimeout } = globalThis;
    globalThis.requestAnimationFrame = () => 0;
    globalThis.requestIdleCallback = () => 0;
    globalThis.setTimeout = (ring, ms = 0, ...given) => setTimeout(ring, Math.max(ms, 1000), ...given);
  };
  const page = await open('?backend=cpu', { prepare: (page) => page.addInitScript(hidden) });
  await ready(page);
  await give(page, { 'a.jpg': PHOTO, 'b.jpg': PHOTO });
  allJudged(await bands(page, 2));

  const protocol = await page.context().newCDPSession(page);
  await give(page, { 'c.jpg': PHOTO, 'd.jpg': PHOTO });
  await protocol.send('Page.setWebLifecycleState', { state: 'frozen' });
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await protocol.send('Page.setWebLifecycleState', { state: 'active' });
  allJudged(await bands(page, 4));
});

test('a machine that slept for an hour in the middle of a photo: the photo is judged all the same', async () => {
  // The worker holds its answer until it is told to go on.
  inWorker(`
    let open; const gate = new Promise((resolve) => (open = resolve));
    new BroadcastChannel('wake').onmessage = open;
    const { postMessage } = globalThis;
    globalThis.postMessage = async (message, ...rest) => {
      if (message.value?.report) await gate;
      postMessage(message, ...rest);
    };`);
  const page = await open('?backend=cpu', { prepare: (page) => page.clock.install() });
  await ready(page);
  await give(page, { 'a.jpg': PHOTO });
  await page.waitForSelector('.card[data-band=working]');
  await page.clock.fastForward(3_600_000);
  await page.evaluate(() => new BroadcastChannel('wake').postMessage(null));
  allJudged(await bands(page, 1));
});
