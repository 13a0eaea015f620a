// The page end to end in headless Chromium, with both builds: a real photo in, the report read, compared with the native
// program on the same file; no request after loading; nothing on the console; no layout shift while loading; without a
// network from the second visit on; in Firefox too, where there is one. What it looks like goes to dist/screenshots.
// Run by `./build.sh test`, which builds everything first and sets GRNET_BROWSER, GRNET_SERVER, GRNET_BIN, GRNET_VARIED and
// GRNET_MODEL.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { findFirefox, openFirefox } from './firefox.mjs';

const env = (name) => process.env[name] ?? assert.fail(`${name} is not set; run ./build.sh test`);
const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PHOTO = root('tests/pictures/astronaut.jpg');
const SCREENSHOTS = root('dist/screenshots');

/** SwiftShader's WebGPU takes seconds a run of the network, five of which a photo takes, and a busy machine longer. */
const PATIENCE_MS = 170_000;
/** Decoding and resizing are the same code; networks on two backends differ in the order of their sums. */
const TOLERANCE = 1e-3;
/** The browser's own decoder may differ so much (docs/robustness.md); for these files Chromium's gives the very pixels. */
const DECODER_TOLERANCE = 0.02;
/** Varied photos that have to get the same verdicts everywhere. */
const SAME = Number(process.env.GRNET_SAME ?? 24);
/** The browser itself may look for a newer service worker when it likes: the two fixed scripts, with nothing of a photo. */
const UPDATE_CHECK = ['GET /sw.js', 'GET /files.js'];

const ARGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

let server, browser, url;
/** Every request the server has seen, as `GET /path`. */
let served;
/** What the server was asked for from the `start`th request on, but for the browser's own look for a new version. */
const asked = (start) => served.slice(start).filter((line) => !UPDATE_CHECK.includes(line));

/** A server of the site on a free port. */
async function serve() {
  const process = spawn(env('GRNET_SERVER'), [root('dist/site'), '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: process.stdout });
  const address = await new Promise((resolve) => lines.once('line', resolve));
  const requests = [];
  lines.on('line', (line) => requests.push(line.replace(/ HTTP.*/, '')));
  return { process, address, requests };
}

before(async () => {
  rmSync(SCREENSHOTS, { recursive: true, force: true });
  mkdirSync(SCREENSHOTS, { recursive: true });
  ({ process: server, address: url, requests: served } = await serve());
  browser = await chromium.launch({ executablePath: env('GRNET_BROWSER'), args: ARGS });
});

after(async () => {
  await browser?.close();
  server?.kill();
});

/** What the native program says of a file, with the page's settings. */
function native(file) {
  const args = ['detect', '--json', '--stability', '--device', 'cpu', '--model', env('GRNET_MODEL'), file];
  return JSON.parse(execFileSync(env('GRNET_BIN'), args, { encoding: 'utf8' }).trim());
}

/**
 * A page with an empty cache; `problems` collects console errors and exceptions. `prepare` may route requests, which
 * only those are subject to that pass no service worker.
 */
async function open(query, options = {}, prepare = undefined) {
  const serviceWorkers = prepare ? 'block' : 'allow';
  const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, locale: 'en-GB', serviceWorkers, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const problems = [];
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  const hosts = new Set();
  // blob: is the page's own preview of the photo, read from memory.
  context.on('request', (request) => request.url().startsWith('blob:') || hosts.add(new URL(request.url()).host));
  await prepare?.(page);
  await page.addInitScript(() => {
    globalThis.shifts = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) globalThis.shifts += entry.value;
    }).observe({ type: 'layout-shift', buffered: true });
  });
  await page.goto(url + query);
  return { page, context, problems, hosts };
}

async function ready(page) {
  await page.waitForSelector('#status:is([data-state=ready], [data-state=failed])');
  assert.equal(await page.getAttribute('#status', 'data-state'), 'ready', await page.textContent('#note'));
}

/** Waits until `count` photos are done and gives their bands, in the order of the grid. */
async function bands(page, count) {
  const item = count > 1 ? '.tile' : '.card';
  const done = `${item}:not([data-band=waiting], [data-band=working])`;
  await page.waitForFunction(([d, n]) => document.querySelectorAll(d).length >= n, [done, count]);
  return page.$$eval(item, (items) => items.map(({ dataset }) => dataset.band));
}

/** The report shown; of several photos that of tile `index`. */
async function report(page, index = null) {
  if (index !== null) await page.locator('.tile button').nth(index).click();
  return JSON.parse(await page.locator('.report').textContent());
}

/** What the page hands to the browser to be saved. */
async function saved(page, click) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.click(click)]);
  return { name: download.suggestedFilename(), content: readFileSync(await download.path(), 'utf8') };
}

/** Runs in the page: drops `[{name, base64}]` on it. */
const DROP = (list) => {
  const transfer = new DataTransfer();
  for (const { name, base64 } of list) {
    transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
  }
  dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, cancelable: true }));
};
const encoded = (files) => files.map(({ name, bytes }) => ({ name, base64: Buffer.from(bytes).toString('base64') }));

/** Drops files on the page as a person would. */
const drop = (page, files) => page.evaluate(DROP, encoded(files));
const dropInFirefox = (firefox, files) => firefox.evaluate(`(${DROP})(${JSON.stringify(encoded(files))})`);

const shoot = (page, name) => page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage: true });

/** No serious finding of the accessibility checker. */
async function accessible(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
  assert.ok(passes.length > 10, 'the checker ran');
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`), []);
}

/** Files of tests/golden/avif, written by make_avifs.py. */
const avif = (name) => root(`tests/golden/avif/${name}`);

/** A report on an AVIF picture that the browser decoded is the native one on the same pixels, and says whose they are. */
function sameAsDecoded(found, name) {
  const expected = native(avif(`${name}.webp`));
  assert.deepEqual([found.file.format, found.file.notes], ['avif', ['browser_decoded']], name);
  assert.deepEqual([found.file.height_px, found.file.width_px, found.band], [expected.file.height_px, expected.file.width_px, expected.band], name);
  assert.ok(Math.abs(found.p_fake - expected.p_fake) <= DECODER_TOLERANCE, `${name}: ${found.p_fake}, natively ${expected.p_fake}`);
  const worst = Math.max(...['x', 'y', 'width', 'height'].map((edge) => Math.abs(found.faces[0].box[edge] - expected.faces[0].box[edge])));
  assert.ok(worst < 1, `${name}: the box differs by ${worst} pixels`);
}

const astronaut = () => ({ name: 'astronaut.jpg', bytes: readFileSync(PHOTO) });

/** Varied photos of the one free face, the first `count` of those that `tests/same.rs` judges, and what the native program says of each. */
function varied(count) {
  const folder = mkdtempSync(join(tmpdir(), 'grnet-varied-'));
  execFileSync(env('GRNET_VARIED'), [folder, String(count)]);
  const files = readdirSync(folder).map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
  const args = ['detect', '--json', '--stability', '--device', 'cpu', '--model', env('GRNET_MODEL'), folder];
  // Lines of reports, and an exit status that tells of photos without a face.
  const { stdout } = spawnSync(env('GRNET_BIN'), args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line));
  const expected = new Map(lines.map((report) => [basename(report.file.name), report]));
  rmSync(folder, { recursive: true });
  assert.equal(expected.size, count);
  return { files, expected };
}

/** Holds reports against the native program's; tells the largest difference of p_fake. */
function same(t, what, reports, expected) {
  assert.equal(reports.length, expected.size, what);
  let worst = 0;
  let judged = 0;
  for (const found of reports) {
    const wanted = expected.get(found.file.name);
    assert.equal(found.faces.length, wanted.faces.length, `${what}, ${found.file.name}`);
    assert.equal(found.band, wanted.band, `${what}, ${found.file.name}`);
    assert.equal(found.p_fake === null, wanted.p_fake === null, `${what}, ${found.file.name}`);
    if (found.p_fake === null) continue;
    judged += 1;
    worst = Math.max(worst, Math.abs(found.p_fake - wanted.p_fake));
  }
  t.diagnostic(`${what}: p_fake differs by at most ${worst.toExponential(1)} from the native program's in ${judged} judged of ${reports.length} files`);
  assert.ok(judged > reports.length / 2 && worst <= TOLERANCE, `${what}: ${judged} judged, ${worst}`);
}

/** The status line for a request target as it is, which fetch() would tidy up. */
function status(target) {
  return new Promise((resolve, reject) => {
    const socket = connect(new URL(url).port, '127.0.0.1', () => socket.write(`GET ${target} HTTP/1.1\r\n\r\n`));
    createInterface({ input: socket }).once('line', resolve);
    socket.once('error', reject);
  });
}

test('the page has a policy that lets nothing in from elsewhere', async () => {
  const html = readFileSync(root('dist/site/index.html'), 'utf8');
  const policy = html.match(/Content-Security-Policy"\s+content="([^"]+)"/)[1];
  assert.match(policy, /^default-src 'none';/);
  assert.doesNotMatch(policy, /https?:|unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')|\*/);
  const site = ['index.html', 'main.js', 'style.css', 'sw.js', 'shared/worker.js'].map((f) => readFileSync(root(`dist/site/${f}`), 'utf8'));
  for (const text of site) assert.doesNotMatch(text, /(src|href)="https?:|import\(?['"]https?:|url\(['"]?https?:/);
});

test('the browser holds the page to it: no request elsewhere, no foreign code or style', async () => {
  const { page, context } = await open('');
  const found = await page.evaluate(async () => {
    const refused = new Set();
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => refused.add(effectiveDirective));
    const elsewhere = 'http://elsewhere.invalid/';
    await fetch(elsewhere).catch(() => {});
    const made = [
      ['script', { textContent: 'globalThis.foreign = true' }],
      ['style', { textContent: 'body { display: none }' }],
      ['img', { src: `${elsewhere}a.png` }],
      ['iframe', { src: elsewhere }],
    ];
    for (const [name, properties] of made) document.body.append(Object.assign(document.createElement(name), properties));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const isHidden = getComputedStyle(document.body).display === 'none';
    return { refused: [...refused].sort(), foreign: globalThis.foreign ?? null, isHidden };
  });
  const refused = ['connect-src', 'frame-src', 'img-src', 'script-src-elem', 'style-src-elem'];
  assert.deepEqual(found, { refused, foreign: null, isHidden: false });
  await context.close();
});

test('the server serves the site and nothing outside it', async () => {
  assert.match(await status('/'), / 200 /);
  assert.match(await status('/shared/view.js'), / 200 /);
  for (const target of ['/../screenshots', '/shared/../../../Cargo.toml', '//etc/passwd', '/nowhere']) {
    assert.match(await status(target), / 404 /, target);
  }
});

for (const build of ['cpu', 'gpu']) {
  test(`${build} build: a dropped photo gets the native program's report, without a request`, async (t) => {
    const expected = native(PHOTO);
    const firstServed = served.length;
    const started = performance.now();
    const { page, context, problems, hosts } = await open(`?backend=${build}`);
    await ready(page);
    const readyMs = performance.now() - started;
    assert.equal(await page.getAttribute('#status', 'data-build'), build, await page.textContent('#note'));
    const wasm = served.slice(firstServed).filter((line) => line.includes('.wasm'));
    assert.equal(wasm.length, 1, `one wasm for both devices: ${wasm}`);
    if (build === 'cpu') await shoot(page, 'empty');

    const shifts = await page.evaluate(() => globalThis.shifts);
    assert.ok(shifts < 0.05, `the layout moves while loading: ${shifts}`);

    const servedWhenReady = served.length;
    await context.setOffline(true);
    const dropped = performance.now();
    await drop(page, [astronaut()]);
    const [band] = await bands(page, 1);
    const verdictMs = performance.now() - dropped;
    const found = await report(page);
    t.diagnostic(`ready ${Math.round(readyMs)} ms, verdict ${Math.round(verdictMs)} ms, ${JSON.stringify(found.timings_ms)}`);

    assert.equal(found.schema, 'grnet.report/1');
    assert.equal(found.faces.length, expected.faces.length);
    assert.ok(found.faces.length > 0, 'the picture shows a face');
    found.faces.forEach((face, index) => {
      const wanted = expected.faces[index];
      assert.deepEqual(face.box, wanted.box);
      assert.deepEqual(face.quality, wanted.quality);
      assert.ok(Math.abs(face.p_fake - wanted.p_fake) < TOLERANCE, `p_fake ${face.p_fake}, natively ${wanted.p_fake}`);
      assert.equal(face.band, wanted.band);
      assert.deepEqual(face.meaning, wanted.meaning);
      const pairs = [
        [face.map.values, wanted.map.values],
        [face.stability.scores.map((s) => s.p_fake), wanted.stability.scores.map((s) => s.p_fake)],
      ];
      for (const [values, expectedValues] of pairs) {
        assert.equal(values.length, expectedValues.length);
        values.forEach((value, i) => assert.ok(Math.abs(value - expectedValues[i]) < TOLERANCE, `${value}, natively ${expectedValues[i]}`));
      }
    });
    assert.deepEqual(found.provenance, expected.provenance);
    assert.deepEqual(found.settings, expected.settings);
    assert.equal(found.band, expected.band);
    assert.equal(band, expected.band);
    assert.equal(found.file.sha256, expected.file.sha256);
    assert.equal(found.model.id, expected.model.id);

    // Three different pictures lie over each other, and the sliders move them.
    const painted = await page.$$eval('.viewer canvas', (canvases) =>
      canvases.map((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return { side: canvas.width, mean: data.filter((_, i) => i % 4 < 3).reduce((sum, v) => sum + v, 0) / data.length };
      }),
    );
    assert.equal(painted.length, 3);
    for (const { side, mean } of painted) assert.ok(side === found.model.input_px && mean > 0, `side ${side}, mean ${mean}`);
    assert.ok(Math.abs(painted[0].mean - painted[1].mean) > 1 && Math.abs(painted[0].mean - painted[2].mean) > 1);
    await page.locator('input.divide').fill('80');
    await page.locator('input.heat').fill('0');
    const [clip, opacity] = await page.evaluate(() => [
      getComputedStyle(document.querySelector('.viewer .residual')).clipPath,
      getComputedStyle(document.querySelector('.viewer .heat')).opacity,
    ]);
    assert.deepEqual([clip, opacity], ['inset(0px 20% 0px 0px)', '0']);
    await page.locator('input.divide').fill('50');
    await page.locator('input.heat').fill('40');

    await shoot(page, `result-${build}`);
    assert.deepEqual(asked(servedWhenReady), [], 'no request to the server after loading');
    assert.equal(await page.textContent('#request-count'), '0');
    assert.deepEqual([...hosts], [new URL(url).host], 'no request to any other host, ever');

    // What is kept: JSON and a page, both without the network, and both confirmed by the native program.
    const folder = mkdtempSync(join(tmpdir(), 'grnet-'));
    for (const form of ['json', 'html']) {
      const { name, content } = await saved(page, `.keep-${form}`);
      assert.equal(name, `astronaut-grnet.${form}`);
      writeFileSync(join(folder, name), content);
      const args = ['verify-report', join(folder, name), PHOTO, '--device', 'cpu', '--model', env('GRNET_MODEL')];
      assert.match(execFileSync(env('GRNET_BIN'), args, { encoding: 'utf8' }), /^confirmed/);
    }
    if (build === 'cpu') {
      const kept = await context.newPage();
      await kept.goto(`file://${join(folder, 'astronaut-grnet.html')}`);
      assert.equal(await kept.evaluate(() => [...document.images].filter((image) => image.naturalWidth > 0).length), 3);
      await shoot(kept, 'kept-report');
      await accessible(kept);
      await kept.close();
    }
    rmSync(folder, { recursive: true });
    assert.deepEqual(problems, []);
    await context.close();
  });
}

test('cold: seconds from the address to the first verdict on a photo of one megapixel', async (t) => {
  const { page, context } = await open('?backend=cpu');
  await ready(page);
  const base64 = await page.evaluate(async (data) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]));
    const canvas = Object.assign(document.createElement('canvas'), { width: 1000, height: 1000 });
    canvas.getContext('2d').drawImage(bitmap, 0, 0, 1000, 1000);
    return canvas.toDataURL('image/jpeg', 0.92).split(',')[1];
  }, readFileSync(PHOTO).toString('base64'));
  await context.close();
  const started = performance.now();
  const cold = await open('?backend=cpu');
  const interactiveMs = performance.now() - started;
  await drop(cold.page, [{ name: 'megapixel.jpg', bytes: Buffer.from(base64, 'base64') }]);
  await bands(cold.page, 1);
  t.diagnostic(`interactive ${Math.round(interactiveMs)} ms, verdict ${Math.round(performance.now() - started)} ms`);
  assert.equal((await report(cold.page)).file.width_px, 1000);
  await cold.context.close();
});

test('offline: once loaded, the site opens and checks without its server', async () => {
  const own = await serve();
  const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, locale: 'en-GB' });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(`${own.address}?backend=cpu`);
  await ready(page);
  own.process.kill();
  await context.setOffline(true);
  await page.reload();
  await ready(page);
  await drop(page, [astronaut()]);
  await bands(page, 1);
  assert.equal((await report(page)).faces.length, 1);
  await shoot(page, 'offline');
  await context.close();
});

test('what a file says about itself is shown beside the verdict', async () => {
  const { page, context } = await open('?backend=cpu');
  await ready(page);
  const { bytes } = astronaut();
  const type = 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia';
  const packet = `http://ns.adobe.com/xap/1.0/\0<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description
    xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" e:DigitalSourceType="${type}"/></r:RDF>`;
  const length = Buffer.alloc(2);
  length.writeUInt16BE(packet.length + 2);
  const marked = Buffer.concat([bytes.subarray(0, 2), Buffer.from([0xff, 0xe1]), length, Buffer.from(packet, 'latin1'), bytes.subarray(2)]);
  await drop(page, [{ name: 'marked.jpg', bytes: marked }]);
  await bands(page, 1);
  const { provenance, p_fake: pFake } = await report(page);
  assert.deepEqual(provenance.marks.map(({ kind, value }) => [kind, value]), [['digital_source_type', 'trainedAlgorithmicMedia']]);
  assert.match(await page.textContent('.provenance dd'), /made by a trained model/);
  // Browser and native program may round the last bit of a float differently; a mark that counted would do more.
  assert.ok(Math.abs(pFake - native(PHOTO).p_fake) < 1e-6, 'it is no part of the score');
  await page.locator('.card').screenshot({ path: `${SCREENSHOTS}/provenance.png` });
  await context.close();
});

test('the gallery: a sample is checked at a press, without a request', async () => {
  const { page, context, problems } = await open('?backend=cpu');
  await ready(page);
  assert.equal(await page.locator('#samples button').count(), 4);
  const before = served.length;
  for (const index of [0, 1, 2, 3]) await page.locator('#samples button').nth(index).click();
  await bands(page, 4);
  assert.deepEqual(asked(before), []);
  assert.equal(await page.textContent('#request-count'), '0');
  await page.selectOption('#sort', 'score');
  await shoot(page, 'gallery');
  await accessible(page);
  // The highest score stands first: the forgery that was picked because the model notices it.
  assert.equal((await report(page, 0)).file.name, 'forgery-1.jpg');
  assert.equal(await page.getAttribute('.card', 'data-band'), native(root('dist/site/gallery/forgery-1.jpg')).band);
  await page.locator('input.heat').fill('75');
  await page.locator('.card').screenshot({ path: `${SCREENSHOTS}/result-fake.png` });
  assert.deepEqual(problems, []);
  await context.close();
});

test('many photos: stopped and gone on with, sorted, chosen, saved as one file', async () => {
  const { page, context, problems } = await open('?backend=cpu');
  await ready(page);
  const files = Array.from({ length: 8 }, (_, index) => ({ ...astronaut(), name: `photo-${8 - index}.jpg` }));
  await drop(page, files);
  await page.click('#stop');
  await shoot(page, 'grid-stopped');
  // The one under way is finished, no other is begun.
  await page.waitForFunction(() => !document.querySelector('.tile[data-band=working]'));
  const done = await page.locator('.tile:not([data-band=waiting])').count();
  assert.ok(done < 8, `${done} photos were done before the stop`);
  assert.equal(await page.textContent('#queue'), `Stopped: ${done} of 8 photos checked`);
  await page.click('#stop');
  await bands(page, 8);
  await page.selectOption('#sort', 'name');
  assert.equal(await page.textContent('.tile .name >> nth=0'), 'photo-1.jpg');
  assert.equal((await report(page, 2)).file.name, 'photo-3.jpg');
  // Its pictures for the eye are made when it is shown.
  await page.waitForSelector('.card .evidence:not([hidden])');
  const { name, content } = await saved(page, '#keep-all');
  assert.equal(name, 'grnet-reports.json');
  assert.equal(JSON.parse(content).length, 8);
  await shoot(page, 'grid');
  await accessible(page);
  assert.deepEqual(problems, []);
  await context.close();
});

// GRNET_SAME=200 asks for all; SwiftShader's WebGPU takes a second a photo and more.
for (const [build, count] of [['cpu', SAME], ['gpu', Math.ceil(SAME / 6)]]) {
  test(`${build} build: ${count} varied photos get the native program's verdicts`, async (t) => {
    const { files, expected } = varied(count);
    const { page, context, problems } = await open(`?backend=${build}`);
    await ready(page);
    assert.equal(await page.getAttribute('#status', 'data-build'), build, await page.textContent('#note'));
    await drop(page, files);
    await page.waitForFunction(
      (n) => document.querySelectorAll('.tile:not([data-band=waiting], [data-band=working])').length >= n,
      count,
      { timeout: PATIENCE_MS + count * 10_000 },
    );
    const { content } = await saved(page, '#keep-all');
    same(t, `Chromium, ${build}`, JSON.parse(content), expected);
    assert.deepEqual(problems, []);
    await context.close();
  });
}

test('the page speaks German where the browser does, and changes its language at once', async () => {
  const { page, context, problems } = await open('?backend=cpu', { locale: 'de-DE' });
  await drop(page, [astronaut()]);
  await bands(page, 1);
  assert.equal(await page.getAttribute('html', 'lang'), 'de');
  assert.match(await page.textContent('#queue'), /geprüft/);
  await shoot(page, 'german');
  await accessible(page);
  await page.selectOption('#language', 'en');
  assert.equal(await page.textContent('#queue'), 'Photo checked');
  await page.reload();
  assert.equal(await page.getAttribute('html', 'lang'), 'en', 'the choice is kept');
  assert.deepEqual(problems, []);
  await context.close();
});

test('a PNG that states a chunk of four gigabytes is told as any broken file, where addresses have 32 bits too', async () => {
  const { page, context, problems } = await open('?backend=cpu');
  const header = Buffer.from('89504e470d0a1a0a0000000d4948445200000040000000400802000000250be689', 'hex');
  // With its own 12 bytes such a chunk ends where it begins, for who does not look.
  const chunk = Buffer.concat([Buffer.from('fffffff4', 'hex'), Buffer.from('IDAT'), Buffer.alloc(64)]);
  await drop(page, [{ name: 'chunk.png', bytes: Buffer.concat([header, chunk]) }, astronaut()]);
  assert.equal((await bands(page, 2))[0], 'not_assessed');
  assert.match((await report(page, 0)).reason, /^(unreadable|damaged)$/);
  assert.deepEqual(problems, [], 'nothing broke in the worker');
  await context.close();
});

test('AVIF: the browser decodes what it shows like others, the report says so; everything else is refused by its name', async () => {
  const { page, context, problems } = await open('?backend=cpu');
  await ready(page);
  const whole = readFileSync(avif('face.avif'));
  const zeroed = Buffer.concat([whole.subarray(0, 5000), Buffer.alloc(whole.length - 5000)]);
  // The first property that states a size, made one of a billion pixels.
  const huge = Buffer.from(whole);
  for (const side of [8, 12]) huge.writeUInt32BE(32_000, huge.indexOf('ispe') + side);
  const heic = Buffer.concat([Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1'), whole.subarray(24)]);
  const files = [
    { name: 'face.jpg?w=400', bytes: whole },
    { name: 'turned.avif', bytes: readFileSync(avif('turned.avif')) },
    { name: 'cut.avif', bytes: whole.subarray(0, 5000) },
    { name: 'zeroed.avif', bytes: zeroed },
    { name: 'huge.avif', bytes: huge },
    { name: 'deep.avif', bytes: readFileSync(avif('deep.avif')) },
    { name: 'photo.avif', bytes: heic },
  ];
  const servedBefore = served.length;
  await context.setOffline(true);
  await drop(page, files);
  await bands(page, files.length);
  sameAsDecoded(await report(page, 0), 'face');
  assert.match(await page.textContent('.card .meaning'), /Your browser decoded this AVIF picture; its score may differ by up to 0\.06/);
  assert.match(await page.textContent('.provenance .explain'), /not looked for in AVIF files/);
  assert.equal(await page.locator('.evidence').isVisible(), true);
  await page.evaluate(() => document.querySelector('.card').scrollIntoView());
  await shoot(page, 'avif');
  await accessible(page);
  sameAsDecoded(await report(page, 1), 'turned');
  for (const [index, { name }] of files.entries()) {
    if (index < 2) continue;
    const { band, reason, p_fake: pFake, file } = await report(page, index);
    assert.deepEqual([band, reason, pFake, file.width_px], ['not_assessed', 'unreadable', null, 0], name);
    const kind = name === 'photo.avif' ? /This is an HEIC photo, which cannot be checked\.$/ : /This is an AVIF picture, which cannot be checked\. .*damaged, very large, or of more than 8 bits a colour\.$/;
    assert.match(await page.textContent('.card .meaning'), kind, name);
    assert.match(await page.textContent('.card .help'), /Save the picture in one of these forms/, name);
  }
  assert.deepEqual(asked(servedBefore), [], 'decoding asks for nothing');
  assert.deepEqual(problems, []);
  await context.close();
});

test('AVIF: a browser that cannot decode it, or changes pixels, says what it says of all files that are not read', async () => {
  const breaks = {
    'no WebCodecs': 'delete globalThis.VideoFrame;',
    'pixels changed against fingerprinting':
      'const { copyTo } = VideoFrame.prototype; VideoFrame.prototype.copyTo = async function (to, options) { const layout = await copyTo.call(this, to, options); to[40] ^= 1; return layout; };',
  };
  for (const [what, code] of Object.entries(breaks)) {
    const { page, context, problems } = await open('?backend=cpu', {}, (opened) =>
      opened.route('**/shared/worker.js', async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, body: `${await response.text()}\n${code}` });
      }),
    );
    await drop(page, [{ name: 'face.avif', bytes: readFileSync(avif('face.avif')) }]);
    assert.deepEqual(await bands(page, 1), ['not_assessed'], what);
    assert.match(await page.textContent('.card .meaning'), /This is an AVIF picture, which cannot be checked/, what);
    assert.deepEqual(problems, [], what);
    await context.close();
  }
});

test('several photos: a broken one and one without a face do not stop the next; all are told apart', async () => {
  const { page, context, problems } = await open('?backend=cpu');
  // Before the model is there: photos wait for it.
  const files = [
    { name: 'broken.jpg', bytes: Buffer.from('this is no picture') },
    { name: 'coffee.jpg', bytes: readFileSync(root('tests/pictures/coffee.jpg')) },
    astronaut(),
  ];
  await drop(page, files);
  const found = await bands(page, 3);
  assert.deepEqual(found.slice(0, 2), ['not_assessed', 'not_assessed']);
  assert.ok(['likely_fake', 'inconclusive', 'no_signs_found'].includes(found[2]), found[2]);
  assert.equal((await report(page, 0)).reason, 'unreadable');
  assert.equal((await report(page, 1)).reason, 'no_face');
  assert.equal(await page.textContent('#queue'), 'All 3 photos checked');
  await shoot(page, 'several');
  await accessible(page);

  for (const [index, name] of [[0, 'broken'], [1, 'no-face']]) {
    await page.locator('.tile button').nth(index).click();
    await page.locator('.card').screenshot({ path: `${SCREENSHOTS}/${name}.png` });
  }

  await page.click('#clear');
  assert.equal(await page.locator('.card, .tile').count(), 0);
  // The file dialog's way in, after clearing.
  await page.setInputFiles('#files', PHOTO);
  await bands(page, 1);
  assert.deepEqual(problems, []);
  await context.close();
});

test('two faces: both are judged, boxes and buttons choose between them', async () => {
  const { page, context } = await open('?backend=cpu');
  await ready(page);
  // Two copies side by side, made in the page and dropped as a PNG.
  const base64 = await page.evaluate(async (data) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]));
    const canvas = Object.assign(document.createElement('canvas'), { width: bitmap.width * 2, height: bitmap.height });
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0);
    context.drawImage(bitmap, bitmap.width, 0);
    return canvas.toDataURL('image/png').split(',')[1];
  }, readFileSync(PHOTO).toString('base64'));
  await drop(page, [{ name: 'two.png', bytes: Buffer.from(base64, 'base64') }]);
  await bands(page, 1);
  const { faces } = await report(page);
  assert.ok(faces.length >= 2, `found ${faces.length} faces`);
  assert.equal(await page.locator('.boxes button').count(), faces.length);
  await page.locator('.chooser button').nth(1).click();
  assert.match(await page.textContent('.which h3'), /^Face 2 of/);
  await page.locator('.boxes button').nth(0).click();
  assert.match(await page.textContent('.which h3'), /^Face 1 of/);
  assert.equal(await page.locator('.chooser button').nth(0).getAttribute('aria-pressed'), 'true');
  await shoot(page, 'two-faces');
  await context.close();
});

test('a software GPU is passed by for the CPU, and the page says so', async () => {
  const { page, context } = await open('');
  await ready(page);
  assert.equal(await page.getAttribute('#status', 'data-build'), 'cpu');
  assert.match(await page.textContent('#note'), /so the CPU computes/);
  await context.close();
});

test('a GPU that fails the self-check is replaced by the CPU, with a note', async () => {
  // The WGSL is changed on its way to the GPU: what has to cut negative values off cuts positive ones.
  const wrong = `{
    const { createShaderModule } = GPUDevice.prototype;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      return createShaderModule.call(this, { ...descriptor, code: descriptor.code.replace('max(value, vec4', 'min(value, vec4') });
    };
  }\n`;
  const { page, context } = await open('?backend=gpu', {}, (page) =>
    page.route('**/shared/worker.js', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: wrong + (await response.text()) });
    }),
  );
  await ready(page);
  assert.equal(await page.getAttribute('#status', 'data-build'), 'cpu');
  assert.equal(await page.textContent('#note'), 'The GPU gave wrong answers in the self-check, so the CPU computes.');
  await shoot(page, 'self-check-failed');
  await context.close();
});

test('a damaged model is refused and not kept; trying again loads the right one', async () => {
  let damaged = true;
  const { page, context } = await open('?backend=cpu', {}, (page) =>
    page.route('**/grnet.safetensors*', async (route) => {
      if (!damaged) return route.continue();
      const response = await route.fetch();
      const body = await response.body();
      body[body.length >> 1] ^= 1;
      await route.fulfill({ response, body });
    }),
  );
  await page.waitForSelector('#status[data-state=failed]');
  assert.match(await page.textContent('#note'), /expected the model with sha-256/);
  await shoot(page, 'error');
  damaged = false;
  await page.click('#retry');
  await ready(page);
  await context.close();
});

test('the model is kept: a second visit does not fetch it again', async () => {
  const { page, context } = await open('?backend=cpu');
  await ready(page);
  const before = served.length;
  await page.reload();
  await ready(page);
  const fetched = asked(before);
  assert.deepEqual(fetched, [], 'nothing but the look for a newer version');
  await context.close();
});

test('loading shows its progress in bytes', async () => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  const { page, context } = await open('?backend=cpu', {}, (page) =>
    page.route('**/grnet.safetensors*', async (route) => {
      await held;
      await route.continue();
    }),
  );
  await page.waitForFunction(() => /Loading the model: 0 B of \d/.test(document.querySelector('#status-text').textContent));
  await drop(page, [astronaut()]);
  await shoot(page, 'loading');
  release();
  await ready(page);
  await bands(page, 1);
  await context.close();
});

test('a dropped text is told to be none', async () => {
  const { page, context } = await open('?backend=cpu');
  await ready(page);
  await page.evaluate(() => {
    const transfer = new DataTransfer();
    transfer.setData('text/plain', 'https://example.org/photo.jpg');
    dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, cancelable: true }));
  });
  assert.match(await page.textContent('#note'), /not a picture file/);
  await context.close();
});

test('dark colours, a 360 px phone, and the keyboard', async () => {
  const { page, context, problems } = await open('?backend=cpu', { colorScheme: 'dark' });
  for (let step = 0; step < 3; step += 1) await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'files', 'three steps to choosing a photo');
  await page.setInputFiles('#files', PHOTO);
  await bands(page, 1);
  await shoot(page, 'dark');
  await accessible(page);

  await page.setViewportSize({ width: 360, height: 740 });
  await page.emulateMedia({ colorScheme: 'light' });
  const overflow = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} px wider than the phone`);
  await shoot(page, 'phone');
  await accessible(page);
  await drop(page, [astronaut(), { name: 'broken.jpg', bytes: Buffer.from('no picture') }]);
  await bands(page, 3);
  assert.ok((await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth)) <= 0);
  await shoot(page, 'phone-grid');

  await page.setViewportSize({ width: 1920, height: 1080 });
  await shoot(page, 'wide');
  assert.deepEqual(problems, []);
  await context.close();
});

const FIREFOX = findFirefox();
test('Firefox: the CPU build gives the same reports', { skip: FIREFOX ? false : 'no firefox was found' }, async (t) => {
  const { firefox, close } = await openFirefox(FIREFOX, `${url}?backend=cpu`);
  try {
    await firefox.until(`document.querySelector('#status').dataset.state !== 'starting'`, PATIENCE_MS);
    assert.equal(await firefox.evaluate(`document.querySelector('#status').dataset.state`), 'ready');
    await dropInFirefox(firefox, [astronaut()]);
    await firefox.until(`document.querySelector('.report')?.textContent.length > 0`, PATIENCE_MS);
    const found = JSON.parse(await firefox.evaluate(`document.querySelector('.report').textContent`));
    const expected = native(PHOTO);
    assert.equal(found.band, expected.band);
    assert.ok(Math.abs(found.p_fake - expected.p_fake) < TOLERANCE, `${found.p_fake}, natively ${expected.p_fake}`);
    assert.deepEqual(found.faces[0].box, expected.faces[0].box);
    assert.equal(await firefox.evaluate(`document.querySelector('#request-count').textContent`), '0');
    writeFileSync(`${SCREENSHOTS}/firefox.png`, await firefox.screenshot());

    await firefox.evaluate(`document.querySelector('#clear').click()`);
    await dropInFirefox(firefox, [{ name: 'face.avif', bytes: readFileSync(avif('face.avif')) }]);
    await firefox.until(`document.querySelector('.report')?.textContent.length > 0`, PATIENCE_MS);
    sameAsDecoded(JSON.parse(await firefox.evaluate(`document.querySelector('.report').textContent`)), 'face');

    const { files, expected: all } = varied(Math.ceil(SAME / 6));
    await firefox.evaluate(`document.querySelector('#clear').click()`);
    await dropInFirefox(firefox, files);
    const done = `document.querySelectorAll('.tile:not([data-band=waiting], [data-band=working])').length >= ${files.length}`;
    await firefox.until(done, PATIENCE_MS);
    const reports = [];
    for (const index of files.keys()) {
      await firefox.evaluate(`document.querySelectorAll('.tile button')[${index}].click()`);
      reports.push(JSON.parse(await firefox.evaluate(`document.querySelector('.report').textContent`)));
    }
    same(t, 'Firefox', reports, all);
  } finally {
    await close();
  }
});
