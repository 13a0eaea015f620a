// The client's promises against a worker played by the test: matching, time limits, replacement, fall-back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineClient } from '../../www/shared/client.js';

/** A worker that answers `load` by itself and everything else by `onAssess(request, reply)`. */
class PlayedWorker extends EventTarget {
  static made = [];
  terminated = false;
  loads = [];

  constructor(onAssess) {
    super();
    this.onAssess = onAssess;
    PlayedWorker.made.push(this);
    queueMicrotask(() => this.emit({ type: 'ready' }));
  }

  emit(data) {
    if (!this.terminated) this.dispatchEvent(Object.assign(new Event('message'), { data }));
  }

  postMessage(request) {
    const reply = (answer) => queueMicrotask(() => this.emit({ id: request.id, ...answer }));
    if (request.type === 'assess') return this.onAssess(request, reply);
    this.loads.push(request.preference);
    reply({ ok: true, value: { build: request.preference === 'gpu' ? 'gpu' : 'cpu', note: null, detail: '' } });
  }

  terminate() {
    this.terminated = true;
  }
}

const good = (name) => ({ ok: true, value: { report: { schema: 'grnet.report/1', file: { name } }, evidence: [] } });
const bad = (code, fatal) => ({ ok: false, error: { code, message: code, fatal } });
const file = (name) => ({ name, arrayBuffer: async () => new ArrayBuffer(4) });

function client(onAssess, options = {}) {
  PlayedWorker.made = [];
  return new EngineClient({ createWorker: () => new PlayedWorker(onAssess), ...options });
}

test('answers reach the question they belong to, whatever their order', async () => {
  const held = [];
  const engine = client((request, reply) => {
    held.push(() => reply(good(request.name)));
    if (held.length === 2) held.reverse().forEach((send) => send());
  });
  const [a, b] = await Promise.all([engine.assess(file('a')), engine.assess(file('b'))]);
  assert.equal(a.report.file.name, 'a');
  assert.equal(b.report.file.name, 'b');
  assert.equal(PlayedWorker.made.length, 1);
  assert.deepEqual(PlayedWorker.made[0].loads, ['auto'], 'the model is loaded once');
});

test('a failed photo fails alone', async () => {
  const engine = client((request, reply) => reply(request.name === 'bad' ? bad('bad_image') : good(request.name)));
  await assert.rejects(engine.assess(file('bad')), { code: 'bad_image' });
  assert.equal((await engine.assess(file('next'))).report.file.name, 'next');
  assert.equal(PlayedWorker.made.length, 1);
});

test('after a trap the next photo gets a new worker with the same preference', async () => {
  const engine = client((request, reply) => reply(request.name === 'trap' ? bad('internal', true) : good(request.name)));
  await engine.load('gpu');
  await assert.rejects(engine.assess(file('trap')), { code: 'internal' });
  assert.equal((await engine.assess(file('next'))).report.file.name, 'next');
  assert.deepEqual(PlayedWorker.made.map((worker) => worker.terminated), [true, false]);
  assert.deepEqual(PlayedWorker.made[1].loads, ['gpu']);
});

test('an uncaught error in the worker ends what is pending', async () => {
  const engine = client(() => {
    const event = Object.assign(new Event('error'), { message: 'unreachable' });
    queueMicrotask(() => PlayedWorker.made[0].dispatchEvent(event));
  });
  await assert.rejects(engine.assess(file('a')), { code: 'internal', message: 'unreachable' });
  assert.ok(PlayedWorker.made[0].terminated);
});

test('a worker that never answers is given up in time', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const engine = client(() => context.mock.timers.tick(200_000));
  await assert.rejects(engine.assess(file('a')), { code: 'timeout' });
  assert.ok(PlayedWorker.made[0].terminated);
});

test('a lost GPU is replaced by the CPU and the photo is tried again, once', async () => {
  const notes = [];
  let tries = 0;
  const engine = client(
    (request, reply) => {
      tries += 1;
      reply(PlayedWorker.made.at(-1).loads[0] === 'gpu' ? bad('gpu_lost') : good(request.name));
    },
    { onLoaded: (loaded) => notes.push(loaded.note) },
  );
  await engine.load('gpu');
  assert.equal((await engine.assess(file('a'))).report.file.name, 'a');
  assert.equal(tries, 2);
  assert.deepEqual(PlayedWorker.made.map((worker) => worker.loads), [['gpu'], ['cpu']]);
  assert.deepEqual(notes, [null, 'gpu_lost']);
});

test('choosing another backend cancels the load under way', async () => {
  const engine = client(() => {});
  const first = engine.load('gpu');
  const second = engine.load('cpu');
  await assert.rejects(first, { code: 'cancelled' });
  assert.equal((await second).build, 'cpu');
});

test('a failed load is forgotten', async () => {
  const engine = client((request, reply) => reply(good(request.name)));
  const original = PlayedWorker.prototype.postMessage;
  PlayedWorker.prototype.postMessage = function (request) {
    queueMicrotask(() => this.emit({ id: request.id, ...bad('io') }));
  };
  try {
    await assert.rejects(engine.load('auto'), { code: 'io' });
  } finally {
    PlayedWorker.prototype.postMessage = original;
  }
  assert.equal((await engine.load('auto')).build, 'cpu');
});

test('a report of another schema is refused', async () => {
  const engine = client((_, reply) => reply({ ok: true, value: { report: { schema: 'grnet.report/9' }, evidence: [] } }));
  await assert.rejects(engine.assess(file('a')), /expected schema grnet.report\/1/);
});
