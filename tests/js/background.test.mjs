// The background against a played browser: stopped at each of its steps, with full storage, with permissions that come and go.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENGINE_URL, PlayedBrowser } from './mock/chrome.mjs';

const { start } = await import('../../www/extension/background.js');
const { BoundedStore } = await import('../../www/extension/lib/store.js');

const SITE = 'https://social.example/*';
const PHOTO = 'https://social.example/photo.jpg';
const SENDER = { url: 'https://social.example/feed', origin: 'https://social.example', tab: { id: 1 }, frameId: 0 };
const ITEM = { url: PHOTO, asked: false, likely: true, others: [] };
const REPORT = { band: 'likely_fake', p_fake: 0.999, reason: null, faces: [], file: { sha256: 'ab', name: '' }, model: { id: 'cd' } };
const VERDICT = { kind: 'verdict', report: REPORT, failure: null, autoScan: 0.9, thumb: '', cached: false, form: '' };
const say = (type, more = {}) => ({ to: 'background', page: 'p1', type, ...more });

/** An engine that outlives backgrounds, as the offscreen document does: it holds its jobs until the test judges them. */
class PlayedEngine {
  jobs = new Map();
  isNew = true;

  /** Its side for one life of the background. */
  side(life) {
    return {
      url: ENGINE_URL,
      ensure: async () => {
        await life.chrome.storage.session.get('step'); // it takes time
        const wasNew = this.isNew;
        this.isNew = false;
        return wasNew;
      },
      send: async (message) => {
        await life.chrome.storage.session.get('step');
        if (message.type === 'enqueue') for (const job of message.jobs) this.jobs.set(job.id, job);
        if (message.type === 'drop') for (const [id, { tabId }] of this.jobs) if (tabId === message.tabId) this.jobs.delete(id);
        return { ok: true, value: message.type === 'enqueue' ? { accepted: message.jobs.map(({ id }) => id) } : {} };
      },
    };
  }
}

/** One life of the background. */
function live(browser, engine, steps) {
  const life = browser.life(steps);
  globalThis.chrome = life.chrome;
  start(engine.side(life));
  return life;
}

const record = (browser) => browser.session.content[`record/1/0/p1/${PHOTO}`]?.value;
const sayTo = (life, message, sender = SENDER) => life.deliver(message, sender).catch(() => null);
const fromEngine = { url: ENGINE_URL };

test('a picture is taken in, judged, told, kept and forgotten as a job', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  const life = live(browser, engine);
  assert.equal((await sayTo(life, say('hello', { since: 1 }))).value.auto, false);
  assert.deepEqual(await sayTo(life, say('check', { items: [ITEM] })), { ok: true, value: { results: [], busy: [] } });
  assert.equal(record(browser).state, 'waiting');
  assert.deepEqual(browser.session.keys('job/'), [`1/0/p1/${PHOTO}`]);
  const [job] = engine.jobs.values();
  assert.deepEqual(await sayTo(life, say('done', { job, outcome: VERDICT }), fromEngine), { ok: true });
  assert.equal(record(browser).state, 'done');
  assert.deepEqual(browser.session.keys('job/'), []);
  assert.deepEqual(browser.local.keys('verdict/'), ['cd/ab']);
  const [told] = browser.told;
  assert.equal(told.results[0].words.level, 'flag');
});

test('stopped at any step of taking in, the picture is judged all the same', async () => {
  let steps = 0;
  for (; ; steps += 1) {
    const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
    const first = live(browser, engine, steps);
    const taken = await sayTo(first, say('check', { items: [ITEM] }));
    if (taken) break; // it came to its end: all its steps have been tried
    // The content script got no answer, and offers the picture again.
    const second = live(browser, engine);
    assert.deepEqual((await sayTo(second, say('check', { items: [ITEM] }))).value.busy, [], `after ${steps} steps`);
    const [job] = engine.jobs.values();
    assert.equal(engine.jobs.size, 1, `one job after ${steps} steps`);
    await sayTo(second, say('done', { job, outcome: VERDICT }), fromEngine);
    assert.equal(record(browser).state, 'done', `after ${steps} steps`);
    assert.deepEqual(browser.session.keys('job/'), [], `no job is left over after ${steps} steps`);
  }
  assert.ok(steps >= 8, `only ${steps} steps were tried`);
});

test('stopped at any step of finishing, the verdict is told and kept once, and no job is left over', async () => {
  let steps = 0;
  for (; ; steps += 1) {
    const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
    const first = live(browser, engine);
    await sayTo(first, say('check', { items: [ITEM] }));
    const [job] = engine.jobs.values();
    const second = live(browser, engine, steps);
    const done = say('done', { job, outcome: VERDICT });
    if (await sayTo(second, done, fromEngine)) break;
    await sayTo(live(browser, engine), done, fromEngine); // the engine says it twice where need be
    assert.equal(record(browser).state, 'done', `after ${steps} steps`);
    assert.deepEqual(browser.session.keys('job/'), [], `after ${steps} steps`);
    assert.deepEqual(browser.local.keys('verdict/'), ['cd/ab'], `after ${steps} steps`);
    assert.ok(browser.told.length >= 1, `told after ${steps} steps`);
  }
  assert.ok(steps >= 8, `only ${steps} steps were tried`);
});

test('an engine that is new gets what was under way', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  await sayTo(live(browser, engine), say('check', { items: [ITEM] }));
  const next = new PlayedEngine();
  await sayTo(live(browser, next), { to: 'background', type: 'status' }, { url: 'chrome-extension://played/extension/popup.html' });
  assert.deepEqual([...next.jobs.keys()], [`1/0/p1/${PHOTO}`]);
});

test('a full storage costs the keeping, not the verdict', async () => {
  for (const full of ['local', 'session', 'both']) {
    const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
    if (full !== 'session') browser.local.quota = 0;
    if (full !== 'local') browser.session.quota = 0;
    const life = live(browser, engine);
    assert.ok((await sayTo(life, say('check', { items: [ITEM] })))?.ok, full);
    const [job] = engine.jobs.values();
    assert.deepEqual(await sayTo(life, say('done', { job, outcome: VERDICT }), fromEngine), { ok: true }, full);
    assert.equal(browser.told.at(-1).results[0].words.level, 'flag', full);
  }
});

test('an entry that does not fit pushes out the older half, and is given up only then', async () => {
  const area = Object.assign(new PlayedBrowser().local, { quota: 1000 });
  let now = 0;
  const store = new BoundedStore(area, 'v/', { maxEntries: 100, maxBytes: 1e6 }, () => ++now);
  for (let n = 0; n < 20; n += 1) assert.equal(await store.put(String(n), 'x'.repeat(100)), true);
  assert.ok(await store.get('19'));
  assert.equal(await store.put('large', 'x'.repeat(2000)), false);
  assert.equal(await store.get('large'), undefined);
  assert.ok(JSON.stringify(area.content).length <= 1000);
  // An older value under the key would be a wrong one.
  await store.put('19', 'y'.repeat(3000));
  assert.equal(await store.get('19'), undefined);
});

test('a permission withdrawn while a picture waits: it asks for the host, and is judged once that is allowed', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  const url = 'https://cdn.example/a.jpg';
  const pattern = 'https://cdn.example/*';
  browser.origins.add(pattern);
  const life = live(browser, engine);
  await sayTo(life, say('check', { items: [{ ...ITEM, url }] }));
  const [job] = engine.jobs.values();
  assert.deepEqual(await sayTo(life, say('still-allowed', { job }), fromEngine), { ok: true, value: true });
  browser.origins.delete(pattern);
  assert.deepEqual(await sayTo(life, say('still-allowed', { job }), fromEngine), { ok: true, value: false });
  await sayTo(life, say('done', { job, outcome: { kind: 'withdrawn', message: 'gone' } }), fromEngine);
  assert.equal(browser.session.content[`record/1/0/p1/${url}`].value.state, 'blocked');
  engine.jobs.clear();
  browser.origins.add(pattern);
  await Promise.all(life.chrome.permissions.onAdded.all.map((listener) => listener({ origins: [pattern] })));
  assert.equal(engine.jobs.size, 1);
});

test('a new page in a tab clears the last one’s pictures, and not those of its own early frames', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  const life = live(browser, engine);
  await sayTo(life, say('hello', { since: 1 }));
  await sayTo(life, say('check', { items: [ITEM] }));
  await new Promise((resolve) => setTimeout(resolve, 5));
  const since = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const inner = { ...SENDER, frameId: 7 };
  await sayTo(life, say('hello', { since, page: 'inner' }), inner);
  await sayTo(life, say('check', { page: 'inner', items: [ITEM] }), inner);
  await sayTo(life, say('hello', { since, page: 'p2' }));
  assert.deepEqual(browser.session.keys('record/'), [`1/7/inner/${PHOTO}`]);
  assert.deepEqual(browser.session.keys('frame/').sort(), ['1/0', '1/7']);
  await sayTo(life, say('gone', { page: 'inner' }), inner);
  assert.deepEqual(browser.session.keys('frame/'), ['1/0']);
  await Promise.all(life.chrome.tabs.onRemoved.all.map((listener) => listener(1)));
  assert.deepEqual([...browser.session.keys('record/'), ...browser.session.keys('frame/'), ...browser.session.keys('job/')], []);
});

test('for what is called an ornament no permission is asked, unless the user asked about it', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  const life = live(browser, engine);
  const url = (name) => `https://cdn.example/${name}.png`;
  await sayTo(life, say('check', { items: [
    { ...ITEM, url: url('logo'), likely: false },
    { ...ITEM, url: url('asked'), likely: false, asked: true },
    { ...ITEM, url: url('photo') },
  ] }));
  const state = (name) => { const { state, why } = browser.session.content[`record/1/0/p1/${url(name)}`].value; return `${state} ${why}`; };
  assert.deepEqual(['logo', 'asked', 'photo'].map(state), ['refused elsewhere', 'blocked ', 'blocked ']);
  assert.equal(engine.jobs.size, 0);
});

test('other forms of a picture are handed on only where they may be read', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  const life = live(browser, engine);
  await sayTo(life, say('check', { items: [{ ...ITEM, others: ['https://social.example/b.jpg', 'https://cdn.example/c.jpg'] }] }));
  let [job] = engine.jobs.values();
  assert.deepEqual(job.others.map(({ url }) => url), ['https://social.example/b.jpg']);
  await sayTo(life, say('check', { page: 'p2', items: [{ ...ITEM, others: ['http://192.168.0.1/a.jpg', 'file:///a.jpg'] }] }));
  job = [...engine.jobs.values()].at(-1);
  assert.deepEqual(job.others, []);
});

test('a frame that its page wrote is of the page’s site; one of no site gets nothing but what the user allowed', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  browser.local.content.settings = { sites: [SITE] };
  const life = live(browser, engine);
  const written = { url: 'about:srcdoc', origin: 'https://social.example', tab: { id: 1 }, frameId: 3 };
  assert.equal((await sayTo(life, say('hello', { since: 1, page: 'w' }), written)).value.auto, true);
  const nowhere = { url: 'about:srcdoc', origin: 'null', tab: { id: 1 }, frameId: 4 };
  assert.equal((await sayTo(life, say('hello', { since: 1, page: 'n' }), nowhere)).value.auto, false);
  await sayTo(life, say('check', { page: 'n', items: [ITEM] }), nowhere);
  assert.equal(browser.session.content[`record/1/4/n/${PHOTO}`].value.state, 'blocked');
});
