// The whole extension in headless Chromium but for its detector, which is played (mock/worker.js): what it sees of pages, what
// it says it did not see, and what happens when parts of it are lost. Needs no wasm; run by `./build.sh test`, which sets
// GRNET_BROWSER.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { assemble } from './mock/assemble.mjs';
import { launchWith, until } from './mock/browser.mjs';
import { drawPictures } from './mock/pictures.mjs';
import { CDN, SOCIAL, startMock } from './mock/server.mjs';
import { GOOD, zooPage } from './mock/zoo.mjs';

const BROWSER = process.env.GRNET_BROWSER ?? assert.fail('GRNET_BROWSER is not set; run ./build.sh test');
const PATIENCE_MS = 40_000;

const folder = mkdtempSync(join(tmpdir(), 'grnet-played-'));
let mock, browser;

before(async () => {
  const drawing = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox'] });
  mock = await startMock(await drawPictures(await drawing.newPage()));
  await drawing.close();
  mkdirSync(join(folder, 'extension'));
  const path = assemble(join(folder, 'extension'), 'chromium');
  browser = await launchWith({ executable: BROWSER, path, mock, folder });
});

after(async () => {
  await browser?.context.close();
  mock?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The last bytes of a picture tell the played detector what to say. */
const photo = (name, more = '') => `/photo/plain-200.jpg?n=${name}${more}`;
const img = (name, more) => `<img class="avatar" src="${photo(name, more)}" width="200" height="200" alt="">`;

async function openPage(path, html) {
  mock.pages.set(path, `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${path}</title></head><body>${html}</body></html>`);
  return browser.open(`/${path}`);
}

const nameOf = (url) => /n=([\w-]+)/.exec(url)?.[1] ?? url;
async function named(tabId) {
  return new Map([...(await browser.records(tabId)).values()].map((record) => [nameOf(record.url), record]));
}

/** Waits until these pictures are answered; gives all records by name. */
async function answered(tabId, names) {
  let found;
  await until(`${names} are answered`, async () => {
    found = await named(tabId);
    return names.every((name) => found.has(name) && found.get(name).state !== 'waiting');
  }, PATIENCE_MS).catch((error) => {
    error.message += `; missing ${names.filter((name) => !found.has(name))}, states ${[...found].map(([name, { state }]) => `${name} ${state}`)}`;
    throw error;
  });
  return found;
}

/** What the popup says was not checked: reason -> [count, words]. */
async function reasons(popup, expected) {
  await popup.waitForFunction(
    (wanted) => wanted.every((why) => document.querySelector(`#unseen li[data-why="${why}"]`)),
    expected,
    { timeout: PATIENCE_MS },
  );
  await popup.click('#unseen-count');
  const rows = await popup.$$eval('#unseen li', (items) => items.map((item) => [item.dataset.why, Number(item.firstChild.textContent), item.lastChild.textContent]));
  return new Map(rows.map(([why, count, words]) => [why, { count, words }]));
}

test('a page full of hostile elements is checked like any other', async () => {
  mock.pages.set('zoo', zooPage(mock.url('', CDN)));
  const { page, tabId } = await browser.open('/zoo');
  browser.problems.length = 0; // its own script may fail
  const popup = await browser.check(page, tabId);
  const records = await answered(tabId, GOOD);
  for (const name of GOOD) assert.equal(records.get(name).state, 'done', name);
  const why = await reasons(popup, ['address', 'canvas']);
  assert.ok(why.get('address').count >= 8);
  await popup.close();
  await page.close();
});

test('frames are looked into, or listed with their site', async () => {
  mock.pages.set('inner', img('in-frame'));
  mock.pages.set('nested', '<iframe src="/inner" width="300" height="300"></iframe>');
  mock.pages.set('foreign', img('in-foreign'));
  mock.pages.set('late', img('in-late'));
  const { page, tabId } = await openPage(
    'frames',
    `${img('outside')}
    <iframe src="/nested" width="400" height="400"></iframe>
    <iframe srcdoc='${img('in-srcdoc')}' width="300" height="300"></iframe>
    <iframe id="written" width="300" height="300"></iframe>
    <iframe src="${mock.url('/foreign', CDN)}" width="300" height="300"></iframe>
    <iframe src="${mock.url('/foreign', CDN)}" width="1" height="1"></iframe>
    <div id="place"></div>
    <script>document.querySelector('#written').contentDocument.body.innerHTML = '${img('in-written')}';</script>`,
  );
  const popup = await browser.check(page, tabId);
  const seen = ['outside', 'in-frame', 'in-srcdoc', 'in-written'];
  let records = await answered(tabId, seen);
  for (const name of seen) assert.equal(records.get(name).state, 'done', name);
  assert.ok(!records.has('in-foreign'));
  let why = await reasons(popup, ['frame']);
  assert.equal(why.get('frame').count, 1, JSON.stringify([...why]));
  assert.match(why.get('frame').words, /cdn\.example/);

  // One that comes later.
  await page.evaluate(() => (document.querySelector('#place').innerHTML = '<iframe src="/late" width="300" height="300"></iframe>'));
  await answered(tabId, ['in-late']);

  // With permission for its site, the foreign one is looked into as well.
  const asksFor = () => /permission for cdn\.example\./.test(document.querySelector('#framed:not([hidden]) #framed-text')?.textContent);
  await popup.waitForFunction(asksFor, null, { timeout: PATIENCE_MS });
  await browser.allow(`http://${CDN}/*`);
  await popup.bringToFront();
  await popup.click('#allow-frames');
  records = await answered(tabId, ['in-foreign']);
  assert.equal(records.get('in-foreign').state, 'done');
  await popup.waitForFunction(() => !document.querySelector('#unseen li[data-why="frame"]'), null, { timeout: PATIENCE_MS });
  await browser.view.evaluate((origins) => chrome.permissions.remove({ origins }), [`http://${CDN}/*`]);
  await popup.close();
  await page.close();
});

test('what the host, the address or the file keeps from being checked has its sentence', async () => {
  const { page, tabId } = await openPage(
    'reasons',
    `${img('fine')}
    ${img('as-text', '&type=text/plain')}
    ${img('undecodable', '&unreadable')}
    <img class="logo" src="${mock.url('/ads/plain-200.jpg?n=ornament', CDN)}" width="96" height="96">
    <img class="avatar" src="${mock.url('/ads/plain-200.jpg?n=elsewhere', CDN)}" width="96" height="96">
    <img class="avatar" src="/photo/drawing.svg" width="96" height="96">
    <img class="avatar" src="http://127.0.0.1:${mock.port}${photo('inner')}" width="96" height="96">
    <img class="avatar" src="/redirect/?to=${photo('redirected')}" width="96" height="96">
    <img class="avatar" src="/photo/plain-48.jpg?n=small" width="96" height="96">
    <img src="/ads/plain-200.jpg?n=wide" style="width:500px;height:100px">
    <picture><source type="image/avif" srcset="${photo('avif', '&unreadable&type=image/avif')}"><img class="avatar" src="${photo('beside')}" width="96" height="96"></picture>`,
  );
  const popup = await browser.check(page, tabId);
  const records = await answered(tabId, ['fine', 'as-text', 'undecodable', 'ornament', 'elsewhere', 'inner', 'redirected', 'avif']);
  assert.equal(records.get('as-text').state, 'done', 'a picture, whatever its host calls it');
  assert.equal(records.get('elsewhere').state, 'blocked');
  assert.equal(records.get('ornament').why, 'elsewhere', 'nobody is asked for a permission for an ornament');
  const { report, form } = records.get('avif');
  assert.notEqual(report.p_fake, null, 'judged by the form beside it');
  assert.equal(nameOf(form), 'beside');
  const why = await reasons(popup, ['small', 'shape', 'drawing', 'private', 'redirect', 'elsewhere', 'report unreadable']);
  for (const [, { count }] of why) assert.equal(count, 1);
  assert.match(why.get('private').words, /private network/);
  assert.match(await popup.textContent('#blocked-text'), /One picture is kept on another host/);
  await popup.close();
  await page.close();
});

test('a flagged picture is judged once, without pictures for the eye; the panel makes those, on both scales', async () => {
  const { page, tabId } = await openPage('flagged', img('flag', '&score=0.999'));
  const popup = await browser.check(page, tabId);
  const { report } = (await answered(tabId, ['flag'])).get('flag');
  assert.equal(report.timings_ms.total_ms, 1, 'how often the played detector judged it');
  assert.equal(report.faces[0].stability.flipped, false);
  const [[key]] = Object.entries(await browser.storage('session')).filter(([name]) => name.startsWith('record/') && name.includes('n=flag'));
  const panel = await browser.context.newPage();
  panel.on('pageerror', (error) => browser.problems.push(String(error)));
  await panel.goto(`${browser.url('panel.html')}#${encodeURIComponent(key.slice('record/'.length))}`);
  await panel.waitForSelector('.evidence .scales:not([hidden])');
  const heat = () => panel.$eval('canvas.heat', (canvas) => canvas.getContext('2d').getImageData(0, 0, 1, 1).data[3]);
  assert.equal(await heat(), 255);
  await panel.selectOption('.scales select', 'own');
  assert.equal(await heat(), 128);
  assert.match(await panel.textContent('.scales option:checked'), /This face: 0 to 0\.999/);
  await panel.close();
  await popup.close();
  await page.close();
});

test('a picture that takes the detector down is tried once more, told, and holds up nobody', async () => {
  const { page, tabId } = await openPage('crash', `${img('crash', '&crash')}${img('after-1')}${img('after-2')}`);
  const popup = await browser.check(page, tabId);
  const records = await answered(tabId, ['crash', 'after-1', 'after-2']);
  assert.equal(records.get('crash').state, 'failed');
  assert.match(records.get('crash').message, /played trap/);
  for (const name of ['after-1', 'after-2']) assert.notEqual(records.get(name).report.p_fake, null, name);
  const why = await reasons(popup, ['failed']);
  assert.equal(why.get('failed').count, 1);
  await popup.close();
  await page.close();
});

test('one picture in two tabs: each is told, and none of the other', async () => {
  const both = img('shared', '&score=0.999');
  const one = await openPage('tab-one', both + img('only-one'));
  const popups = [await browser.check(one.page, one.tabId)];
  const two = await openPage('tab-two', both + img('only-two'));
  popups.push(await browser.check(two.page, two.tabId)); // the first one is in the background now
  const first = await answered(one.tabId, ['shared', 'only-one']);
  const second = await answered(two.tabId, ['shared', 'only-two']);
  assert.ok(!first.has('only-two') && !second.has('only-one'));
  assert.equal(first.get('shared').report.p_fake, second.get('shared').report.p_fake);
  for (const { tabId } of [one, two]) {
    await until('the button counts it', async () => (await browser.view.evaluate((id) => chrome.action.getBadgeText({ tabId: id }), tabId)) === '1');
  }
  // Closing one takes its records, and leaves the other's.
  await one.page.close();
  await until('its records are gone', async () => (await named(one.tabId)).size === 0);
  assert.equal((await named(two.tabId)).get('shared').state, 'done');
  for (const popup of popups) await popup.close();
  await two.page.close();
});

test('a full storage keeps no verdict, and shows every one', async () => {
  const filled = await browser.view.evaluate(async () => {
    // Whatever is not ours: nothing that is dropped makes room.
    for (const size of [1_000_000, 10_000, 100]) {
      for (let n = 0; ; n += 1) {
        const failed = await chrome.storage.local.set({ [`filler/${size}/${n}`]: 'x'.repeat(size) }).then(() => false, () => true);
        if (failed) break;
      }
    }
    return chrome.storage.local.getBytesInUse(null);
  });
  assert.ok(filled > 9_000_000);
  const { page, tabId } = await openPage('full', img('full', '&score=0.999') + img('full-too'));
  const popup = await browser.check(page, tabId);
  const records = await answered(tabId, ['full', 'full-too']);
  assert.equal(records.get('full').state, 'done');
  await until('its badge is there', async () => (await browser.badges(tabId)).length === 1, PATIENCE_MS);
  await browser.view.evaluate(async () => {
    const all = Object.keys(await chrome.storage.local.get(null));
    await chrome.storage.local.remove(all.filter((name) => name.startsWith('filler/')));
  });
  await popup.close();
  await page.close();
});

test('the popup speaks German where the browser does', async () => {
  const { page, tabId } = await openPage('german', `<img class="avatar" src="/photo/plain-48.jpg?n=klein" width="96" height="96">${img('deutsch')}`);
  const popup = await browser.check(page, tabId);
  await answered(tabId, ['deutsch']);
  // Chromium's own words in German are a package apart; what it would tell is enough.
  await popup.addInitScript(() => (chrome.i18n.getUILanguage = () => 'de-AT'));
  await popup.reload();
  const why = await reasons(popup, ['small']);
  assert.equal(why.get('small').words, 'kleiner als 64 Pixel');
  assert.equal(await popup.textContent('#check'), 'Profilfotos auf dieser Seite prüfen');
  assert.equal(await popup.getAttribute('html', 'lang'), 'de');
  await popup.close();
  await page.close();
});

/** Badges, each in its own place: two scripts in one page would put two on a picture. */
const badgePlaces = async (tabId) => new Set((await browser.badges(tabId)).map(({ x, y }) => `${Math.round(x)},${Math.round(y)}`)).size;

test('an update of the extension while pictures wait: the next press checks them; those of a switched-on site need none', async () => {
  const site = `http://${SOCIAL}/*`;
  for (const path of ['update-pressed', 'update-auto']) {
    const names = [1, 2].map((number) => `${path}-${number}`);
    const { page, tabId } = await openPage(path, names.map((name) => img(name, '&score=0.999')).join(''));
    await page.waitForFunction(() => [...document.images].every(({ complete }) => complete));
    const release = mock.hold('/photo/plain-200.jpg');
    let popup = await browser.check(page, tabId);
    await until('its pictures wait', async () => [...(await named(tabId)).values()].filter(({ state }) => state === 'waiting').length === 2, PATIENCE_MS);
    if (path === 'update-auto') {
      await browser.allow(site);
      await popup.bringToFront();
      await popup.click('#auto');
      await until('the site is switched on', async () => (await browser.storage('local')).settings?.sites?.length === 1);
      await page.bringToFront();
    }
    await browser.update();
    assert.equal((await named(tabId)).size, 0, 'what was under way went with the old one');
    release();
    await page.bringToFront();
    if (path === 'update-pressed') {
      await sleep(1000);
      assert.equal((await named(tabId)).size, 0, 'without a press nothing is checked');
      popup = await browser.check(page, tabId);
    }
    const records = await answered(tabId, names);
    for (const name of names) assert.equal(records.get(name).state, 'done', name);
    await until('each has its badge', async () => (await browser.badges(tabId)).length === 2, PATIENCE_MS);
    assert.equal(await badgePlaces(tabId), 2);
    await page.close();
    if (!popup.isClosed()) await popup.close();
  }
  await browser.view.evaluate((site) => chrome.runtime.sendMessage({ to: 'background', type: 'set-site', site, on: false }), site);
});

test('nothing threw in any page of the extension', async () => {
  await sleep(200);
  assert.deepEqual(browser.problems.filter((problem) => !/hostile/.test(problem)), []);
});
