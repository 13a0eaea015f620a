// The extension's pure parts: which pictures, which addresses, which messages, what is kept and in which order.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as addresses from '../../www/extension/content/addresses.js';
import * as candidates from '../../www/extension/content/candidates.js';
import { MAX_PICTURE_BYTES, beginsAsPicture, fetchPicture } from '../../www/extension/lib/fetch.js';
import { holdTogether, readManifest } from '../../www/extension/lib/manifest.js';
import * as messages from '../../www/extension/lib/messages.js';
import * as policy from '../../www/extension/lib/policy.js';
import { JobQueue, Recent } from '../../www/extension/lib/queue.js';
import { framesNotSeen, notChecked } from '../../www/extension/lib/reasons.js';
import { settingsFrom } from '../../www/extension/lib/settings.js';
import { BoundedStore } from '../../www/extension/lib/store.js';
import { GERMAN_WORDS } from '../../www/extension/lib/strings.de.js';
import { WORDS, say } from '../../www/extension/lib/strings.js';
import { badgeWords, levelOf, threshold } from '../../www/extension/lib/verdict.js';
import { Area } from './mock/chrome.mjs';

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
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('<p>', html)), { code: 'refused', why: 'type', message: /expected a picture, found text\/html/ });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('<svg/>', svg)), { code: 'refused', why: 'drawing' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('', { status: 404 })), { code: 'refused', why: 'status' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('', { status: 429 })), { code: 'busy' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('', { status: 503 })), { code: 'busy' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', async () => Promise.reject(new TypeError('Failed to fetch'))), { code: 'unreachable' });
  const redirect = Object.defineProperty(new Response(null), 'type', { value: 'opaqueredirect' });
  await assert.rejects(fetchPicture(PHOTO, 'cors', async () => redirect), { code: 'refused', why: 'redirect', message: /not followed/ });
});

test('a picture is one whatever its host calls it, and nothing else becomes one', async () => {
  const bytes = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));
  const pictures = ['\xff\xd8\xff\xe0rest of it', '\x89PNG\r\n\x1a\n....', 'GIF89a......', 'RIFF\0\0\0\0WEBPVP8 ', '\0\0\0\x1cftypavif', '\0\0\0\x2cftypavis'];
  for (const text of pictures) {
    assert.ok(beginsAsPicture(bytes(text)), text);
    for (const type of ['text/plain', 'text/html; charset=utf-8', 'application/json', 'video/mp4']) {
      // The first bytes may come one by one.
      const body = new ReadableStream({
        start(controller) {
          for (const byte of bytes(text)) controller.enqueue(new Uint8Array([byte]));
          controller.close();
        },
      });
      const read = await fetchPicture(PHOTO, 'cors', answering(body, { headers: { 'content-type': type } }));
      assert.deepEqual(read, bytes(text), type);
    }
  }
  for (const text of ['', '<!doctype html>', '{"a":1}', 'RIFF\0\0\0\0WAVE', '\xff\xd8']) {
    assert.ok(!beginsAsPicture(bytes(text)), text);
    await assert.rejects(fetchPicture(PHOTO, 'cors', answering(bytes(text), { headers: { 'content-type': 'text/plain' } })), { why: 'type' });
  }
});

test('a file without end is given up at the limit', async () => {
  let sent = 0;
  const body = new ReadableStream({
    pull(controller) {
      sent += 1 << 20;
      controller.enqueue(new Uint8Array(1 << 20));
    },
  });
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering(body, jpeg)), { code: 'refused', why: 'large', message: /expected at most/ });
  assert.ok(sent < MAX_PICTURE_BYTES + (4 << 20), `${sent} bytes were read`);
  const announced = { headers: { ...jpeg.headers, 'content-length': String(MAX_PICTURE_BYTES + 1) } };
  await assert.rejects(fetchPicture(PHOTO, 'cors', answering('x', announced)), { code: 'refused' });
});

// ---- Candidates ------------------------------------------------------------------------------------------------------

const facts = (side, more = {}) => ({ shownWidth: side, shownHeight: side, fileWidth: side, fileHeight: side, names: '', label: '', around: '', round: false, ...more });

test('portraits are told from what is no portrait by size and shape', () => {
  const worth = (one) => candidates.worthOf(one);
  const likely = [
    facts(64),
    facts(200, { names: 'avatar' }),
    facts(48, { fileWidth: 96, fileHeight: 96 }),
    facts(0, { shownWidth: 128, shownHeight: 170, fileWidth: 300, fileHeight: 400, names: 'profilePhoto__image' }),
    facts(120, { round: true, shownWidth: 120, shownHeight: 80 }),
    facts(128, { fileWidth: 0, fileHeight: 0 }),
    facts(150, { shownHeight: 100, around: 'people' }),
  ];
  for (const one of likely) assert.equal(worth(one), 'likely', JSON.stringify(one));
  assert.equal(worth(facts(63)), 'small');
  assert.equal(worth(facts(48)), 'small');
  assert.equal(worth(facts(300, { shownWidth: 120, fileWidth: 120 })), 'shape');
  assert.equal(worth(facts(800, { shownHeight: 300 })), 'shape');
  assert.equal(worth(facts(600, { shownHeight: 120, names: 'cover-photo' })), 'shape');
  assert.equal(worth(facts(20, { fileWidth: 400, fileHeight: 400, names: 'avatar' })), 'tiny');
  assert.equal(worth(facts(NaN)), 'tiny');
});

test('words are whole words, in context, and only set a portrait behind others', () => {
  const worth = (more) => candidates.worthOf(facts(200, more));
  for (const more of [
    { label: 'Product Manager' },
    { label: 'Psicologo' },
    { label: 'psicólogo clínico' },
    { names: 'psicologo' },
    { label: 'Silicon Valley' },
    { label: 'Icon designer at Acme' },
    { label: 'Flag football coach' },
    { label: 'Head of Ads and Badges programme' },
    { names: 'discover' },
    { names: 'iconic mapped uploads' },
    { around: '/ads/banners/' },
    { names: 'icon', around: 'member' },
    { names: 'badge', round: true },
    { names: 'cover', label: 'Photo of Ana' },
  ]) {
    assert.equal(worth(more), 'likely', JSON.stringify(more));
  }
  for (const more of [{ names: 'site-logo' }, { names: 'siteLogo' }, { label: 'Acme logo' }, { label: 'Flag of Peru' }, { names: 'emoji party' }]) {
    assert.equal(worth(more), 'maybe', JSON.stringify(more));
  }
  assert.deepEqual(candidates.wordsIn('profilePhoto_large psicólogo 3x ÄrzteTeam'), ['profile', 'photo', 'large', 'psicólogo', 'x', 'ärzte', 'team']);
});

test('nearest to the viewport first, then nearest to its middle', () => {
  const at = (thing, top, left = 0) => ({ thing, box: { left, top, right: left + 100, bottom: top + 100 } });
  const boxed = [at('below', 1500), at('edge', 700), at('above', -400), at('middle', 350), at('right', 350, 1200), at('far', 90_000)];
  const order = candidates.nearest(boxed, { width: 1000, height: 800 }, 6);
  assert.deepEqual(order, ['middle', 'edge', 'right', 'above', 'below', 'far']);
  assert.deepEqual(candidates.nearest(boxed, { width: 1000, height: 800 }, 1), ['middle']);
});

test('sources are known by their scheme', () => {
  const kind = addresses.sourceKind;
  assert.equal(kind('https://a.example/b'), 'fetch');
  assert.equal(kind('blob:https://a.example/1-2'), 'page');
  for (const type of ['image/png', 'text/plain', 'application/octet-stream', '']) assert.equal(kind(`data:${type};base64,AA==`), 'page');
  assert.equal(kind('data:image/svg+xml,<svg/>'), 'drawing');
  for (const source of ['file:///a.jpg', 'chrome-extension://a/b', 'about:blank', '']) assert.equal(kind(source), 'scheme', source);
});

test('the addresses in a computed background, layer by layer', () => {
  const found = addresses.styleAddresses;
  assert.deepEqual(found('url("https://a.example/b(1).jpg")'), [['https://a.example/b(1).jpg']]);
  assert.deepEqual(found("linear-gradient(red, blue), url('a\\'b.png')"), [["a'b.png"]]);
  assert.deepEqual(found('image-set(url("a.avif") 1dppx type("image/avif"), url("b.png") 2dppx)'), [['a.avif', 'b.png']]);
  assert.deepEqual(found('url(plain.png), URL( spaced.png )'), [['plain.png'], ['spaced.png']]);
  assert.deepEqual(found('"url(told.png)" url("real.png") / "alt, url(no.png)"'), [['real.png']]);
  for (const value of ['none', '', 'url()', 'url("', '"', '((((', 'linear-gradient(red, blue)']) assert.deepEqual(found(value), [], value);
  assert.deepEqual(found('url("open.png'), [['open.png']]);
  // Long ones take no longer than reading them.
  const long = `url("data:image/png;base64,${'A'.repeat(5_000_000)}")`;
  assert.equal(found(long)[0][0].length, 5_000_022);
  assert.equal(found(`url("${'\\"'.repeat(200_000)}")`)[0][0].length, 200_000);
});

test('the addresses of a srcset, and other forms of a picture, best first', () => {
  assert.deepEqual(addresses.srcsetAddresses('a.jpg 1x, b.jpg 2x'), ['a.jpg', 'b.jpg']);
  assert.deepEqual(addresses.srcsetAddresses(' a,b.jpg?x=1,2 100w,\n c.png 200w , d'), ['a,b.jpg?x=1,2', 'c.png', 'd']);
  for (const odd of ['', ' ', ',', ', , ,']) assert.deepEqual(addresses.srcsetAddresses(odd), [], odd);
  const form = (address, type = '') => ({ address, type });
  const ranked = addresses.readableForms([form('a.avif'), form('b', 'image/webp'), form('c.jpg'), form('c.jpg'), form('d'), form('e', 'image/jxl'), form('f.png?x')]);
  assert.deepEqual(ranked, ['c.jpg', 'f.png?x', 'b', 'd', 'a.avif'], 'AVIF last, as the browser has to decode it');
});

test('the bytes of data: addresses', () => {
  const decoded = (source) => Buffer.from(addresses.dataBase64(source), 'base64');
  assert.deepEqual([...decoded('data:image/png;base64,AAEC')], [0, 1, 2]);
  assert.deepEqual([...decoded('data:image/png;base64,AA%45C')], [0, 1, 2]);
  assert.deepEqual([...decoded('data:image/png; BASE64 ,AAEC')], [0, 1, 2]);
  assert.deepEqual([...decoded('data:image/gif,GIF%00%ff')], [0x47, 0x49, 0x46, 0, 255]);
  for (const odd of ['data:,%', 'data:,%zz', 'data:,\u{1f600}', 'data:']) addresses.dataBase64(odd); // throws nothing
});

// ---- Messages --------------------------------------------------------------------------------------------------------

test('a content script may say what it has to say, and nothing else', () => {
  const base = { to: 'background', page: 'abc' };
  const item = { url: PHOTO, asked: false, likely: true, others: [] };
  const tally = { waiting: 1, scanning: true, unseen: { small: 3 }, frames: { count: 1, sites: ['https://b.example'] }, isInner: false };
  const good = [
    { ...base, type: 'hello', since: 1.5 },
    { ...base, type: 'gone' },
    { ...base, type: 'frames' },
    { ...base, type: 'tally', tally },
    { ...base, type: 'check', items: [item, { ...item, others: [PHOTO, PHOTO] }] },
    { ...base, type: 'open', url: 'page:3' },
  ];
  const bad = [
    null,
    'hello',
    {},
    { type: 'hello' },
    { ...base, type: 'hello' },
    { ...base, type: 'hello', since: 1, page: 'x'.repeat(41) },
    { ...base, type: 'check' },
    { ...base, type: 'check', items: [{ url: PHOTO }] },
    { ...base, type: 'check', items: [{ ...item, others: [PHOTO, PHOTO, PHOTO] }] },
    { ...base, type: 'check', items: [{ ...item, others: [7] }] },
    { ...base, type: 'check', items: [{ ...item, url: 'x'.repeat(5000) }] },
    { ...base, type: 'check', items: [null] },
    { ...base, type: 'check', items: Array(messages.MAX_ITEMS + 1).fill(item) },
    { ...base, type: 'tally' },
    { ...base, type: 'tally', tally: { ...tally, waiting: -1 } },
    { ...base, type: 'tally', tally: { ...tally, unseen: null } },
    { ...base, type: 'tally', tally: { ...tally, unseen: { small: 'many' } } },
    { ...base, type: 'tally', tally: { ...tally, frames: { count: 1, sites: ['javascript:1'] } } },
    { ...base, type: 'tally', tally: { ...tally, frames: { count: 1, sites: ['https://'] } } },
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
  assert.ok(messages.isFromEngine({ to: 'background', type: 'done', job: { url: PHOTO }, outcome: { kind: 'failed' } }));
  assert.ok(messages.isFromEngine({ to: 'background', type: 'lookup', key: 'a/b' }));
  assert.ok(!messages.isFromEngine({ to: 'background', type: 'done' }));
  assert.ok(!messages.isFromEngine({ to: 'background', type: 'done', job: { url: PHOTO } }));
  assert.ok(!messages.isFromEngine({ to: 'background', type: 'lookup' }));
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
  for (const url of ['about:srcdoc', 'about:blank', 'blob:https://a.example/1']) assert.equal(kind({ id: 'me', url, tab: {} }), 'content', url);
  for (const url of ['chrome://settings/', 'chrome-extension://other/a.html']) assert.equal(kind({ id: 'me', url, tab: {} }), null, url);
  assert.equal(kind({ id: 'me', url: 'https://a.example/chrome-extension://me/', tab: {} }), 'content');
  assert.equal(kind({}), null);
});

test('a frame that a page wrote itself belongs to the page’s site', () => {
  assert.equal(messages.siteOf({ url: 'https://a.example/b', origin: 'https://a.example' }), 'https://a.example/b');
  assert.equal(messages.siteOf({ url: 'about:srcdoc', origin: 'https://a.example' }), 'https://a.example');
  for (const sender of [{}, { url: 'about:srcdoc', origin: 'null' }, { url: 'data:text/html,x' }, { url: 'https://' }]) assert.equal(messages.siteOf(sender), '');
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

test('the store keeps to its number of entries and drops the oldest', async () => {
  let now = 0;
  const memory = new Area();
  await memory.set({ settings: { sites: [] } });
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
  const memory = new Area();
  const store = new BoundedStore(memory, 'v/', { maxEntries: 100, maxBytes: 1000 }, () => ++now);
  for (let i = 0; i < 20; i += 1) await store.put(String(i), 'x'.repeat(200));
  const { entries, bytes } = await store.size();
  assert.ok(bytes <= 1000 && entries === 4, `${entries} entries, ${bytes} bytes`);
  await store.put('huge', 'x'.repeat(2000));
  assert.equal(await store.get('huge'), undefined);
  assert.equal((await store.size()).entries, 4, 'one that does not fit pushes nothing out');
});

test('what matters is dropped last, whichever life of the worker put it in', async () => {
  let now = 0;
  const memory = new Area();
  const make = () => new BoundedStore(memory, 'v/', { maxEntries: 3, maxBytes: 10_000 }, () => ++now, (value) => value === 'flag');
  const store = make();
  for (const key of ['a', 'b', 'c', 'd']) await store.put(key, key === 'a' || key === 'c' ? 'flag' : 'none');
  assert.deepEqual((await store.entries()).map(([key]) => key), ['a', 'c', 'd']);
  const next = make();
  for (const key of ['e', 'f']) await next.put(key, 'none');
  assert.deepEqual((await next.entries()).map(([key]) => key), ['a', 'c', 'f'], 'the newest stays beside them');
  const read = [];
  const { get } = memory;
  memory.get = (keys) => (read.push(...keys), get.call(memory, keys));
  assert.deepEqual((await next.entries((key, { dear }) => dear && key !== 'a')).map(([key]) => key), ['c']);
  assert.deepEqual(read, ['v/c'], 'what is not asked for is not read');
  await next.put('g', 'flag');
  await next.put('h', 'flag');
  assert.deepEqual((await next.entries()).map(([key]) => key), ['c', 'g', 'h'], 'among themselves the oldest goes');
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

const MANIFEST_URL = new URL('https://a.example/model/grnet.json');
const MANIFEST = { file: 'a', sha256: '0'.repeat(64), bytes: 1, thresholds: { no_signs: 0.2, likely_fake: 0.6, auto_scan: 0.93 } };
const manifestOf = (content, init) => readManifest(MANIFEST_URL, answering(typeof content === 'string' ? content : JSON.stringify(content), init));

test('the scan threshold comes from the manifest, which must be whole', async () => {
  assert.deepEqual(await manifestOf(MANIFEST), { id: MANIFEST.sha256, thresholds: MANIFEST.thresholds });
  await assert.rejects(manifestOf(MANIFEST, { status: 404 }), { code: 'io', message: /found 404/ });
  await assert.rejects(manifestOf('<html>'), { code: 'bad_weights' });
  await assert.rejects(manifestOf({ ...MANIFEST, sha256: 'x' }), { code: 'bad_weights', message: /SHA-256/ });
  const thresholds = (changed) => manifestOf({ ...MANIFEST, thresholds: changed });
  for (const changed of [undefined, {}, { ...MANIFEST.thresholds, auto_scan: 1.5 }, { ...MANIFEST.thresholds, auto_scan: 0.1 }, { ...MANIFEST.thresholds, no_signs: null }]) {
    await assert.rejects(thresholds(changed), { code: 'bad_weights', message: /rising thresholds/ }, JSON.stringify(changed));
  }
});

test('a loaded model that its manifest does not describe is not used', () => {
  const manifest = { id: MANIFEST.sha256, thresholds: MANIFEST.thresholds };
  const loaded = { model: { id: MANIFEST.sha256 }, thresholds: MANIFEST.thresholds };
  holdTogether(manifest, loaded);
  assert.throws(() => holdTogether(manifest, { ...loaded, model: { id: 'other' } }), { code: 'bad_weights' });
  const other = { ...MANIFEST.thresholds, auto_scan: 0.92 };
  assert.throws(() => holdTogether(manifest, { ...loaded, thresholds: other }), { code: 'bad_weights', message: /auto_scan/ });
});

test('the shipped manifest has the thresholds of the shipped model, the one for scans above one half', async () => {
  const bytes = readFileSync(new URL('../../weights/grnet.safetensors', import.meta.url));
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString());
  const { thresholds } = JSON.parse(header.__metadata__.grnet);
  const shipped = await manifestOf(readFileSync(new URL('../../weights/grnet.json', import.meta.url), 'utf8'));
  assert.deepEqual(shipped.thresholds, thresholds);
  assert.ok(thresholds.auto_scan > 0.5);
});

// ---- What was not checked --------------------------------------------------------------------------------------------

const frame = (tally, site = 'https://a.example') => ({ page: 'p', site, tally: tally && { waiting: 0, scanning: true, unseen: {}, frames: { count: 0, sites: [] }, isInner: false, ...tally } });

test('every reason has its count and its sentence', () => {
  const records = [
    { why: 'status', report: null },
    { why: 'status', report: null },
    { why: 'new_reason', report: null },
    { why: '', report: { band: 'not_assessed', reason: 'no_face' } },
    { why: '', report: { band: 'no_signs_found', reason: null } },
  ];
  const found = notChecked(records, [frame({ unseen: { small: 3, element: 1 } }), frame({ unseen: { small: 2 }, isInner: true }), frame(null)]);
  const counts = Object.fromEntries(found.map(({ why, count }) => [why, count]));
  assert.deepEqual(counts, { small: 5, status: 2, element: 1, failed: 1, 'report no_face': 1 });
  assert.equal(found[0].why, 'small');
  for (const { words } of found) assert.match(words, /\w{4}/);
  assert.deepEqual(notChecked([], []), []);
});

test('frames into which no script came are told with their sites', () => {
  const top = frame({ frames: { count: 3, sites: ['https://b.example', 'https://c.example'] } });
  assert.deepEqual(framesNotSeen([top]), { count: 3, sites: ['https://b.example', 'https://c.example'] });
  const inside = frame({ isInner: true }, 'https://b.example');
  assert.deepEqual(framesNotSeen([top, inside]), { count: 2, sites: ['https://c.example'] });
  assert.deepEqual(framesNotSeen([frame({ frames: { count: 1, sites: [] } }), inside]), { count: 0, sites: [] });
  const [{ words }] = notChecked([], [top]);
  assert.match(words, /b\.example, c\.example/);
});

// ---- Words, manifests, rules -----------------------------------------------------------------------------------------

const files = readdirSync(extension, { recursive: true }).filter((name) => /\.(js|html)$/.test(name));

test('every word is used, every used word is there', () => {
  const code = files.filter((name) => !/strings(\.de)?\.js$/.test(name)).map(read).join('\n');
  for (const key of Object.keys(WORDS)) assert.match(code, new RegExp(`['"]${key}['"]`), `${key} is used nowhere`);
  const used = [...code.matchAll(/data-say="(\w+)"|\bsay\('(\w+)'/g)].map(([, a, b]) => a ?? b);
  assert.ok(used.length > 20);
  for (const key of used) assert.ok(key in WORDS, `${key} is missing`);
  assert.equal(say('popupQuiet', { count: 3 }), 'Not flagged: 3');
});

test('German has every word, with the same values to put in', () => {
  const marks = (words) => [...words.matchAll(/\{\w+\}/g)].map(([mark]) => mark).sort();
  assert.deepEqual(Object.keys(GERMAN_WORDS), Object.keys(WORDS));
  for (const [key, words] of Object.entries(GERMAN_WORDS)) assert.deepEqual(marks(words), marks(WORDS[key]), key);
});

test('pages show no words but marked ones', () => {
  for (const name of files.filter((one) => one.endsWith('.html'))) {
    const body = read(name).replace(/<title.*<\/title>/, '').replace(/<[^>]*>/g, ' ');
    assert.deepEqual(body.split(/\s+/).filter((word) => /\p{L}/u.test(word) && word !== 'grnet'), [], name);
  }
});

test('no verdict of the extension calls a photo real or authentic', () => {
  const all = [...Object.entries(WORDS), ...Object.entries(GERMAN_WORDS)];
  for (const [key, words] of all) assert.doesNotMatch(words, /\b(real|authentic|genuine|echt|authentisch)\b/i, key);
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
  const allowed = ['lib/fetch.js', 'lib/manifest.js', 'content/holdings.js'];
  for (const name of files.filter((one) => one.endsWith('.js'))) {
    const code = read(name);
    assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, name);
    if (!allowed.includes(name)) assert.doesNotMatch(code, reaches, name);
    assert.doesNotMatch(code, /https?:\/\/(?!\*)[\w.-]+\.\w/, `${name} names a host`);
  }
  // The engine reads its own manifest, the content script what the page alone can read.
  assert.equal(read('content/holdings.js').match(/\bfetch\(/g).length, 1);
});
