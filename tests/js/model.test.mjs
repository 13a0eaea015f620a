// The model in the browser's cache: whatever became of it there or on the way, what is used has the manifest's digest.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { beforeEach, test } from 'node:test';
import { loadModel } from '../../www/shared/model.js';

const URL_ = new URL('https://a.example/model/grnet.json');
const MODEL = Uint8Array.from({ length: 100_000 }, (_, at) => (at * 31) & 255);
const MANIFEST = { file: 'grnet.safetensors', sha256: createHash('sha256').update(MODEL).digest('hex'), bytes: MODEL.length };
const tampered = () => Uint8Array.from(MODEL, (byte, at) => (at === 50_000 ? byte ^ 1 : byte));

/** What the cache holds, by address. */
let kept, fetched, served, hasRoom;

beforeEach(() => {
  [kept, fetched, served, hasRoom] = [new Map(), [], () => new Response(MODEL), true];
  globalThis.fetch = async (url) => {
    fetched.push(new URL(url).pathname);
    return String(url).endsWith('.json') ? new Response(JSON.stringify(MANIFEST)) : served();
  };
  globalThis.caches = {
    open: async () => ({
      match: async (url) => (kept.has(String(url)) ? new Response(kept.get(String(url))) : undefined),
      delete: async (url) => kept.delete(String(url.url ?? url)),
      keys: async () => [...kept.keys()].map((url) => ({ url })),
      put: async (url, response) => {
        if (!hasRoom) throw new DOMException('no room', 'QuotaExceededError');
        kept.set(String(url), new Uint8Array(await response.arrayBuffer()));
      },
    }),
  };
});

const load = () => loadModel(URL_, () => {});
const modelFetches = () => fetched.filter((path) => path.endsWith('.safetensors')).length;
const ADDRESS = `https://a.example/model/grnet.safetensors?sha256=${MANIFEST.sha256}`;

test('the second load takes the model from the cache', async () => {
  await load();
  const { bytes } = await load();
  assert.deepEqual(bytes, MODEL);
  assert.equal(modelFetches(), 1);
});

test('a model that was cut or changed in the cache is fetched again, and the cache mended', async () => {
  for (const damaged of [MODEL.slice(0, 60_000), tampered(), new Uint8Array()]) {
    kept.set(ADDRESS, damaged);
    fetched.length = 0;
    const { bytes } = await load();
    assert.deepEqual(bytes, MODEL);
    assert.equal(modelFetches(), 1);
    assert.deepEqual(kept.get(ADDRESS), MODEL);
  }
});

test('a model that comes cut, changed, too long or not at all is neither used nor kept', async () => {
  const cases = [
    [() => new Response(MODEL.slice(0, 60_000)), /expected 100000 bytes of model, found 60000/],
    [() => new Response(tampered()), /sha-256/],
    [() => new Response(new Uint8Array([...MODEL, 1])), /found more/],
    [() => new Response('', { status: 503 }), /found 503/],
  ];
  for (const [answer, message] of cases) {
    served = answer;
    await assert.rejects(load(), { message });
    assert.equal(kept.size, 0);
  }
  served = () => new Response(MODEL);
  assert.deepEqual((await load()).bytes, MODEL, 'and the next try is a clean one');
});

test('a connection that breaks off in the middle is told, and the next try succeeds', async () => {
  served = () =>
    new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(MODEL.slice(0, 1000));
          controller.error(new TypeError('network error'));
        },
      }),
    );
  await assert.rejects(load(), /network error/);
  assert.equal(kept.size, 0);
  served = () => new Response(MODEL);
  assert.deepEqual((await load()).bytes, MODEL);
});

test('without room, and without a cache at all, the model is used all the same', async () => {
  hasRoom = false;
  assert.deepEqual((await load()).bytes, MODEL);
  globalThis.caches.open = async () => {
    throw new DOMException('not here', 'SecurityError');
  };
  assert.deepEqual((await load()).bytes, MODEL);
});
