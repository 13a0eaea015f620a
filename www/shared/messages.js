// @ts-check
// Every message between a page (or extension view) and the engine worker, with its shape; imported by all sides, so
// that a name exists once. Requests carry an id, replies carry the same id; events carry none.

/** The address of the engine worker in `request.to`. */
export const ENGINE = 'engine';

/** Request and event names. */
export const LOAD = 'load';
export const ASSESS = 'assess';
export const KEEP = 'keep';
export const READY = 'ready';
export const PROGRESS = 'progress';
export const NETWORK = 'network';

/** The report schema this code understands. */
export const REPORT_SCHEMA = 'grnet.report/1';

/** @typedef {'auto' | 'gpu' | 'cpu'} Preference What the user asks to compute on. */
/** @typedef {'gpu' | 'cpu'} Build What computes. */
/**
 * Why the CPU computes although the GPU was wanted.
 * @typedef {'no_webgpu' | 'no_adapter' | 'software_adapter' | 'gpu_failed' | 'self_check_failed' | 'gpu_lost'} Note
 */
/** @typedef {'likely_fake' | 'inconclusive' | 'no_signs_found' | 'not_assessed'} Band */
/** @typedef {'no_face' | 'too_small' | 'too_degraded' | 'unreadable' | 'damaged' | 'unstable' | 'unfamiliar'} Reason */
/** @typedef {{x: number, y: number, width: number, height: number}} Bounds In pixels of the upright photo. */
/** @typedef {{face_px: number, jpeg_quality: number | null, sharpness: number}} Quality */
/** @typedef {{spatial: number, residual: number}} Votes */
/** @typedef {{per_1000_untouched: number, at_most: boolean}} Meaning How often untouched faces get this result. */
/** @typedef {{height: number, width: number, values: number[]}} HeatMap */
/** @typedef {'jpeg_90' | 'jpeg_75' | 'scale_90' | 'scale_75'} Change */
/** @typedef {{scores: {change: Change, p_fake: number}[], flipped: boolean}} Stability */
/**
 * @typedef {{box: Bounds, quality: Quality, band: Band, reason: Reason | null, p_fake: number | null,
 *   votes: Votes | null, classes: number[] | null, meaning: Meaning | null, map: HeatMap | null,
 *   stability: Stability | null}} Face
 */
/** @typedef {'c2pa' | 'digital_source_type' | 'generator' | 'camera_make' | 'camera_model' | 'software'} MarkKind */
/** @typedef {{kind: MarkKind, value: string, place: string, detail: string | null}} Mark */
/**
 * How a file was read, where that is not as usual.
 * @typedef {'no_end_mark' | 'wrong_checksum' | 'colour_profile' | 'unread_profile' | 'not_turned' | 'browser_decoded'} FileNote
 */
/**
 * `present`: the share of a damaged picture that is there. `shrunk_by`: what the sides of a very large one were divided by.
 * @typedef {{name: string, size_bytes: number, sha256: string, format: string | null, height_px: number,
 *   width_px: number, present?: number, frame?: {number: number, count: number}, shrunk_by?: number,
 *   notes?: FileNote[]}} FileInfo
 */
/** @typedef {{id: string, name: string, input_px: number}} ModelInfo */
/** @typedef {{decode_ms: number, faces_ms: number, network_ms: number, total_ms: number}} Timings */
/**
 * What Rust's `report::Report` becomes in JSON.
 * @typedef {{schema: string, file: FileInfo, band: Band, p_fake: number | null, reason: Reason | null, faces: Face[],
 *   provenance: {marks: Mark[]}, settings: {whole: boolean, stability: boolean}, model: ModelInfo, backend: string,
 *   timings_ms: Timings, checked_at?: string}} Report
 */
/** @typedef {{height: number, width: number, rgba: Uint8ClampedArray<ArrayBuffer>}} Picture */
/**
 * The cut-out face, its amplified residual, and its heat map as a layer to lay over it: on the scale of all faces, and on that
 * of its own maximum.
 * @typedef {{photo: Picture, residual: Picture, heat: Picture, heat_own: Picture}} Evidence
 */
/**
 * `failure`: why the file could not be read. `evidence`: one entry a face, null where it was not judged or none was wanted.
 * @typedef {{report: Report, failure: string | null, evidence: (Evidence | null)[]}} Assessment
 */
/** @typedef {{ok: boolean, filter_max_abs: number, network_max_abs: number}} SelfCheck */
/** @typedef {{likely_fake: number, auto_scan: number, no_signs: number}} Thresholds Where the bands begin. */
/** @typedef {{licence: string, training: Record<string, string>}} Origin Where the weights come from. */
/**
 * @typedef {{model: ModelInfo, build: Build, backend: string, thresholds: Thresholds, origin: Origin, note: Note | null,
 *   detail: string, self_check: SelfCheck}} Loaded
 */
/** @typedef {{stage: 'model' | 'cached' | 'preparing' | 'checking', loaded: number, total: number}} Progress */
/** @typedef {{code: string, message: string, fatal?: boolean}} Failure `fatal`: the worker must be replaced. */

/** @typedef {{id: number, to: typeof ENGINE, type: typeof LOAD, preference: Preference}} LoadRequest */
/**
 * What else is wanted of a photo. From a score of `stabilityFrom` on, its faces are also scored under gentle changes, which
 * takes five times as long; never where it is not given. `evidence`: pictures of what the network looks at.
 * @typedef {{stabilityFrom?: number, evidence?: boolean}} AssessOptions
 */
/** @typedef {{id: number, to: typeof ENGINE, type: typeof ASSESS, name: string, bytes: ArrayBuffer} & AssessOptions} AssessRequest */
/**
 * Asks for a report as a printable page: its JSON, and for each face the RGBA bytes of photo and residual, one after the
 * other, or none where it was not judged.
 * @typedef {{id: number, to: typeof ENGINE, type: typeof KEEP, report: string, pictures: Uint8Array[],
 *   failure: string | null}} KeepRequest
 */
/** @typedef {LoadRequest | AssessRequest | KeepRequest} Request */
/** @typedef {{id: number, ok: true, value: any} | {id: number, ok: false, error: Failure}} Reply */
/**
 * @typedef {{type: typeof READY} | {type: typeof PROGRESS, id: number, progress: Progress} |
 *   {type: typeof NETWORK, urls: string[]}} Event
 */

/**
 * Whether a message is a request to the engine of a known type and shape.
 * @param {unknown} data
 * @returns {data is Request}
 */
export function isRequest(data) {
  if (typeof data !== 'object' || data === null) return false;
  const message = /** @type {Record<string, unknown>} */ (data);
  if (message.to !== ENGINE || !Number.isSafeInteger(message.id)) return false;
  if (message.type === LOAD) return ['auto', 'gpu', 'cpu'].includes(/** @type {string} */ (message.preference));
  if (message.type === ASSESS) {
    const { stabilityFrom: from = 0, evidence = false } = message;
    const optional = typeof from === 'number' && from >= 0 && from <= 1 && typeof evidence === 'boolean';
    return optional && typeof message.name === 'string' && message.bytes instanceof ArrayBuffer;
  }
  if (message.type === KEEP) {
    // Copied, as `every` passes over holes.
    const pictures = Array.isArray(message.pictures) && Array.from(message.pictures).every((bytes) => bytes instanceof Uint8Array);
    return pictures && typeof message.report === 'string';
  }
  return false;
}

/**
 * Any thrown value as the `{code, message}` that crosses to the other side.
 * @param {unknown} error
 * @returns {Failure}
 */
export function failure(error) {
  // A trap leaves the wasm instance in an unknown state: only a new worker is safe.
  if (error instanceof WebAssembly.RuntimeError) return { code: 'internal', message: error.message, fatal: true };
  if (typeof error === 'object' && error !== null && 'message' in error) {
    const code = 'code' in error && typeof error.code === 'string' ? error.code : 'internal';
    return { code, message: inWords(error.message) };
  }
  return { code: 'internal', message: inWords(error) };
}

/** @param {unknown} value an object may refuse to become text */
function inWords(value) {
  try {
    return String(value);
  } catch {
    return 'an error without words';
  }
}

/**
 * An Error that carries `{code, message}`.
 * @param {string} code
 * @param {string} message
 * @returns {Error & {code: string}}
 */
export function coded(code, message) {
  return Object.assign(new Error(message), { code });
}
