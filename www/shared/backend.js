// @ts-check
// What to compute on: the GPU where WebGPU reaches a real adapter, else the CPU. Software adapters compute correctly but
// many times slower than the CPU, so `auto` passes them by.

/** @typedef {import('./messages.js').Build} Build */
/** @typedef {import('./messages.js').Note} Note */
/** @typedef {import('./messages.js').Preference} Preference */

/**
 * What is known of an adapter.
 * @typedef {{isFallbackAdapter?: boolean, info?: {isFallbackAdapter?: boolean, vendor?: string,
 *   architecture?: string, device?: string, description?: string}}} AdapterFacts
 */

/** Names by which software adapters go where `isFallbackAdapter` does not tell. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|basic render/i;

/**
 * Whether the adapter is a program on the CPU.
 * @param {AdapterFacts} adapter
 * @returns {boolean}
 */
export function isSoftware(adapter) {
  const { info = {} } = adapter;
  if (adapter.isFallbackAdapter || info.isFallbackAdapter) return true;
  return SOFTWARE.test([info.vendor, info.architecture, info.device, info.description].join(' '));
}

/**
 * The device for `preference`, given what the browser offers.
 * @param {Preference} preference
 * @param {{requestAdapter(options?: object): Promise<AdapterFacts | null>} | undefined} gpu `navigator.gpu`
 * @returns {Promise<{build: Build, note: Note | null}>}
 */
export async function chooseBuild(preference, gpu) {
  if (preference === 'cpu') return { build: 'cpu', note: null };
  if (!gpu) return { build: 'cpu', note: 'no_webgpu' };
  /** @type {AdapterFacts | null} */
  let adapter = null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  } catch {
    // A browser may throw here where its GPU process is gone: the same as no adapter.
  }
  if (!adapter) return { build: 'cpu', note: 'no_adapter' };
  if (preference === 'auto' && isSoftware(adapter)) return { build: 'cpu', note: 'software_adapter' };
  return { build: 'gpu', note: null };
}
