// The extension's pure parts: which pictures, which addresses, which messages, what is kept and in which order.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as candidates from '../../www/extension/content/candidates.js';
import { MAX_PICTURE_BYTES, fetchPicture } from '../../www/extension/lib/fetch.js';
import * as messages from '../../www/extension/lib/messages.js';
import * as policy from '../../www/extension/lib/policy.js';
import { JobQueue, Recent } from '../../www/extension/lib/queue.js';
import { settingsFrom } from '../../www/extension/lib/settings.js';
import { BoundedStore } from '../../www/extension/lib/store.js';
import { WORDS, say } from '../../www/extension/lib/strings.js';
import { readAutoScan } from '../../www/extension/lib/threshold.js';
import { badgeWords, levelOf, threshold } from '../../www/extension/lib/verdict.js';

const extension = fileURLToPath(new URL('../../www/extension/', import.meta.url));
const read = (name) => readFileSync(extension + name, 'utf8');

// ---- Addresses -------------------------------------------------------------------------------------------------------

test('public http and https addresses may be fetched', () => {
  for (const url of [
    'https://media.example.com/a.jpg',
    'http://example.com:8080/a',
    'https://8.8.8.8/a',
    'https://172.32.0.1/a',
    'https://[2606:4700::1111]/a',
    'https://xn--bcher-kva.example/a',
  ]) {
    assert.equal(policy.refusal(url), null, url);
  }
});

test('private networks are refused, however they are written', () => {
  for (const host of [
    'localhost',
    'a.localhost',
    'LOCALHOST.',
    'printer',
    'nas.local',
    'router.lan',
    'vault.corp',
    'x.internal',
    'box.home.arpa',
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '198.19.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '[::1]',
    '[::]',
    '[::ffff:192.168.1.1]',
    '[::ffff:8.8.8.8]',
    '[64:ff9b::a00:1]',
    '[fe80::1]',
    '[fc00::1]',
    '[fd12:3456::1]',
    '[ff02::1]',
    '[2002:c0a8:101::1]',
    '[2001::1]',
  ]) {
    assert.equal(policy.refusal(`http://${host}/a.jpg`), 'private', host);
  }
});

test('other schemes, credentials and nonsense are refused', () => {
  for (const url of ['file:///etc/passwd', 'ftp://example.com/a', 'javascript:1', 'chrome://settings', 'data:image/png;base64,AA']) {
    assert.equal(policy.refusal(url), 'scheme', url);
  }
  assert.equal(policy.refusal('https://user@example.com/a'), 'credentials');
  assert.equal(policy.refusal('https://:secret@example.com/a'), 'credentials');
  assert.equal(policy.refusal('not an address'), 'bad_url');
  assert.equal(policy.refusal(`https://example.com/${'a'.repeat(policy.MAX_URL_CHARS)}`), 'bad_url');
});

test('a site’s pattern has no port and is shown without decoration', () => {
  assert.equal(policy.sitePattern('https://a.example:8443/b?c#d'), 'https://a.example/*');
  assert.equal(policy.siteName('https://a.example/*'), 'a.example');
  assert.equal(policy.sitePattern('http://[2606:4700::1111]/a'), 'http://[2606:4700::1111]/*');
});

// ---- Fetching --------------------------------------------------------------------------------------------------------

const answering = (body, init) => async () => new Response(body, init);
const jpeg = { headers: { 'content-type': 'image/jpeg' } };
const PHOTO = 'https://a.example/photo.jpg';

test('a picture is fetched without cookies, referrer or redirect', async () => {
  let asked;
  const bytes = await fetchPicture(PHOTO, 'cors', async (url, options) => {
    asked = { url, ...options };
    return new Response(new Uint8Array([1, 2, 3]), jpeg);
  });
  assert.deepEqual([...bytes], [1, 2, 3]);
  assert.equal(asked.mode, 'cors');
  assert.equal(asked.credentials, 'omit');
  assert.equal(asked.referrerPolicy, 'no-referrer');
  assert.equal(asked.redirect, 'manual');
  assert.equal(asked.method, undefined);
  assert.equal(asked.body, undefined);
});

test('nothing is asked of a refused address', async () => {
  const never = () => assert.fail('fetched');
  await assert.rejects(fetchPicture('http://192.168.0.1/a.jpg', 'cors', never), { code: 'refused', message: /private/ });
});

test('odd answers are refused', async () => {
  const html = { headers: { 'content-type': 'text/html; charset=utf-8' } };
  const svg = { headers: { 'content-type': 'image/svg+xml' } };
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('<p>', html)), { code: 'refused', message: /expected a picture, found text\/html/ });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('<svg/>', svg)), { code: 'refused' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('', { status: 404 })), { code: 'refused' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('', { status: 429 })), { code: 'busy' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('', { status: 503 })), { code: 'busy' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', async () => Promise.reject(new TypeError('Failed to fetch'))), { code: 'unreachable' });
  const redirect = Object.defineProperty(new Response(null), 'type', { value: 'opaqueredirect' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', async () => redirect), { code: 'refused', message: /not followed/ });
});

test('a file without end is given up at the limit', async () => {
  let sent = 0;
  const body = new ReadableStream({
    pull(controller) {
      sent += 1 << 20;
      controller.enqueue(new Uint8Array(1 << 20));
    },
  });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering(body, jpeg)), { code: 'refused', message: /expected at most/ });
  assert.ok(sent < MAX_PICTURE_BYTES + (4 << 20), `${sent} bytes were read`);
  const announced = { headers: { ...jpeg.headers, 'content-length': String(MAX_PICTURE_BYTES + 1) } };
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('x', announced)), { code: 'refused' });
});

// ---- Candidates ------------------------------------------------------------------------------------------------------

const facts = (side, more = {}) => ({ shownWidth: side, shownHeight: side, fileWidth: side, fileHeight: side, words: '', round: false, ...more });

test('portraits are told from ornaments', () => {
  const likely = [
    facts(64),
    facts(200, { words: 'avatar' }),
    facts(48, { fileWidth: 96, fileHeight: 96 }),
    facts(0, { shownWidth: 128, shownHeight: 170, fileWidth: 300, fileHeight: 400, words: 'profilePhoto__image' }),
    facts(120, { round: true, shownWidth: 120, shownHeight: 80 }),
    facts(128, { fileWidth: 0, fileHeight: 0 }),
  ];
  const unlikely = [
    facts(63),
    facts(48),
    facts(20, { fileWidth: 400, fileHeight: 400, words: 'avatar' }),
    facts(400, { words: 'site-logo' }),
    facts(600, { shownHeight: 120, words: 'cover-photo' }),
    facts(800, { shownHeight: 300 }),
    facts(100, { words: 'emoji party' }),
    facts(300, { shownWidth: 120, fileWidth: 120 }),
  ];
  for (const one of likely) assert.ok(candidates.isCandidate(one), JSON.stringify(one));
  for (const one of unlikely) assert.ok(!candidates.isCandidate(one), JSON.stringify(one));
});

test('nearest to the viewport first, then nearest to its middle', () => {
  const at = (thing, top, left = 0) => ({ thing, box: { left, top, right: left + 100, bottom: top + 100 } });
  const boxed = [at('below', 1500), at('edge', 700), at('above', -400), at('middle', 350), at('right', 350, 1200), at('far', 90_000)];
  const order = candidates.nearest(boxed, { width: 1000, height: 800 }, 6);
  assert.deepEqual(order, ['middle', 'edge', 'right', 'above', 'below', 'far']);
  assert.deepEqual(candidates.nearest(boxed, { width: 1000, height: 800 }, 1), ['middle']);
});

test('sources are known by their scheme', () => {
  assert.equal(candidates.sourceKind('https://a.example/b'), 'fetch');
  assert.equal(candidates.sourceKind('blob:https://a.example/1-2'), 'page');
  assert.equal(candidates.sourceKind('data:image/png;base64,AA=='), 'page');
  for (const source of ['data:image/svg+xml,<svg/>', 'data:text/html,x', 'file:///a.jpg', 'chrome-extension://a/b', '']) {
    assert.equal(candidates.sourceKind(source), null, source);
  }
});

test('the address in a computed background', () => {
  assert.equal(candidates.backgroundSource('url("https://a.example/b(1).jpg")'), 'https://a.example/b(1).jpg');
  assert.equal(candidates.backgroundSource("linear-gradient(red, blue), url('a\\'b.png')"), "a'b.png");
  assert.equal(candidates.backgroundSource('image-set(url("a.png") 1dppx, url("b.png") 2dppx)'), 'a.png');
  assert.equal(candidates.backgroundSource('url(plain.png)'), 'plain.png');
  assert.equal(candidates.backgroundSource('none'), '');
});

test('the bytes of data: addresses', () => {
  const decoded = (source) => Buffer.from(candidates.dataBase64(source), 'base64');
  assert.deepEqual([...decoded('data:image/png;base64,AAEC')], [0, 1, 2]);
  assert.deepEqual([...decoded('data:image/png;base64,AA%45C')], [0, 1, 2]);
  assert.deepEqual([...decoded('data:image/gif,GIF%00%ff')], [0x47, 0x49, 0x46, 0, 255]);
});

// ---- Messages --------------------------------------------------------------------------------------------------------

test('a content script may say what it has to say, and nothing else', () => {
  const base = { to: 'background', page: 'abc' };
  const item = { url: PHOTO, asked: false };
  const good = [
    { ...base, type: 'hello' },
    { ...base, type: 'check', items: [item] },
    { ...base, type: 'open', url: 'page:3' },
  ];
  const bad = [
    null,
    'hello',
    {},
    { type: 'hello' },
    { ...base, type: 'hello', page: 'x'.repeat(41) },
    { ...base, type: 'check' },
    { ...base, type: 'check', items: [{ url: PHOTO }] },
    { ...base, type: 'check', items: [{ url: 'x'.repeat(5000), asked: true }] },
    { ...base, type: 'check', items: [null] },
    { ...base, type: 'check', items: Array(messages.MAX_ITEMS + 1).fill(item) },
    { ...base, type: 'open' },
    { ...base, type: 'set-site', site: 'http://*/*', on: true },
    { ...base, type: 'done' },
    { ...base, type: 'evidence', key: 'a' },
  ];
  for (const message of good) assert.ok(messages.isFromContent(message), JSON.stringify(message));
  for (const message of bad) assert.ok(!messages.isFromContent(message), JSON.stringify(message));
});

test('pages of the extension and the engine have their own words', () => {
  assert.ok(messages.isFromExtensionPage({ to: 'background', type: 'set-site', site: 'https://a.example/*', on: true }));
  assert.ok(!messages.isFromExtensionPage({ to: 'background', type: 'set-site', site: 'https://a.example/*' }));
  assert.ok(!messages.isFromExtensionPage({ to: 'background', type: 'check-page', tabId: '7' }));
  assert.ok(!messages.isFromExtensionPage({ to: 'background', type: 'done' }));
  assert.ok(messages.isFromEngine({ to: 'background', type: 'done' }));
  assert.ok(!messages.isFromEngine({ to: 'background', type: 'check' }));
});

test('who speaks is told by the browser’s facts alone', () => {
  const own = { id: 'me', root: 'chrome-extension://me/', engine: 'chrome-extension://me/extension/offscreen.html' };
  const kind = (sender) => messages.senderKind(sender, own);
  assert.equal(kind({ id: 'me', url: 'https://a.example/', tab: {} }), 'content');
  assert.equal(kind({ id: 'me', url: 'chrome-extension://me/extension/popup.html' }), 'page');
  assert.equal(kind({ id: 'me', url: own.engine }), 'engine');
  assert.equal(kind({ id: 'other', url: 'https://a.example/', tab: {} }), null);
  assert.equal(kind({ id: 'me', url: 'https://a.example/' }), null, 'a page without a tab');
  assert.equal(kind({ id: 'me', url: 'https://a.example/chrome-extension://me/', tab: {} }), 'content');
  assert.equal(kind({}), null);
});

test('bytes survive packing', () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 31) & 255);
  assert.deepEqual(messages.unpack(messages.pack(bytes)), bytes);
});

// ---- Queue -----------------------------------------------------------------------------------------------------------

const job = (id, host = 'a', asked = false) => ({ id, host, asked });

test('the queue is bounded, in order, and what was asked about comes first', () => {
  const queue = new JobQueue(3);
  assert.deepEqual(['1', '2', '2', '3', '4'].map((id) => queue.add(job(id, 'a', id === '3'))), [true, true, true, true, false]);
  assert.equal(queue.size, 3);
  assert.deepEqual([queue.take(0), queue.take(0), queue.take(0), queue.take(0)].map((one) => one?.id), ['3', '1', '2', undefined]);
});

test('a host that fails is left in peace, longer each time, and others are not held up', () => {
  const queue = new JobQueue(9);
  queue.add(job('1', 'bad'));
  queue.add(job('2', 'good'));
  queue.failed('bad', 1000);
  assert.equal(queue.take(1000).id, '2');
  assert.equal(queue.take(1999), null);
  assert.equal(queue.waitMs(1400), 600);
  assert.equal(queue.take(2000).id, '1');
  queue.failed('bad', 2000);
  queue.add(job('1', 'bad'));
  assert.equal(queue.waitMs(2000), 2000);
  queue.succeeded('bad');
  assert.equal(queue.waitMs(2000), 0);
  queue.drop(({ host }) => host === 'bad');
  assert.equal(queue.waitMs(2000), null);
});

test('what was not touched for longest is forgotten', () => {
  const recent = new Recent(2);
  recent.set('a', 1);
  recent.set('b', 2);
  recent.get('a');
  recent.set('c', 3);
  assert.deepEqual([recent.get('a'), recent.get('b'), recent.get('c')], [1, undefined, 3]);
});

// ---- What is kept ----------------------------------------------------------------------------------------------------

/** A storage area in memory. */
function area(content = {}) {
  return {
    content,
    get: async (key) => structuredClone(key === null ? content : key in content ? { [key]: content[key] } : {}),
    set: async (items) => void Object.assign(content, structuredClone(items)),
    remove: async (keys) => keys.forEach((key) => delete content[key]),
  };
}

test('the store keeps to its number of entries and drops the oldest', async () => {
  let now = 0;
  const memory = area({ settings: { sites: [] } });
  const store = new BoundedStore(memory, 'v/', { maxEntries: 3, maxBytes: 10_000 }, () => ++now);
  for (const key of ['a', 'b', 'c', 'a', 'd']) await store.put(key, key + now);
  assert.deepEqual(Object.keys(memory.content).toSorted(), ['settings', 'v/a', 'v/c', 'v/d']);
  assert.equal(await store.get('a'), 'a3');
  assert.equal(await store.get('b'), undefined);

  // Another life of the worker finds the same.
  const next = new BoundedStore(memory, 'v/', { maxEntries: 3, maxBytes: 10_000 }, () => ++now);
  await next.put('e', 1);
  assert.deepEqual((await next.entries()).map(([key]) => key), ['a', 'd', 'e']);
  await next.removeWhere((key) => key !== 'd');
  assert.deepEqual((await next.entries()).map(([key]) => key), ['d']);
  assert.ok('settings' in memory.content);
});

test('the store keeps to its number of bytes', async () => {
  let now = 0;
  const memory = area();
  const store = new BoundedStore(memory, 'v/', { maxEntries: 100, maxBytes: 1000 }, () => ++now);
  for (let i = 0; i < 20; i += 1) await store.put(String(i), 'x'.repeat(200));
  const { entries, bytes } = await store.size();
  assert.ok(bytes <= 1000 && entries === 4, `${entries} entries, ${bytes} bytes`);
  await store.put('huge', 'x'.repeat(2000));
  assert.equal(await store.get('huge'), undefined);
  assert.equal((await store.size()).entries, 4, 'one that does not fit pushes nothing out');
});

test('odd settings become the default', () => {
  const defaults = { threshold: 0, badges: true, preference: 'auto', sites: [] };
  for (const kept of [undefined, null, 7, {}, { threshold: 2, preference: 'fast', sites: 'all' }, { threshold: '1x' }]) {
    assert.deepEqual(settingsFrom(kept), defaults, JSON.stringify(kept));
  }
  const kept = { threshold: 0.97, badges: false, preference: 'cpu', sites: ['https://a.example/*'] };
  assert.deepEqual(settingsFrom(kept), kept);
  assert.deepEqual(settingsFrom({ sites: ['https://a.example/*', 7] }).sites, ['https://a.example/*']);
});

// ---- Verdicts --------------------------------------------------------------------------------------------------------

test('only the scan threshold raises a flag, and the user can but raise it', () => {
  assert.equal(threshold(0.93, 0), 0.93);
  assert.equal(threshold(0.93, 0.5), 0.93);
  assert.equal(threshold(0.93, 0.97), 0.97);
  const report = (band, p_fake) => ({ band, p_fake, reason: band === 'not_assessed' ? 'no_face' : null });
  assert.equal(levelOf(report('likely_fake', 0.93), 0.93), 'flag');
  assert.equal(levelOf(report('likely_fake', 0.9299), 0.93), 'weak');
  assert.equal(levelOf(report('inconclusive', 0.99), 0.93), 'unsure', 'a verdict that did not hold is no flag');
  assert.equal(levelOf(report('inconclusive', 0.5), 0.93), 'unsure');
  assert.equal(levelOf(report('no_signs_found', 0.1), 0.93), 'none');
  assert.equal(levelOf(report('not_assessed', null), 0), 'unjudged', 'no score is never a flag');
  assert.match(badgeWords(report('not_assessed', null), 0.93).title, /No face/);
  assert.match(badgeWords(report('likely_fake', 0.99), 0.93).title, /no proof/);
});

/** A model file's beginning, in pieces of `step` bytes. */
function modelStream(header, step = 5, length = undefined) {
  const text = Buffer.from(header);
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(length ?? text.length));
  const bytes = Buffer.concat([start, text, Buffer.alloc(64)]);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(new Uint8Array(bytes.subarray(at, (at += step))));
    },
  });
}

test('the scan threshold comes from the model file', async () => {
  const header = (auto_scan) => JSON.stringify({ __metadata__: { grnet: JSON.stringify({ thresholds: { auto_scan } }) } });
  assert.equal(await readAutoScan(modelStream(header(0.93))), 0.93);
  assert.equal(await readAutoScan(modelStream(header(0.93), 100_000)), 0.93);
  await assert.rejects(readAutoScan(modelStream(header(1.5))), { code: 'bad_weights' });
  await assert.rejects(readAutoScan(modelStream(header('x'))), { code: 'bad_weights' });
  await assert.rejects(readAutoScan(modelStream('{}', 5, 1e6)), { code: 'bad_weights', message: /found the end/ });
  await assert.rejects(readAutoScan(modelStream('{}', 5, 1e9)), { code: 'bad_weights', message: /at most/ });
});

test('the shipped model has a scan threshold above one half', async () => {
  const bytes = readFileSync(new URL('../../weights/grnet.safetensors', import.meta.url));
  assert.ok((await readAutoScan(new Blob([bytes]).stream())) > 0.5);
});

// ---- Words, manifests, rules -----------------------------------------------------------------------------------------

const files = readdirSync(extension, { recursive: true }).filter((name) => /\.(js|html)$/.test(name));

test('every word is used, every used word is there', () => {
  const code = files.filter((name) => name !== 'lib/strings.js').map(read).join('\n');
  for (const key of Object.keys(WORDS)) assert.match(code, new RegExp(`['"]${key}['"]`), `${key} is used nowhere`);
  const used = [...code.matchAll(/data-say="(\w+)"|\bsay\('(\w+)'/g)].map(([, a, b]) => a ?? b);
  assert.ok(used.length > 20);
  for (const key of used) assert.ok(key in WORDS, `${key} is missing`);
  assert.equal(say('popupQuiet', { count: 3 }), 'Not flagged: 3');
});

test('pages show no words but marked ones', () => {
  for (const name of files.filter((one) => one.endsWith('.html'))) {
    const body = read(name).replace(/<title.*<\/title>/, '').replace(/<[^>]*>/g, ' ');
    assert.deepEqual(body.split(/\s+/).filter((word) => /\p{L}/u.test(word) && word !== 'grnet'), [], name);
  }
});

test('no verdict of the extension calls a photo real or authentic', () => {
  for (const [key, words] of Object.entries(WORDS)) assert.doesNotMatch(words, /\b(real|authentic|genuine)\b/i, key);
});

test('the two manifests differ in what the browsers differ in, and ask for no host at install', () => {
  const chromium = JSON.parse(read('manifest.json'));
  const firefox = JSON.parse(read('firefox/manifest.json'));
  const common = ({ background, permissions, minimum_chrome_version, browser_specific_settings, ...rest }) => rest;
  assert.deepEqual(common(firefox), common(chromium));
  assert.deepEqual(chromium.permissions, ['activeTab', 'scripting', 'contextMenus', 'offscreen', 'storage']);
  assert.deepEqual(firefox.permissions, chromium.permissions.filter((one) => one !== 'offscreen'));
  for (const absent of ['host_permissions', 'content_scripts', 'web_accessible_resources', 'externally_connectable']) {
    assert.ok(!(absent in chromium), absent);
  }
  assert.deepEqual(firefox.browser_specific_settings.gecko.data_collection_permissions, { required: ['none'] });
  const csp = chromium.content_security_policy.extension_pages;
  for (const rule of ["default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "form-action 'none'", "frame-ancestors 'none'"]) {
    assert.ok(csp.includes(rule), rule);
  }
  assert.doesNotMatch(csp, /unsafe-inline|'unsafe-eval'/);
});

test('the network is reached from one place, and markup is never made from text', () => {
  const reaches = /\bfetch\(|XMLHttpRequest|sendBeacon|WebSocket|EventSource|RTCPeer|importScripts/;
  const allowed = { 'lib/fetch.js': true, 'engine.js': true, 'content/main.js': true };
  for (const name of files.filter((one) => one.endsWith('.js'))) {
    const code = read(name);
    assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, name);
    if (!allowed[name]) assert.doesNotMatch(code, reaches, name);
    assert.doesNotMatch(code, /https?:\/\/(?!\*)[\w.-]+\.\w/, `${name} names a host`);
  }
  // The engine fetches its own files, the content script what the page alone can read.
  assert.equal(read('engine.js').match(/\bfetch\(/g).length, 2);
  assert.equal(read('content/main.js').match(/\bfetch\(/g).length, 1);
});
