// Puts many photos through the page or the extension in headless Chromium, samples the memory of its processes every second,
// and has load.py draw it; says where the time went, and how many objects of the GPU are left. Linux only.
//
//   ./build.sh serve &
//   GRNET_BROWSER=$(command -v chromium) node tools/bulk/browser_load.mjs http://localhost:8000/ PHOTOS OUT [COUNT]
//   ./build.sh extension
//   GRNET_BROWSER=$(command -v chromium) node tools/bulk/browser_load.mjs dist/extension-chromium PHOTOS OUT [COUNT]
//
// The first argument is the page's address or the extension's folder, PHOTOS a folder of JPEG files, of which the first COUNT are
// taken, all at once. Writes OUT.csv, OUT.jsonl (the reports) and OUT.svg. With `?backend=gpu` behind the address the GPU
// computes, a software one too, and what the engine makes there is counted. Memory is what each process holds, with its share of what
// it has in common with others (PSS), but for mapped files: those are the browser's own. Processor time is as the browser counts it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { launchWith } from '../../tests/js/mock/browser.mjs';
import { startMock } from '../../tests/js/mock/server.mjs';
import { levelOf } from '../../www/extension/lib/verdict.js';

const [what, photos, out, count = '2000'] = process.argv.slice(2);
if (!out) throw new Error('usage: browser_load.mjs ADDRESS|EXTENSION PHOTOS OUT [COUNT]');
const executable = process.env.GRNET_BROWSER ?? assert.fail('GRNET_BROWSER is not set');
const ARGS = ['--no-sandbox', '--enable-unsafe-webgpu', '--disable-background-networking', '--disable-component-update', '--no-first-run'];
const EVERY_MS = 1000;
const LIST_MS = 30_000;
const PATIENCE_MS = 300_000;
/** How long nothing may come before the run is given up. */
const STALL_MS = 400_000;
/** What is left after everything was cleared is looked at after this time. */
const REST_MS = 15_000;
const files = readdirSync(photos).filter((name) => /\.jpe?g$/i.test(name)).sort().slice(0, Number(count));
/** So many photos are chosen in the end, one after the other, for the pictures that show what the network looks at. */
const LOOKED_AT = 12;
const MIB = 1024 * 1024;

// ---- Samples ---------------------------------------------------------------------------------------------------------

/** MiB of a process; 0 once it has ended. */
function memoryOf(id) {
  try {
    const rollup = readFileSync(`/proc/${id}/smaps_rollup`, 'utf8');
    return [...rollup.matchAll(/^Pss_(?:Anon|Shmem):\s+(\d+) kB/gm)].reduce((sum, [, kib]) => sum + Number(kib) / 1024, 0);
  } catch {
    return 0;
  }
}

/**
 * MiB of the wasm memory in a process: the largest mapping behind which the browser keeps addresses free, as it does for memory that
 * may grow.
 */
function wasmOf(id) {
  let [largest, last] = [0, { end: '', size: 0 }];
  for (const line of readFileSync(`/proc/${id}/maps`, 'utf8').split('\n')) {
    const [, start, end, rights] = /^(\w+)-(\w+) (\S+)/.exec(line) ?? [];
    if (!start) continue;
    const size = (parseInt(end, 16) - parseInt(start, 16)) / MIB;
    if (rights === '---p' && size > 1024 && start === last.end) largest = Math.max(largest, last.size);
    last = rights === 'rw-p' ? { end, size } : { end: '', size: 0 };
  }
  return largest;
}

/** What a process does, in one word. */
function roleOf({ id, type }) {
  if (type !== 'renderer') return type === 'browser' ? 'browser' : type === 'GPU' ? 'graphics' : 'services';
  try {
    return readFileSync(`/proc/${id}/cmdline`, 'utf8').includes('--extension-process') ? 'extension' : 'page';
  } catch {
    return 'page';
  }
}

/** The processes of a browser by role: `{page: {mib, seconds, ids}}`. */
async function processes(protocol) {
  const { processInfo } = await protocol.send('SystemInfo.getProcessInfo');
  const found = {};
  for (const one of processInfo) {
    const role = (found[roleOf(one)] ??= { mib: 0, seconds: 0, ids: [] });
    role.mib += memoryOf(one.id);
    role.ids.push(one.id);
    role.seconds += one.cpuTime;
  }
  return found;
}

/** @param {{ids: number[]}} role */
const wasmIn = ({ ids }) => Math.max(...ids.map(wasmOf));

/**
 * Samples until everything is done.
 * @param {{protocol: object, roles: string[], look: () => Promise<{done: number, note?: string}>}} options `look`: how far it is
 */
async function watch({ protocol, roles, look }) {
  const begun = performance.now();
  const seconds = () => (performance.now() - begun) / 1000;
  const before = await processes(protocol);
  const rows = [];
  const told = [];
  let last = { done: -1, at: 0 };
  for (let end = false; !end; ) {
    const now = await processes(protocol);
    const { done, note = '' } = await look();
    rows.push([seconds().toFixed(1), ...roles.map((role) => (now[role]?.mib ?? 0).toFixed(1))].join());
    if (done !== last.done) last = { done, at: seconds() };
    assert.ok(seconds() - last.at < STALL_MS / 1000, `nothing came for ${STALL_MS / 1000} s after ${done} photos`);
    end = done >= files.length;
    if (end || done >= (told.length + 1) * Math.ceil(files.length / 10)) {
      const used = roles.map((role) => `${role} ${(now[role]?.mib ?? 0).toFixed(0)} MiB`).join(', ') + `, wasm ${wasmIn(now[roles[0]]).toFixed(0)} MiB`;
      told.push(done);
      process.stdout.write(`${seconds().toFixed(0)} s: ${done} done, ${used}${note}\n`);
    }
    if (!end) await sleep(EVERY_MS);
  }
  const after = await processes(protocol);
  const used = Object.keys(after).map((role) => [role, after[role].seconds - (before[role]?.seconds ?? 0)]);
  const wall = seconds();
  const parts = used.map(([role, s]) => `${role} ${s.toFixed(1)}`).join(', ');
  const sum = used.reduce((total, [, s]) => total + s, 0);
  process.stdout.write(`${files.length} photos in ${wall.toFixed(1)} s, ${(files.length / wall).toFixed(2)} a second; processor ${sum.toFixed(1)} s: ${parts}\n`);
  writeFileSync(`${out}.csv`, `${['seconds', ...roles].join()}\n${rows.join('\n')}\n`);
}

/** @param {object[]} reports */
function finish(reports) {
  writeFileSync(`${out}.jsonl`, reports.map((report) => `${JSON.stringify(report)}\n`).join(''));
  const bands = {};
  for (const { band, reason } of reports) bands[reason ?? band] = (bands[reason ?? band] ?? 0) + 1;
  const kib = reports.reduce((sum, report) => sum + JSON.stringify(report).length, 0) / 1024 / reports.length;
  process.stdout.write(`${reports.length} reports of ${kib.toFixed(1)} KiB as JSON: ${JSON.stringify(bands)}\n`);
  const draw = fileURLToPath(new URL('load.py', import.meta.url));
  execFileSync('python3', [draw, '--samples', `${out}.csv`, '--reports', `${out}.jsonl`, '--svg', `${out}.svg`], { stdio: 'inherit' });
}

// ---- The page --------------------------------------------------------------------------------------------------------

/** Runs in the engine's worker before its own code: counts what it makes on the GPU and what of it is still there. */
function countGpu() {
  const kinds = {};
  globalThis.gpuObjects = kinds;
  const device = globalThis.GPUDevice?.prototype;
  for (const [method, kind] of [['createBuffer', 'buffers'], ['createTexture', 'textures'], ['createBindGroup', 'groups']]) {
    const counts = (kinds[kind] = { made: 0, live: 0, bytes: 0 });
    const gone = (token) => {
      if (token.isGone) return;
      token.isGone = true;
      counts.live -= 1;
      counts.bytes -= token.size;
    };
    const collected = new FinalizationRegistry(gone);
    const make = device?.[method];
    if (!make) continue;
    device[method] = function (...args) {
      const made = make.apply(this, args);
      const token = { isGone: false, size: args[0].size ?? 0 };
      counts.made += 1;
      counts.live += 1;
      counts.bytes += token.size;
      collected.register(made, token);
      const { destroy } = made;
      if (destroy) made.destroy = () => (gone(token), destroy.call(made));
      return made;
    };
  }
}

async function measurePage() {
  const isOnGpu = new URL(what).searchParams.get('backend') === 'gpu';
  const browser = await chromium.launch({ executablePath: executable, args: ARGS });
  // Only what passes no service worker can be changed on its way.
  const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, locale: 'en-GB', serviceWorkers: isOnGpu ? 'block' : 'allow' });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on('pageerror', (error) => process.stderr.write(`${error}\n`));
  if (isOnGpu) {
    await page.route('**/shared/worker.js', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `(${countGpu})();\n${await response.text()}` });
    });
  }
  await page.addInitScript(() => {
    globalThis.tasks = { count: 0, longest: 0 };
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) {
        globalThis.tasks.count += 1;
        globalThis.tasks.longest = Math.max(globalThis.tasks.longest, duration);
      }
    }).observe({ type: 'longtask', buffered: true });
  });
  await page.goto(what);
  await page.waitForSelector('#status:is([data-state=ready], [data-state=failed])');
  process.stdout.write(`Chromium ${browser.version()}, device ${await page.getAttribute('#status', 'data-build')}\n`);
  const protocol = await browser.newBrowserCDPSession();
  const own = await context.newCDPSession(page);
  await own.send('Performance.enable');
  const metrics = async () => Object.fromEntries((await own.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  const gpu = () => (isOnGpu ? page.workers()[0].evaluate(() => JSON.stringify(globalThis.gpuObjects)) : '');
  /** What is held, with what is only waiting to be collected gone. */
  const held = async (when) => {
    await own.send('HeapProfiler.enable');
    for (let n = 0; n < 3; n += 1) await own.send('HeapProfiler.collectGarbage');
    await sleep(REST_MS);
    const now = await processes(protocol);
    const { JSHeapUsedSize, Nodes } = await metrics();
    const rest = isOnGpu ? `, ${await gpu()}` : '';
    const used = ['page', 'graphics', 'browser'].map((role) => `${role} ${now[role].mib.toFixed(0)} MiB`).join(', ');
    process.stdout.write(`${when}: ${used}, JavaScript ${(JSHeapUsedSize / MIB).toFixed(1)} MiB, wasm ${wasmIn(now.page).toFixed(0)} MiB, ${Nodes} nodes${rest}\n`);
  };
  await held('loaded');
  const before = await metrics();
  await page.setInputFiles('#files', files.map((name) => resolve(photos, name)));
  await watch({
    protocol,
    roles: ['page', 'graphics', 'browser'],
    look: async () => {
      // The list of a single photo has no such bar.
      const done = await page.evaluate(() => document.querySelector('#queue-progress').value);
      return { done, note: `, JavaScript ${((await metrics()).JSHeapUsedSize / MIB).toFixed(0)} MiB ${await gpu()}` };
    },
  });
  const after = await metrics();
  const tasks = await page.evaluate(() => globalThis.tasks);
  const spent = ['TaskDuration', 'ScriptDuration', 'LayoutDuration', 'RecalcStyleDuration'].map((name) => `${name} ${(after[name] - before[name]).toFixed(1)} s`);
  process.stdout.write(`the page's own thread: ${spent.join(', ')}; ${tasks.count} tasks of more than 50 ms, the longest ${tasks.longest} ms\n`);
  await held('all judged');
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#keep-all')]);
  const reports = JSON.parse(readFileSync(await download.path(), 'utf8'));
  const judged = reports.filter(({ p_fake }) => p_fake !== null).map(({ file }) => file.name);
  const looked = judged.filter((name) => name !== files[0]).slice(0, LOOKED_AT);
  for (const name of looked) {
    await page.locator('.tile button', { hasText: name }).click();
    // Not waitForSelector, whose handle would hold the card.
    await page.waitForFunction(() => document.querySelector('.card .evidence:not([hidden])') !== null);
  }
  await held(`pictures for the eye made of ${looked.length} more`);
  await page.click('#clear');
  await held('cleared');
  await browser.close();
  finish(reports);
}

// ---- The extension -----------------------------------------------------------------------------------------------------

async function measureExtension() {
  const folder = mkdtempSync(join(tmpdir(), 'grnet-load-'));
  const mock = await startMock(new Map(files.map((name) => [name, { type: 'image/jpeg', body: readFileSync(join(photos, name)) }])));
  const images = files.map((name) => `<img class="avatar" width="72" height="72" src="/photo/${encodeURIComponent(name)}">`);
  mock.pages.set('load', `<!doctype html><meta charset="utf-8"><title>Many portraits</title><link rel="stylesheet" href="/mock.css"><div class="grid">${images.join('')}</div>`);
  const browser = await launchWith({ executable, path: resolve(what), mock, folder });
  const { protocol, view } = browser;
  process.stdout.write(`Chromium ${browser.context.browser().version()}\n`);
  /** What is held, with what is only waiting to be collected gone: the browser is told that memory is short. */
  const held = async (when) => {
    await protocol.send('Memory.simulatePressureNotification', { level: 'critical' });
    await sleep(REST_MS);
    const now = await processes(protocol);
    const stores = await Promise.all(['session', 'local'].map((area) => view.evaluate((name) => chrome.storage[name].getBytesInUse(null), area)));
    const used = ['extension', 'page', 'browser'].map((role) => `${role} ${now[role].mib.toFixed(0)} MiB`).join(', ');
    process.stdout.write(`${when}: ${used}, wasm ${wasmIn(now.extension).toFixed(0)} MiB; storage.session ${(stores[0] / MIB).toFixed(2)} MiB, storage.local ${(stores[1] / MIB).toFixed(2)} MiB\n`);
  };
  const { page, tabId } = await browser.open('/load');
  await page.waitForLoadState('load');
  await held('page open');
  /** How each picture ended, by its address: the extension itself keeps the last of them alone. */
  const ended = new Map();
  const list = [];
  await view.evaluate(() => {
    globalThis.ended = [];
    chrome.storage.session.onChanged.addListener((changes) => {
      for (const { newValue } of Object.values(changes)) {
        if (newValue?.value?.job && newValue.value.state && newValue.value.state !== 'waiting') {
          const { url, state, report, autoScan } = newValue.value;
          globalThis.ended.push({ url, state, report, autoScan });
        }
      }
    });
  });
  await page.evaluate(() => {
    globalThis.gaps = [];
    let last = performance.now();
    const tick = (now) => {
      globalThis.gaps.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  const popup = await browser.check(page, tabId);
  await popup.close();
  /** The extension's own requests bring no referrer. */
  const fetched = () => new Set(mock.requests.filter(({ path, referer }) => path.startsWith('/photo/') && !referer).map(({ path }) => path)).size;
  /** Notes how many pictures the extension lists, and the bytes of storage.session as the browser counts them. */
  const note = async () => {
    const { records, bytes } = await view.evaluate(async () => {
      const names = await chrome.storage.session.getKeys(); // the values would be megabytes, in the process that is measured
      return { records: names.filter((name) => name.startsWith('record/')).length, bytes: await chrome.storage.session.getBytesInUse(null) };
    });
    list.push([ended.size, records, (bytes / MIB).toFixed(1)]);
  };
  let longest = 0;
  let lastTake = performance.now();
  await watch({
    protocol,
    roles: ['extension', 'page', 'browser'],
    look: async () => {
      for (const { url, state, report, autoScan } of await view.evaluate(() => globalThis.ended.splice(0))) ended.set(url, { state, report, autoScan });
      const gap = await page.evaluate(() => globalThis.gaps.splice(0).reduce((most, gap) => Math.max(most, gap), 0));
      longest = Math.max(longest, gap);
      if (performance.now() - lastTake > LIST_MS) {
        lastTake = performance.now();
        await note();
      }
      return { done: ended.size };
    },
  });
  await note();
  process.stdout.write(`checked, of them listed, MiB of storage.session: ${list.map((row) => row.join(' ')).join('; ')}\n`);
  process.stdout.write(`the page's longest frame: ${longest.toFixed(0)} ms\n`);
  const states = {};
  for (const { state } of ended.values()) states[state] = (states[state] ?? 0) + 1;
  const flagged = [...ended.values()].filter(({ report, autoScan }) => report && levelOf(report, autoScan) === 'flag').length;
  const verdicts = Object.keys(await browser.storage('local')).filter((name) => name.startsWith('verdict/')).length;
  await sleep(REST_MS);
  const button = await view.evaluate((id) => chrome.action.getBadgeText({ tabId: id }), tabId);
  const now = await browser.popup(tabId);
  await now.waitForFunction(() => document.querySelector('#counts').textContent !== '');
  process.stdout.write(
    `${fetched()} pictures fetched, ${ended.size} ended ${JSON.stringify(states)}, ${flagged} of them flagged; ${verdicts} verdicts kept; the button says ${button}, the popup: ${await now.textContent('#counts')}\n`,
  );
  await now.close();
  await held('all checked');
  await page.close();
  await held('page closed');
  await browser.context.close();
  mock.close();
  rmSync(folder, { recursive: true, force: true });
  finish([...ended.values()].flatMap(({ report }) => (report ? [report] : [])));
}

await (/^https?:/.test(what) ? measurePage() : measureExtension());
