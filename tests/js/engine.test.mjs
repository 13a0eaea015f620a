// The extension's engine host against a played worker and a played network: what is judged how often, and what happens when a
// part is lost.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EngineHost } from '../../www/extension/engine.js';
import { coded, failure } from '../../www/shared/messages.js';

const MANIFEST = JSON.parse(readFileSync(new URL('../../weights/grnet.json', import.meta.url), 'utf8'));
const JPEG = [0xff, 0xd8, 0xff, 0xe0];
/** A host that rests would keep the process alive for minutes. */
const realTimeout = globalThis.setTimeout;
globalThis.setTimeout = (ring, ms, ...given) => {
  const timer = realTimeout(ring, ms, ...given);
  if (ms >= 60_000) timer.unref();
  return timer;
};

/** Waits until so many pictures have ended. */
async function ended(played, count) {
  for (const end = Date.now() + 10_000; played.done.length < count; ) {
    assert.ok(Date.now() < end, `expected ${count} pictures to end, found ${JSON.stringify(played.done)}`);
    await new Promise((resolve) => realTimeout(resolve, 5));
  }
}

/** A host whose worker answers as `judge` says, and whose pictures are what `served` has under their address. */
function play({ judge = () => ({ p_fake: 0.1 }), served = {}, allowed = () => true, thresholds = MANIFEST.thresholds } = {}) {
  const played = { workers: 0, loads: 0, judged: [], done: [], fetched: [], kept: new Map(), host: null };
  class PlayedWorker extends EventTarget {
    constructor() {
      super();
      played.workers += 1;
      queueMicrotask(() => this.emit({ type: 'ready' }));
    }
    emit(data) {
      if (!this.ended) this.dispatchEvent(Object.assign(new Event('message'), { data }));
    }
    async postMessage(request) {
      try {
        this.emit({ id: request.id, ok: true, value: await this.answer(request) });
      } catch (error) {
        if (error.message === 'killed') return this.dispatchEvent(Object.assign(new Event('error'), { message: 'killed' }));
        this.emit({ id: request.id, ok: false, error: failure(error) });
      }
    }
    async answer(request) {
      if (request.type === 'load') {
        played.loads += 1;
        return { build: 'cpu', note: null, detail: '', model: { id: MANIFEST.sha256, name: 'played' }, thresholds };
      }
      const text = Buffer.from(request.bytes).toString('latin1');
      played.judged.push({ text: text.slice(4), stabilityFrom: request.stabilityFrom, evidence: request.evidence });
      const { p_fake = null, reason = null, evidence = [] } = await judge(text.slice(4), played.judged.length);
      const report = { schema: 'grnet.report/1', band: p_fake === null ? 'not_assessed' : 'likely_fake', p_fake, reason, faces: [], file: { sha256: request.name, name: request.name }, model: { id: MANIFEST.sha256 } };
      return { report, failure: null, evidence };
    }
    terminate() {
      this.ended = true;
    }
  }
  globalThis.fetch = async (url) => {
    const address = String(url);
    played.fetched.push(address);
    if (address.endsWith('grnet.json')) return new Response(JSON.stringify(MANIFEST));
    const text = served[address];
    if (text === undefined) throw new TypeError('Failed to fetch');
    return new Response(new Uint8Array([...JPEG, ...Buffer.from(text)]), { headers: { 'content-type': 'image/jpeg' } });
  };
  const background = {
    lookup: ({ key }) => played.kept.get(key) ?? null,
    'still-allowed': ({ job }) => allowed(job),
    'fetch-page': ({ job }) => Buffer.from(served[job.url] ?? '\u0000').toString('base64'),
    done: ({ job, outcome }) => {
      played.done.push({ url: job.url, ...outcome });
      if (outcome.kind === 'verdict') played.kept.set(`${MANIFEST.sha256}/${outcome.report.file.sha256}`, { report: outcome.report, failure: null, autoScan: outcome.autoScan });
    },
  };
  played.host = new EngineHost({
    send: async (message) => ({ ok: true, value: background[message.type](message) }),
    createWorker: () => new PlayedWorker(),
    root: new URL('chrome-extension://played/'),
    activeTabFetch: true,
    fetchMode: 'same-origin',
  });
  played.enqueue = (...jobs) => played.host.handle({ type: 'enqueue', preference: 'auto', jobs });
  return played;
}

const address = (name) => `https://a.example/${name}.jpg`;
const jobFor = (name, more = {}) => ({ id: `1/0/p/${name}`, tabId: 1, frameId: 0, page: 'p', host: 'a.example', url: address(name), asked: false, others: [], inPage: false, permitted: true, keep: true, ...more });
const form = (name) => ({ url: address(name), inPage: false, permitted: true });

test('a picture is judged once, flagged or not, and no picture for the eye is made', async () => {
  const played = play({ served: { [address('a')]: 'flag' }, judge: () => ({ p_fake: 0.999 }) });
  await played.enqueue(jobFor('a'));
  await ended(played, 1);
  assert.deepEqual(played.judged, [{ text: 'flag', stabilityFrom: MANIFEST.thresholds.auto_scan, evidence: false }]);
  assert.equal(played.done[0].report.p_fake, 0.999);
  assert.equal(played.done[0].autoScan, MANIFEST.thresholds.auto_scan);
  assert.deepEqual(played.fetched.filter((url) => url.includes('model/')), ['chrome-extension://played/model/grnet.json'], 'the manifest once, the model by the worker alone');
});

test('the panel gets evidence, made anew and kept for the next look', async () => {
  const picture = { height: 1, width: 1, rgba: new Uint8ClampedArray([1, 2, 3, 4]) };
  const evidence = [{ photo: picture, residual: picture, heat: picture, heat_own: picture }, null];
  const played = play({ served: { [address('a')]: 'flag' }, judge: () => ({ p_fake: 0.999, evidence }) });
  const found = await played.host.handle({ type: 'evidence', job: jobFor('a') });
  await played.host.handle({ type: 'evidence', job: jobFor('a') });
  assert.deepEqual(played.judged, [{ text: 'flag', stabilityFrom: 0, evidence: true }]);
  assert.deepEqual(found.evidence[0].heat_own, { height: 1, width: 1, rgba: 'AQIDBA==' });
  assert.equal(found.evidence[1], null);
  assert.equal(found.report.file.name, '');
});

test('the same content in two tabs is judged once, and each is told', async () => {
  const played = play({ served: { [address('a')]: 'same', [address('b')]: 'same' } });
  await played.enqueue(jobFor('a'), jobFor('b', { id: '2/0/q/b', tabId: 2, page: 'q' }), jobFor('a', { id: '2/0/q/a', tabId: 2, page: 'q' }));
  await ended(played, 3);
  assert.equal(played.judged.length, 1);
  assert.deepEqual(played.done.map(({ kind }) => kind), ['verdict', 'verdict', 'verdict']);
});

test('a form that can be read stands in for one that cannot', async () => {
  const unreadable = (text) => (text.startsWith('avif') ? { reason: 'unreadable' } : { p_fake: 0.1 });
  const served = { [address('shown')]: 'avif', [address('worse')]: 'avif too', [address('beside')]: 'jpeg' };
  const played = play({ served, judge: unreadable });
  await played.enqueue(jobFor('shown', { others: [form('gone'), form('worse'), form('beside')] }));
  await ended(played, 1);
  assert.equal(played.done[0].form, address('beside'));
  assert.equal(played.done[0].report.p_fake, 0.1);
  const none = play({ served, judge: unreadable });
  await none.enqueue(jobFor('shown', { others: [form('gone')] }));
  await ended(none, 1);
  assert.deepEqual([none.done[0].kind, none.done[0].report.reason, none.done[0].form], ['verdict', 'unreadable', '']);
  const readable = play({ served: { [address('a')]: 'jpeg' } });
  await readable.enqueue(jobFor('a', { others: [form('beside')] }));
  await ended(readable, 1);
  assert.ok(!readable.fetched.includes(address('beside')), 'the other form is not asked for without need');
});

test('a worker that is killed takes nothing with it: the picture is judged by the next one', async () => {
  const played = play({
    served: { [address('a')]: 'a', [address('b')]: 'b' },
    judge: (text, count) => {
      if (count === 1) throw new Error('killed');
      return { p_fake: 0.1 };
    },
  });
  await played.enqueue(jobFor('a'), jobFor('b'));
  await ended(played, 2);
  assert.deepEqual(played.done.map(({ kind }) => kind), ['verdict', 'verdict']);
  assert.ok(played.workers >= 2);
});

test('a picture that kills every worker fails alone, after two tries', async () => {
  const played = play({
    served: { [address('bad')]: 'bad', [address('good')]: 'good' },
    judge: async (text) => {
      const count = (wanted) => played.judged.filter((one) => one.text === wanted).length;
      // The other one is with the worker whenever this one takes it down.
      for (; text === 'bad' && count('good') < count('bad'); ) await new Promise((resolve) => realTimeout(resolve, 5));
      if (text === 'bad') throw new WebAssembly.RuntimeError('unreachable');
      await new Promise((resolve) => realTimeout(resolve, 200));
      return { p_fake: 0.1 };
    },
  });
  // At the same time: what is judged beside it may go down with it, twice, and is judged all the same.
  await played.enqueue(jobFor('bad'), jobFor('good'));
  await ended(played, 2);
  assert.equal(played.judged.filter(({ text }) => text === 'bad').length, 2);
  const ends = Object.fromEntries(played.done.map(({ url, kind }) => [url, kind]));
  assert.deepEqual(ends, { [address('bad')]: 'failed', [address('good')]: 'verdict' });
});

test('a model that is not the manifest’s gives no verdict, and the reason is told', async () => {
  const played = play({ served: { [address('a')]: 'a' }, thresholds: { ...MANIFEST.thresholds, auto_scan: 0.5 } });
  await played.enqueue(jobFor('a'));
  await ended(played, 1);
  assert.equal(played.done[0].kind, 'failed');
  assert.equal(played.done[0].code, 'bad_weights');
  const state = await played.host.handle({ type: 'status' });
  assert.match(state.error.message, /auto_scan/);
});

test('what ends without a verdict says why', async () => {
  const page = (url, text) => ({ ...jobFor('x'), id: url, url, inPage: true, permitted: false, ...(text && {}) });
  const played = play({ served: { 'page:1': 'Á' }, judge: () => ({ p_fake: 0.1 }) });
  globalThis.fetch = ((inner) => async (url) => {
    if (String(url).endsWith('/text.jpg')) return new Response('<p>', { headers: { 'content-type': 'text/html' } });
    if (String(url).endsWith('/gone.jpg')) return new Response('', { status: 404 });
    return inner(url);
  })(globalThis.fetch);
  await played.enqueue(jobFor('text'), jobFor('gone'), page('page:1'));
  await ended(played, 3);
  const why = Object.fromEntries(played.done.map(({ url, kind, why }) => [url, `${kind} ${why}`]));
  assert.deepEqual([why[address('text')], why[address('gone')]], ['refused type', 'refused status']);
  assert.match(why['page:1'], /^verdict/);
});

test('without a network a picture is tried three times, with pauses, and then told', async () => {
  const played = play();
  const started = Date.now();
  await played.enqueue(jobFor('a'));
  await ended(played, 1);
  assert.equal(played.fetched.filter((url) => url === address('a')).length, 3);
  assert.ok(Date.now() - started >= 2900, 'a second, then two');
  assert.equal(played.done[0].kind, 'unreachable');
});

test('a data: address that holds none is no fault of the detector', async () => {
  const played = play();
  const job = { ...jobFor('x'), url: 'page:1', inPage: true, permitted: false };
  const host = new EngineHost({
    send: async (message) => (message.type === 'fetch-page' ? { ok: true, value: '%%%' } : message.type === 'done' ? void played.done.push(message.outcome) : { ok: true, value: null }),
    createWorker: () => assert.fail('no worker is needed'),
    root: new URL('chrome-extension://played/'),
    activeTabFetch: true,
    fetchMode: 'cors',
  });
  await host.handle({ type: 'enqueue', preference: 'auto', jobs: [job] });
  await ended(played, 1);
  assert.deepEqual([played.done[0].kind, played.done[0].why], ['refused', 'type']);
  assert.equal((await host.handle({ type: 'status' })).error, null);
});

test('a job asked for again while its end is told is done again', async () => {
  const played = play({ served: { [address('a')]: 'a' } });
  const { push } = played.done;
  let again = null;
  played.done.push = (...ends) => {
    again ??= played.enqueue(jobFor('a')); // as a background does that had not heard of the end
    return push.apply(played.done, ends);
  };
  await played.enqueue(jobFor('a'));
  await ended(played, 2);
  assert.equal(played.judged.length, 1, 'from what is kept');
});

test('an unknown message is an error', async () => {
  await assert.rejects(play().host.handle({ type: 'explode' }), { code: 'internal' });
  assert.equal(coded('a', 'b').code, 'a');
});
