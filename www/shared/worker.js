// @ts-check
// The engine worker: owns the wasm module and the model, one job at a time, in order. It neither decodes nor resizes:
// bytes go into Rust, a report comes out. One failed job never blocks the next.

import { chooseBuild } from './backend.js';
import { decodeInBrowser } from './decode.js';
import { KEEP, LOAD, NETWORK, PROGRESS, READY, coded, failure, isRequest } from './messages.js';
import { loadModel } from './model.js';

/** @typedef {import('./messages.js').Build} Build */
/** @typedef {import('./messages.js').Evidence} Evidence */
/** @typedef {import('./messages.js').Note} Note */
/** @typedef {import('./messages.js').Progress} Progress */
/** @typedef {import('./messages.js').Report} Report */
/** @typedef {import('./messages.js').Request} Request */

/**
 * What src/web.rs exports.
 * @typedef {object} Engine
 * @property {() => import('./messages.js').Loaded} info
 * @property {(name: string, bytes: Uint8Array, stabilityFrom?: number, decoder?: typeof decodeInBrowser) =>
 *   Promise<{report: Report, failure: string | null}>} assess
 * @property {(face: number) => Promise<Evidence>} evidence
 * @property {() => void} free
 */
/**
 * @typedef {{default(options: {module_or_path: URL}): Promise<{memory: WebAssembly.Memory}>,
 *   Engine: {load(model: Uint8Array, device: Build, digest?: string): Promise<Engine>},
 *   report_html(report: string, pictures: Uint8Array[], failure?: string): string}} Package
 */

/** Everything is fetched relative to the site's (or extension's) root, one folder up. */
const ROOT = new URL('../', import.meta.url);

/** Pictures of more faces than this are not made: nobody looks at them, and they cost memory. */
const MAX_EVIDENCE = 12;
/** What decoding a photo may hold (src/picture/decode.rs), in pages of 64 KiB. */
const PHOTO_PAGES = 6720;

/** @type {Engine | null} */
let engine = null;
/** @type {Package | null} */
let engineCode = null;

/** @type {WebAssembly.Memory | null} */
let memory = null;

/** @type {Promise<void>} */
let tail = Promise.resolve();
/** The request that is answered. */
let current = -1;

/** @type {Promise<Package> | null} Fetched and compiled once, whatever is loaded how often. */
let code = null;

/** @returns {Promise<Package>} */
function loadCode() {
  const fetched = async () => {
    const folder = new URL('pkg/', ROOT);
    /** @type {Package} */
    const wasm = await import(new URL('grnet.js', folder).href);
    ({ memory } = await wasm.default({ module_or_path: new URL('grnet_bg.wasm', folder) }));
    return wasm;
  };
  code ??= fetched().catch((error) => {
    code = null; // the next try fetches anew
    throw coded(error instanceof RangeError ? 'no_memory' : 'io', error.message);
  });
  return code;
}

/**
 * @param {Extract<Request, {type: typeof LOAD}>} request
 * @returns {Promise<import('./messages.js').Loaded>}
 */
async function load({ id, preference }) {
  engine?.free();
  engine = null;
  /** @param {Progress} progress */
  const report = (progress) => postMessage({ type: PROGRESS, id, progress });
  /** @param {Progress['stage']} stage */
  const onStage = (stage) => report({ stage, loaded: 0, total: 0 });

  // Beside the model, which is larger; a failure is told where it is awaited.
  loadCode().catch(() => {});
  const choice = await chooseBuild(preference, /** @type {any} */ (navigator).gpu);
  const { bytes, manifest, digest } = await loadModel(new URL('model/grnet.json', ROOT), (loaded, total, cached) =>
    report({ stage: cached ? 'cached' : 'model', loaded, total }),
  );
  onStage('preparing');
  const wasm = await loadCode();
  onStage('checking');
  const started = await wasm.Engine.load(bytes, choice.build, digest ?? undefined);
  const loaded = started.info();
  // Computed in Rust where the browser has no crypto.subtle.
  if (loaded.model.id !== manifest.sha256) {
    throw coded('bad_weights', `expected the model with sha-256 ${manifest.sha256}, found ${loaded.model.id}`);
  }
  engine = started;
  engineCode = wasm;
  return { ...loaded, note: loaded.note ?? choice.note };
}

/**
 * @param {import('./messages.js').AssessRequest} request
 * @returns {Promise<import('./messages.js').Assessment>}
 */
async function assess({ name, bytes, stabilityFrom, evidence: wanted = false }) {
  if (!engine) throw coded('internal', 'expected a loaded model');
  const answer = await engine.assess(name, new Uint8Array(bytes), stabilityFrom, decodeInBrowser);
  /** @type {(Evidence | null)[]} */
  const evidence = [];
  for (const [index, face] of answer.report.faces.entries()) {
    const shown = wanted && face.p_fake !== null && index < MAX_EVIDENCE;
    evidence.push(shown ? await engine.evidence(index) : null);
  }
  return { ...answer, evidence };
}

/** @param {import('./messages.js').KeepRequest} request */
function keep({ report, pictures, failure: why }) {
  if (!engineCode) throw coded('internal', 'expected a loaded model');
  return engineCode.report_html(report, pictures, why ?? undefined);
}

/**
 * What is told of an error. A trap of the wasm does not say its reason; where memory cannot grow by a photo more, that is it.
 * @param {unknown} error
 * @returns {import('./messages.js').Failure}
 */
function told(error) {
  const found = failure(error);
  if (!found.fatal || !memory) return found;
  try {
    memory.grow(PHOTO_PAGES);
    return found;
  } catch {
    return { code: 'no_memory', message: `the browser gave ${Math.round(memory.buffer.byteLength / 1e6)} MB`, fatal: true };
  }
}

/** @param {Request} request */
async function answer(request) {
  current = request.id;
  try {
    if (request.type === LOAD) {
      postMessage({ id: request.id, ok: true, value: await load(request) });
    } else if (request.type === KEEP) {
      postMessage({ id: request.id, ok: true, value: keep(request) });
    } else {
      const value = await assess(request);
      const buffers = value.evidence.flatMap((e) => (e ? Object.values(e).map(({ rgba }) => rgba.buffer) : []));
      postMessage({ id: request.id, ok: true, value }, { transfer: buffers });
    }
  } catch (error) {
    postMessage({ id: request.id, ok: false, error: told(error) });
  }
}

// A trap in what is awaited comes here, and never to whoever awaits it.
addEventListener('error', (event) => {
  if (!(event.error instanceof WebAssembly.RuntimeError)) return; // the browser tells the page
  event.preventDefault();
  postMessage({ id: current, ok: false, error: told(event.error) });
});

addEventListener('message', ({ data }) => {
  if (isRequest(data)) {
    tail = tail.then(() => answer(data));
  } else {
    postMessage({ id: data?.id ?? -1, ok: false, error: { code: 'internal', message: 'unknown request' } });
  }
});

// The worker's requests do not show in the page's own list, so that they are told here.
new PerformanceObserver((list) => {
  postMessage({ type: NETWORK, urls: list.getEntries().map((entry) => entry.name) });
}).observe({ type: 'resource', buffered: true });

postMessage({ type: READY });
