// What computes, by preference and by what the browser offers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseBuild, isSoftware } from '../../www/shared/backend.js';

const offering = (adapter) => ({ requestAdapter: async () => adapter });
const REAL = { info: { vendor: 'nvidia', architecture: 'ampere', isFallbackAdapter: false } };
const SWIFTSHADER = { info: { vendor: 'google', architecture: 'swiftshader' } };

test('software adapters are known by flag and by name', () => {
  assert.equal(isSoftware(REAL), false);
  assert.equal(isSoftware({}), false);
  assert.equal(isSoftware({ isFallbackAdapter: true }), true);
  assert.equal(isSoftware({ info: { isFallbackAdapter: true } }), true);
  assert.equal(isSoftware(SWIFTSHADER), true);
  assert.equal(isSoftware({ info: { description: 'llvmpipe (LLVM 15.0.6, 256 bits)' } }), true);
});

test('auto takes a real GPU and passes a software one by', async () => {
  assert.deepEqual(await chooseBuild('auto', offering(REAL)), { build: 'gpu', note: null });
  assert.deepEqual(await chooseBuild('auto', offering(SWIFTSHADER)), { build: 'cpu', note: 'software_adapter' });
});

test('gpu takes whatever adapter there is', async () => {
  assert.deepEqual(await chooseBuild('gpu', offering(SWIFTSHADER)), { build: 'gpu', note: null });
});

test('without WebGPU or adapter the CPU computes, with the reason', async () => {
  assert.deepEqual(await chooseBuild('auto', undefined), { build: 'cpu', note: 'no_webgpu' });
  assert.deepEqual(await chooseBuild('gpu', offering(null)), { build: 'cpu', note: 'no_adapter' });
  const throwing = { requestAdapter: () => Promise.reject(new Error('gpu process gone')) };
  assert.deepEqual(await chooseBuild('auto', throwing), { build: 'cpu', note: 'no_adapter' });
});

test('cpu asks no GPU', async () => {
  const forbidden = { requestAdapter: () => assert.fail('asked for an adapter') };
  assert.deepEqual(await chooseBuild('cpu', forbidden), { build: 'cpu', note: null });
});
