// The background against a played browser: stopped at each of its steps, with full storage, with permissions that come and go.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENGINE_URL, PlayedBrowser } from './mock/chrome.mjs';

const { start } = await import('../../www/extension/background.js');
const { BoundedStore } = await import('../../www/extension/lib/store.js');
const { MAX_ITEMS } = await import('../../www/extension/lib/names.js');

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
  room = Infinity;

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
        if (message.type === 'enqueue') for (const job of message.jobs) if (this.jobs.size < this.room) this.jobs.set(job.id, job);
        if (message.type === 'drop') for (const [id, { tabId }] of this.jobs) if (tabId === message.tabId) this.jobs.delete(id);
        return { ok: true, value: message.type === 'enqueue' ? { accepted: message.jobs.map(({ id }) => id).filter((id) => this.jobs.has(id)) } : {} };
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

test('a list that was cut is told to be, of that tab alone, until its next page', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  const life = live(browser, engine);
  const other = { ...SENDER, tab: { id: 2 } };
  await sayTo(life, say('hello', { since: 1 }));
  await sayTo(life, say('hello', { since: 1 }), other);
  const check = async (/** @type {number} */ first, /** @type {number} */ count, /** @type {object} */ sender) => {
    const items = Array.from({ length: count }, (_, n) => ({ ...ITEM, url: `${PHOTO}?${first + n}` }));
    assert.ok((await sayTo(life, say('check', { items }), sender))?.ok);
  };
  for (let first = 0; first < 1000; first += MAX_ITEMS) await check(first, Math.min(MAX_ITEMS, 1000 - first), SENDER);
  assert.equal(browser.session.content['cut/1'], undefined);
  await check(0, 1, other);
  const cut = () => Object.keys(browser.session.content).filter((key) => key.startsWith('cut/'));
  assert.deepEqual(cut(), ['cut/1'], 'the oldest picture was of the first tab');
  await sayTo(life, { ...say('hello', { since: Date.now() + 1 }), page: 'p2' });
  assert.deepEqual(cut(), []);
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

// ---- Stopped at each step --------------------------------------------------------------------------------------------

/**
 * Lives of a background that is stopped in the middle of something: after none of its steps, after one, and so on, until one comes
 * to its end. `begin` brings the browser there, `act` is what is interrupted, `check` looks at what the next life makes of it.
 */
async function stoppedAtEachStep({ begin = async () => {}, act, check, atLeast }) {
  let steps = 0;
  for (let ended = false; !ended; steps += 1) {
    const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
    await begin(browser, engine);
    const first = live(browser, engine, steps);
    ended = await Promise.race([act(first, browser).then(() => true, () => false), first.stopped.then(() => false)]);
    await check(live(browser, engine), browser, engine, `stopped after ${ended ? 'all' : steps} steps`);
  }
  assert.ok(steps > atLeast, `only ${steps} steps were tried`);
}

const PAGE = { url: 'chrome-extension://played/extension/popup.html' };
const sayFromPage = (life, type, more = {}) => life.deliver({ to: 'background', type, ...more }, PAGE);
/** An event of the browser, through to the end of what it sets off. */
const event = (target, ...given) => Promise.all(target.all.map((listener) => listener(...given)));
const states = (browser) => browser.session.keys('record/').map((key) => browser.session.content[`record/${key}`].value.state);

test('stopped at any step after a host was allowed: its pictures are judged, and none waits for ever', async () => {
  const pattern = 'https://cdn.example/*';
  await stoppedAtEachStep({
    begin: async (browser, engine) => {
      const items = ['a', 'b'].map((name) => ({ ...ITEM, url: `https://cdn.example/${name}.jpg` }));
      await sayTo(live(browser, engine), say('check', { items }));
      assert.deepEqual(states(browser), ['blocked', 'blocked']);
      browser.origins.add(pattern);
    },
    act: (life) => event(life.chrome.permissions.onAdded, { origins: [pattern] }),
    check: async (life, browser, engine, when) => {
      // The popup asks for the state; where it still lists pictures under "another host", the user presses once more.
      await sayFromPage(life, 'status');
      if (states(browser).includes('blocked')) await sayFromPage(life, 'retry');
      assert.equal(engine.jobs.size, 2, when);
      for (const job of [...engine.jobs.values()]) await sayTo(life, say('done', { job, outcome: VERDICT }), fromEngine);
      assert.deepEqual(states(browser), ['done', 'done'], when);
      assert.deepEqual(browser.session.keys('job/'), [], when);
    },
    atLeast: 10,
  });
});

test('more pictures of a host that was allowed than the engine holds: the rest can be asked for again', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  const life = live(browser, engine);
  const items = ['a', 'b', 'c'].map((name) => ({ ...ITEM, url: `https://cdn.example/${name}.jpg` }));
  await sayTo(life, say('check', { items }));
  browser.origins.add('https://cdn.example/*');
  engine.room = 2;
  assert.equal((await sayFromPage(life, 'retry')).value, 2);
  assert.deepEqual(states(browser).toSorted(), ['blocked', 'waiting', 'waiting']);
  engine.room = Infinity;
  assert.equal((await sayFromPage(life, 'retry')).value, 1);
  assert.equal(engine.jobs.size, 3);
});

test('stopped at any step of switching a site on: the switch and what it does agree, and a second press is enough', async () => {
  await stoppedAtEachStep({
    begin: async (browser) => void browser.origins.add(SITE),
    act: (life) => sayFromPage(life, 'set-site', { site: SITE, on: true }),
    check: async (life, browser, engine, when) => {
      const sites = () => browser.local.content.settings?.sites ?? [];
      if (sites().includes(SITE)) assert.deepEqual([...browser.scripts], [`auto ${SITE}`], `a site that is on is checked, ${when}`);
      assert.ok((await sayFromPage(life, 'set-site', { site: SITE, on: true })).ok, when);
      assert.deepEqual([sites(), [...browser.scripts]], [[SITE], [`auto ${SITE}`]], when);
    },
    atLeast: 6,
  });
});

test('stopped at any step of switching a site off: it stays off, the others stay on, and a second press is enough', async () => {
  const other = 'https://other.example/*';
  await stoppedAtEachStep({
    begin: async (browser, engine) => {
      for (const site of [SITE, other]) {
        browser.origins.add(site);
        await sayFromPage(live(browser, engine), 'set-site', { site, on: true });
      }
      assert.equal(browser.scripts.size, 2);
    },
    act: (life) => sayFromPage(life, 'set-site', { site: SITE, on: false }),
    check: async (life, browser, engine, when) => {
      assert.ok(browser.scripts.has(`auto ${other}`), `the other site is checked all the time, ${when}`);
      assert.ok((await sayFromPage(life, 'set-site', { site: SITE, on: false })).ok, when);
      assert.deepEqual(browser.local.content.settings.sites, [other], when);
      assert.deepEqual([...browser.scripts], [`auto ${other}`], when);
      assert.deepEqual([...browser.origins], [other], when);
    },
    atLeast: 8,
  });
});

test('stopped at any step after a choice from the menu: a second one is answered, and only once', async () => {
  const info = { menuItemId: 'check', srcUrl: PHOTO, pageUrl: 'https://social.example/feed', frameId: 0 };
  const choose = (life) => event(life.chrome.contextMenus.onClicked, info, { id: 1, incognito: false });
  await stoppedAtEachStep({
    act: choose,
    check: async (life, browser, engine, when) => {
      await choose(life);
      assert.equal(engine.jobs.size, 1, when);
      assert.match(browser.windows.at(-1), /panel\.html#1%2F0%2Fmenu%2F/, when);
      const [job] = engine.jobs.values();
      await sayTo(life, say('done', { job, outcome: VERDICT }), fromEngine);
      assert.deepEqual(states(browser), ['done'], when);
      assert.deepEqual(browser.session.keys('job/'), [], when);
    },
    atLeast: 10,
  });
});

test('stopped at any step after a tab was closed: nothing of the other tab is touched, and no job is left over', async () => {
  await stoppedAtEachStep({
    begin: async (browser, engine) => {
      const life = live(browser, engine);
      browser.tabs.set(2, 'https://social.example/other');
      for (const id of [1, 2]) await sayTo(life, say('check', { items: [ITEM] }), { ...SENDER, tab: { id } });
      browser.tabs.delete(1);
    },
    act: (life) => event(life.chrome.tabs.onRemoved, 1),
    check: async (life, browser, engine, when) => {
      assert.ok(browser.session.content[`record/2/0/p1/${PHOTO}`], when);
      await sayFromPage(life, 'status');
      assert.ok(engine.jobs.has(`2/0/p1/${PHOTO}`), when);
      for (const job of [...engine.jobs.values()]) await sayTo(life, say('done', { job, outcome: VERDICT }), fromEngine);
      assert.equal(browser.session.content[`record/2/0/p1/${PHOTO}`].value.state, 'done', when);
      assert.deepEqual(browser.session.keys('job/'), [], when);
    },
    atLeast: 4,
  });
});

test('a job that was written down before a stop, and one whose end was not taken, are given to the engine by the next life', async () => {
  const [browser, engine] = [new PlayedBrowser(), new PlayedEngine()];
  await sayTo(live(browser, engine), say('check', { items: [ITEM] }));
  engine.jobs.clear(); // it has told its end, twice, to nobody
  await sayFromPage(live(browser, engine), 'status');
  assert.deepEqual([...engine.jobs.keys()], [`1/0/p1/${PHOTO}`]);
});
