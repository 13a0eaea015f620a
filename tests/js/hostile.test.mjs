// Whatever is said to the worker and to the extension, and whatever a page writes: random and hostile values, of which none may
// throw, and none pass that is not of the stated shape.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as addresses from '../../www/extension/content/addresses.js';
import { worthOf, wordsIn } from '../../www/extension/content/candidates.js';
import { beginsAsPicture } from '../../www/extension/lib/fetch.js';
import * as messages from '../../www/extension/lib/messages.js';
import * as names from '../../www/extension/lib/names.js';
import { MAX_URL_CHARS, isPrivateHost, refusal, sitePattern } from '../../www/extension/lib/policy.js';
import { notChecked } from '../../www/extension/lib/reasons.js';
import { settingsFrom } from '../../www/extension/lib/settings.js';
import { failure, isRequest } from '../../www/shared/messages.js';

const RUNS = { numRuns: 2000 };
const holds = (...given) => fc.assert(fc.property(...given), RUNS);

/** Anything that a structured clone can carry, and what it cannot. */
const anything = fc.oneof(
  fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true, withNullPrototype: true, withSparseArray: true }),
  fc.constantFrom(NaN, -0, Infinity, '', '__proto__', [], new ArrayBuffer(1), new Uint8Array(2)),
);
const address = fc.oneof(
  fc.webUrl({ withQueryParameters: true, withFragments: true }),
  fc.string({ maxLength: 60 }),
  fc.tuple(fc.constantFrom('http://', 'https://', 'HTTP:', '//', 'data:', 'blob:', 'file://', 'javascript:'), fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain(), fc.string())).map((parts) => parts.join('')),
);

/** A message of right shape with one part, anywhere in it, put in place of which stands anything. */
const spoilt = (good) =>
  fc.tuple(fc.constantFrom(...pathsOf(good)), anything).map(([path, value]) => {
    const message = structuredClone(good);
    let part = message;
    for (const key of path.slice(0, -1)) part = part[key];
    part[path.at(-1)] = value;
    return message;
  });

function pathsOf(value, before = []) {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return [];
  return Object.keys(value).flatMap((key) => [[...before, key], ...pathsOf(value[key], [...before, key])]);
}

const ITEM = { url: 'https://a.example/b.jpg', asked: true, likely: false, others: ['https://a.example/c.jpg'] };
const TALLY = { waiting: 1, scanning: true, unseen: { small: 3 }, frames: { count: 1, sites: ['https://b.example'] }, isInner: false };
const CONTENT = [
  { type: 'hello', since: 1 },
  { type: 'gone' },
  { type: 'frames' },
  { type: 'open', url: 'page:1' },
  { type: 'check', items: [ITEM, ITEM] },
  { type: 'tally', tally: TALLY },
].map((message) => ({ to: 'background', page: 'abc', ...message }));
const PAGE = [
  { type: 'status' },
  { type: 'retry' },
  { type: 'clear-cache' },
  { type: 'check-page', tabId: 1 },
  { type: 'set-site', site: 'https://a.example/*', on: true },
  { type: 'evidence', key: 'a' },
  { type: 'open', key: 'a' },
].map((message) => ({ to: 'background', ...message }));
const ENGINE = [
  { type: 'lookup', key: 'a' },
  { type: 'still-allowed', job: { url: 'https://a.example/' } },
  { type: 'fetch-page', job: { url: 'page:1' } },
  { type: 'done', job: { url: 'page:1' }, outcome: { kind: 'failed' } },
].map((message) => ({ to: 'background', ...message }));
const WORKER = [
  { type: 'load', preference: 'auto' },
  { type: 'assess', name: 'a', bytes: new ArrayBuffer(1), stabilityFrom: 0.5, evidence: true },
  { type: 'keep', report: '{}', pictures: [new Uint8Array(1)], failure: null },
].map((message) => ({ id: 1, to: 'engine', ...message }));
const KINDS = [
  [CONTENT, messages.isFromContent],
  [PAGE, messages.isFromExtensionPage],
  [ENGINE, messages.isFromEngine],
  [WORKER, isRequest],
];

test('messages of right shape pass their own check, and no other', () => {
  for (const [own, isTheirs] of KINDS) {
    for (const message of own) assert.equal(isTheirs(message), true, JSON.stringify(message));
    for (const [others, ofOthers] of KINDS) {
      if (ofOthers === isTheirs) continue;
      for (const message of others) assert.equal(isTheirs(message) && !ofOthers(message), false, JSON.stringify(message));
    }
  }
  // What only a page of the extension may ask for, no content script and no engine may.
  for (const message of PAGE.filter(({ type }) => type !== 'open')) {
    assert.equal(messages.isFromContent({ page: 'abc', ...message }), false);
    assert.equal(messages.isFromEngine({ job: { url: 'page:1' }, ...message }), false);
  }
});

test('no value is too odd for a check: it is told true or false, and only the known pass', () => {
  const known = new Set(Object.values(names));
  holds(anything, (value) => {
    for (const [, isTheirs] of KINDS) assert.equal(isTheirs(value), false);
  });
  holds(fc.record({ to: fc.constantFrom('background', 'engine'), type: fc.oneof(fc.constantFrom(...known), fc.string()), page: anything, id: fc.integer(), items: anything, tally: anything }), (message) => {
    for (const [, isTheirs] of KINDS) assert.equal(typeof isTheirs(message), 'boolean');
    if (messages.isFromContent(message)) assert.ok(typeof message.page === 'string' && message.page.length <= 40);
  });
});

test('a message with one part spoilt passes only if what stands there is of the shape', () => {
  for (const [own, isTheirs] of KINDS) {
    for (const good of own) {
      holds(spoilt(good), (message) => {
        if (!isTheirs(message)) return;
        // What passed can be used without another look: the parts are what their users take them for.
        if (message.type === 'check') for (const { url, asked, others } of message.items) assert.ok(typeof url === 'string' && url.length <= MAX_URL_CHARS && typeof asked === 'boolean' && others.every((other) => typeof other === 'string'));
        if (message.type === 'tally') {
          const frame = { page: 'p', site: '', tally: message.tally };
          for (const { count, words } of notChecked([], [frame])) assert.ok(count >= 0 && typeof words === 'string');
        }
        if (message.type === 'assess') assert.ok(message.bytes instanceof ArrayBuffer && (message.stabilityFrom ?? 0) <= 1);
        if (message.type === 'set-site') assert.equal(typeof message.on, 'boolean');
      });
    }
  }
});

test('who speaks is never taken for the extension itself by what is said', () => {
  const own = { id: 'me', root: 'chrome-extension://me/', engine: 'chrome-extension://me/extension/offscreen.html' };
  holds(address, fc.boolean(), fc.constantFrom('me', 'other', undefined), (url, hasTab, id) => {
    const kind = messages.senderKind({ id, url, ...(hasTab && { tab: {} }) }, own);
    if (id !== 'me') assert.equal(kind, null);
    if (kind === 'page' || kind === 'engine') assert.ok(url.startsWith(own.root));
    const site = messages.siteOf({ url });
    if (site) assert.match(sitePattern(site), /^https?:\/\/[^/]+\/\*$/);
  });
});

test('no address throws, and none that is let through is private, of another scheme or with credentials', () => {
  holds(address, (text) => {
    const why = refusal(text);
    if (why) return;
    const { protocol, hostname, username } = new URL(text);
    assert.match(protocol, /^https?:$/);
    assert.equal(username, '');
    assert.equal(isPrivateHost(hostname), false);
  });
  holds(fc.ipV4(), (ip) => {
    const [a, b] = ip.split('.').map(Number);
    const isPrivate = a === 10 || a === 127 || a === 0 || a >= 224 || (a === 192 && b === 168) || (a === 172 && b >= 16 && b < 32) || (a === 169 && b === 254);
    if (isPrivate) assert.equal(refusal(`http://${ip}/a.jpg`), 'private');
  });
});

test('what a page writes into addresses, sets and style sheets throws nothing', () => {
  const css = fc.oneof(fc.string(), fc.array(fc.constantFrom('url(', ')', '"', "'", '\\', ',', 'image-set(', 'a.png', ' ', 'linear-gradient(', 'none', '/')).map((parts) => parts.join('')));
  holds(css, (value) => {
    for (const layer of addresses.styleAddresses(value)) assert.ok(layer.length > 0 && layer.every((one) => typeof one === 'string' && one !== ''));
  });
  holds(css, (value) => assert.ok(addresses.srcsetAddresses(value).length <= 8));
  holds(address, (value) => assert.match(addresses.sourceKind(value), /^(fetch|page|drawing|scheme)$/));
  holds(fc.string({ unit: 'binary' }), (value) => {
    assert.equal(typeof addresses.dataBase64(`data:${value}`), 'string');
    for (const word of wordsIn(value)) assert.ok(word !== '');
  });
  holds(fc.base64String(), (value) => assert.equal(addresses.dataBase64(`data:image/png;base64,${value}`), value));
  holds(fc.uint8Array({ maxLength: 20 }), (value) => assert.equal(typeof beginsAsPicture(value), 'boolean'));
});

test('words never drop a picture that its size and shape let through', () => {
  const text = fc.oneof(fc.string(), fc.constantFrom('logo', 'icon badge', 'Product Manager', 'ads'));
  holds(fc.integer({ min: 64, max: 4000 }), fc.double({ min: 0.76, max: 1.33, noNaN: true }), text, text, text, fc.boolean(), (side, aspect, names, label, around, round) => {
    const facts = { shownWidth: side * aspect, shownHeight: side, fileWidth: 0, fileHeight: 0, names, label, around, round };
    if (side * aspect >= 64) assert.match(worthOf(facts), /^(likely|maybe)$/);
  });
  holds(fc.record({ shownWidth: fc.double(), shownHeight: fc.double(), fileWidth: fc.double(), fileHeight: fc.double(), names: text, label: text, around: text, round: fc.boolean() }), (facts) => {
    assert.match(worthOf(facts), /^(likely|maybe|tiny|small|shape)$/);
  });
});

test('settings of any kind become settings', () => {
  holds(anything, (kept) => {
    const { threshold, badges, preference, sites } = settingsFrom(kept);
    assert.ok(threshold >= 0 && threshold <= 1 && typeof badges === 'boolean' && /^(auto|gpu|cpu)$/.test(preference));
    assert.ok(sites.every((site) => typeof site === 'string'));
  });
});

test('any thrown value crosses as code and message', () => {
  holds(anything, (thrown) => {
    const { code, message } = failure(thrown);
    assert.ok(typeof code === 'string' && typeof message === 'string');
  });
});
