// Only well-formed requests reach the engine, and every failure crosses as {code, message}.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coded, failure, isRequest } from '../../www/shared/messages.js';

test('requests of known type and shape are accepted', () => {
  assert.ok(isRequest({ id: 1, to: 'engine', type: 'load', preference: 'auto' }));
  assert.ok(isRequest({ id: 2, to: 'engine', type: 'assess', name: 'a.jpg', bytes: new ArrayBuffer(1) }));
  assert.ok(isRequest({ id: 3, to: 'engine', type: 'assess', name: 'a.jpg', bytes: new ArrayBuffer(1), stabilityFrom: 0.9, evidence: true }));
  assert.ok(isRequest({ id: 4, to: 'engine', type: 'keep', report: '{}', pictures: [new Uint8Array(4)], failure: null }));
});

test('anything else is refused', () => {
  const good = { id: 1, to: 'engine', type: 'load', preference: 'auto' };
  const wrong = [
    null,
    'load',
    {},
    { ...good, id: '1' },
    { ...good, to: 'page' },
    { ...good, type: 'explode' },
    { ...good, preference: 'cuda' },
    { id: 1, to: 'engine', type: 'assess', name: 'a.jpg', bytes: [1, 2] },
    { id: 1, to: 'engine', type: 'assess', bytes: new ArrayBuffer(1) },
    { id: 1, to: 'engine', type: 'assess', name: 'a', bytes: new ArrayBuffer(1), stabilityFrom: 'yes' },
    { id: 1, to: 'engine', type: 'assess', name: 'a', bytes: new ArrayBuffer(1), stabilityFrom: NaN },
    { id: 1, to: 'engine', type: 'assess', name: 'a', bytes: new ArrayBuffer(1), stabilityFrom: 2 },
    { id: 1, to: 'engine', type: 'assess', name: 'a', bytes: new ArrayBuffer(1), evidence: 1 },
    { id: 1, to: 'engine', type: 'keep', report: '{}', pictures: [[1]] },
    { id: 1, to: 'engine', type: 'keep', pictures: [] },
  ];
  for (const data of wrong) assert.equal(isRequest(data), false, JSON.stringify(data));
});

test('an error keeps its code, an unknown one becomes internal', () => {
  assert.deepEqual(failure(coded('bad_image', 'broken')), { code: 'bad_image', message: 'broken' });
  assert.deepEqual(failure(new TypeError('oops')), { code: 'internal', message: 'oops' });
  assert.deepEqual(failure('text'), { code: 'internal', message: 'text' });
});

test('a trap in wasm is fatal: the worker must be replaced', () => {
  assert.equal(failure(new WebAssembly.RuntimeError('unreachable')).fatal, true);
  assert.equal(failure(coded('bad_image', 'broken')).fatal, undefined);
});
