// The page end to end in headless Chromium, with both builds: a real photo in, the report read, compared with the native
// program on the same file; no request after loading; nothing on the console; what it looks like in dist/screenshots.
// Run by `./build.sh test`, which builds everything first and sets GRNET_BROWSER, GRNET_SERVER, GRNET_BIN, GRNET_MODEL.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const env = (name) => process.env[name] ?? assert.fail(`${name} is not set; run ./build.sh test`);
const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PHOTO = root('tests/pictures/astronaut.jpg');
const SCREENSHOTS = root('dist/screenshots');

/** SwiftShader's WebGPU takes seconds a photo, and a busy machine longer. */
const PATIENCE_MS = 120_000;
/** Decoding and resizing are the same code; networks on two backends differ in the order of their sums. */
const TOLERANCE = 1e-3;

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
const served = [];

before(async () => {
  rmSync(SCREENSHOTS, { recursive: true, force: true });
  mkdirSync(SCREENSHOTS, { recursive: true });
  server = spawn(env('GRNET_SERVER'), [root('dist/site'), '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: server.stdout });
  url = await new Promise((resolve) => lines.once('line', resolve));
  lines.on('line', (line) => served.push(line.replace(/ HTTP.*/, '')));
  browser = await chromium.launch({ executablePath: env('GRNET_BROWSER'), args: ARGS });
});

after(async () => {
  await browser?.close();
  server?.kill();
});

/** What the native program says of a file. */
function native(file) {
  const args = ['detect', '--json', '--device', 'cpu', '--model', env('GRNET_MODEL'), file];
  return JSON.parse(execFileSync(env('GRNET_BIN'), args, { encoding: 'utf8' }).trim());
}

/** A page with an empty cache; `problems` collects console errors and exceptions. */
async function open(query, options = {}, prepare = async () => {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const problems = [];
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  const hosts = new Set();
  // blob: is the page's own preview of the photo, read from memory.
  context.on('request', (request) => request.url().startsWith('blob:') || hosts.add(new URL(request.url()).host));
  await prepare(page);
  await page.goto(url + query);
  return { page, context, problems, hosts };
}

async function ready(page) {
  await page.waitForSelector('#status:is([data-state=ready], [data-state=failed])');
  assert.equal(await page.getAttribute('#status', 'data-state'), 'ready', await page.textContent('#note'));
}

/** Waits until `count` photos are done and gives their bands. */
async function bands(page, count) {
  const done = '.card:not([data-band=waiting], [data-band=working])';
  await page.waitForFunction(([d, n]) => document.querySelectorAll(d).length >= n, [done, count]);
  return page.$$eval('.card', (cards) => cards.map((card) => card.dataset.band));
}

async function report(page, index = 0) {
  return JSON.parse(await page.locator('.report').nth(index).textContent());
}

/** Drops files on the page as a person would. */
async function drop(page, files) {
  const data = files.map(({ name, bytes }) => ({ name, base64: Buffer.from(bytes).toString('base64') }));
  await page.evaluate((list) => {
    const transfer = new DataTransfer();
    for (const { name, base64 } of list) {
      transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
    }
    dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, cancelable: true }));
  }, data);
}

const shoot = (page, name) => page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage: true });

/** No serious finding of the accessibility checker. */
async function accessible(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
  assert.ok(passes.length > 10, 'the checker ran');
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`), []);
}

const astronaut = () => ({ name: 'astronaut.jpg', bytes: readFileSync(PHOTO) });

/** The status line for a request target as it is, which fetch() would tidy up. */
function status(target) {
  return new Promise((resolve, reject) => {
    const socket = connect(new URL(url).port, '127.0.0.1', () => socket.write(`GET ${target} HTTP/1.1\r\n\r\n`));
    createInterface({ input: socket }).once('line', resolve);
    socket.once('error', reject);
  });
}

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
    const other = build === 'cpu' ? 'pkg-gpu' : 'pkg-cpu';
    assert.deepEqual(served.slice(firstServed).filter((line) => line.includes(other)), [], 'only the needed wasm');
    if (build === 'cpu') await shoot(page, 'empty');

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
    });
    assert.equal(found.band, expected.band);
    assert.equal(band, expected.band);
    assert.equal(found.file.sha256, expected.file.sha256);
    assert.equal(found.model.id, expected.model.id);

    // The residual picture is there and is no copy of the photo.
    const painted = await page.$$eval('.pair canvas', (canvases) =>
      canvases.map((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return { side: canvas.width, mean: data.filter((_, i) => i % 4 < 3).reduce((sum, v) => sum + v, 0) / data.length };
      }),
    );
    assert.equal(painted.length, 2);
    for (const { side, mean } of painted) assert.ok(side === found.model.input_px && mean > 0, `side ${side}, mean ${mean}`);
    assert.ok(Math.abs(painted[0].mean - painted[1].mean) > 1);

    await shoot(page, `result-${build}`);
    assert.deepEqual(served.slice(servedWhenReady), [], 'no request to the server after loading');
    assert.equal(await page.textContent('#request-count'), '0');
    assert.deepEqual([...hosts], [new URL(url).host], 'no request to any other host, ever');
    assert.deepEqual(problems, []);
    await context.close();
  });
}

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

  await page.locator('.card').nth(0).screenshot({ path: `${SCREENSHOTS}/broken.png` });
  await page.locator('.card').nth(1).screenshot({ path: `${SCREENSHOTS}/no-face.png` });

  await page.click('#clear');
  assert.equal(await page.locator('.card').count(), 0);
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
  const wrong = `export default async () => {};
    export class Engine {
      static async load() { return new Engine(); }
      async self_check() { return { ok: false, filter_max_abs: 1, network_max_abs: 1, message: 'wrong' }; }
      free() {}
    }`;
  const { page, context } = await open('?backend=gpu', {}, (page) =>
    page.route('**/pkg-gpu/grnet.js', (route) => route.fulfill({ contentType: 'text/javascript', body: wrong })),
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
  const fetched = served.slice(before);
  assert.ok(fetched.length > 0);
  assert.deepEqual(fetched.filter((line) => line.includes('safetensors')), []);
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
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'files', 'two steps to choosing a photo');
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
  assert.deepEqual(problems, []);
  await context.close();
});
