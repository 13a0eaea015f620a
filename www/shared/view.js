// @ts-check
// From values to words and numbers for the eye: pure functions, no DOM. Page and extension show the same.

import { text } from './strings.js';

/** @typedef {import('./messages.js').Band} Band */
/** @typedef {import('./messages.js').Bounds} Bounds */
/** @typedef {import('./messages.js').Face} Face */
/** @typedef {import('./messages.js').FileInfo} FileInfo */
/** @typedef {import('./messages.js').FileNote} FileNote */
/** @typedef {import('./messages.js').Change} Change */
/** @typedef {import('./messages.js').Loaded} Loaded */
/** @typedef {import('./messages.js').Mark} Mark */
/** @typedef {import('./messages.js').MarkKind} MarkKind */
/** @typedef {import('./messages.js').Origin} Origin */
/** @typedef {import('./messages.js').Note} Note */
/** @typedef {import('./messages.js').Progress} Progress */
/** @typedef {import('./messages.js').Reason} Reason */
/** @typedef {import('./messages.js').Report} Report */
/** @typedef {import('./messages.js').Votes} Votes */
/** @typedef {import('./strings.js').TextKey} TextKey */
/** @typedef {{title: string, meaning: string, help: string}} Verdict `help` may be empty. */

/** @type {Readonly<Record<Band, {title: TextKey, meaning: TextKey | null, help: TextKey | null}>>} */
const BANDS = {
  likely_fake: { title: 'bandLikelyFake', meaning: 'bandLikelyFakeMeaning', help: null },
  inconclusive: { title: 'bandInconclusive', meaning: 'bandInconclusiveMeaning', help: 'bandInconclusiveHelp' },
  no_signs_found: { title: 'bandNoSignsFound', meaning: 'bandNoSignsFoundMeaning', help: null },
  not_assessed: { title: 'bandNotAssessed', meaning: null, help: null },
};

/** @type {Readonly<Record<Reason, {meaning: TextKey, help: TextKey}>>} */
const REASONS = {
  no_face: { meaning: 'reasonNoFace', help: 'reasonNoFaceHelp' },
  too_small: { meaning: 'reasonTooSmall', help: 'reasonTooSmallHelp' },
  too_degraded: { meaning: 'reasonTooDegraded', help: 'reasonTooDegradedHelp' },
  unreadable: { meaning: 'reasonUnreadable', help: 'reasonUnreadableHelp' },
  damaged: { meaning: 'reasonDamaged', help: 'reasonDamagedHelp' },
  unfamiliar: { meaning: 'reasonUnfamiliar', help: 'reasonUnfamiliarHelp' },
  unstable: { meaning: 'reasonUnstable', help: 'reasonUnstableHelp' },
};

/** @type {Readonly<Record<FileNote, TextKey>>} */
const FILE_NOTES = {
  no_end_mark: 'fileNoEndMark',
  wrong_checksum: 'fileWrongChecksum',
  colour_profile: 'fileColourProfile',
  unread_profile: 'fileUnreadProfile',
  not_turned: 'fileNotTurned',
  browser_decoded: 'fileBrowserDecoded',
};

/**
 * Files that are no picture we read, by what they are.
 * @type {Readonly<Record<string, TextKey>>}
 */
const KINDS = {
  heic: 'kindHeic',
  avif: 'kindAvif',
  jxl: 'kindJxl',
  jp2: 'kindJp2',
  tiff: 'kindTiff',
  raw: 'kindRaw',
  psd: 'kindPsd',
  svg: 'kindSvg',
  pdf: 'kindPdf',
  zip: 'kindZip',
  video: 'kindVideo',
  html: 'kindHtml',
};

/** @type {Readonly<Record<Change, TextKey>>} */
const CHANGES = {
  jpeg_90: 'changeJpeg90',
  jpeg_75: 'changeJpeg75',
  scale_90: 'changeScale90',
  scale_75: 'changeScale75',
};

/** @type {Readonly<Record<MarkKind, TextKey>>} */
const MARKS = {
  c2pa: 'markC2pa',
  digital_source_type: 'markSourceType',
  generator: 'markGenerator',
  camera_make: 'markCameraMake',
  camera_model: 'markCameraModel',
  software: 'markSoftware',
};

/**
 * Terms of IPTC's vocabulary that a reader should not have to look up.
 * @type {Readonly<Record<string, TextKey>>}
 */
const SOURCE_TYPES = {
  trainedAlgorithmicMedia: 'sourceTrained',
  compositeWithTrainedAlgorithmicMedia: 'sourceCompositeTrained',
  compositeSynthetic: 'sourceCompositeSynthetic',
  algorithmicMedia: 'sourceAlgorithmic',
  digitalCapture: 'sourceCapture',
  computationalCapture: 'sourceComputational',
};

/** @type {Readonly<Record<Note, TextKey>>} */
const NOTES = {
  no_webgpu: 'noteNoWebGpu',
  no_adapter: 'noteNoAdapter',
  software_adapter: 'noteSoftwareAdapter',
  gpu_failed: 'noteGpuFailed',
  self_check_failed: 'noteSelfCheckFailed',
  gpu_lost: 'noteGpuLost',
};

/** @type {Readonly<Record<string, TextKey>>} */
const ERRORS = {
  bad_image: 'errorBadImage',
  bad_weights: 'errorBadWeights',
  no_gpu: 'errorNoGpu',
  gpu_lost: 'errorGpuLost',
  io: 'errorIo',
  no_memory: 'errorNoMemory',
  timeout: 'errorTimeout',
};

/**
 * The title and meaning of a band; `failure` says why a file could not be read.
 * @param {{band: Band, reason: Reason | null, file?: Partial<FileInfo>}} judged a report or a face
 * @param {string | null} [failure]
 * @returns {Verdict}
 */
export function verdict({ band, reason, file }, failure = null) {
  const { title, meaning, help } = { ...BANDS[band], ...(reason ? REASONS[reason] : {}) };
  const kind = reason === 'unreadable' && file?.format ? KINDS[file.format] : undefined;
  const why = kind
    ? text('reasonOtherKind', { kind: text(kind) })
    : failure
      ? text('reasonUnreadableDetail', { message: failure })
      : meaning
        ? text(meaning)
        : '';
  const limits = kind === 'kindAvif' ? text('reasonAvif') : '';
  // That a part is missing, or that scores are less exact, belongs to the verdict, whatever it is.
  const part = file?.present === undefined ? '' : presentInWords(file.present);
  const decoded = file?.notes?.includes('browser_decoded') ? noteInWords('browser_decoded', file) : '';
  return { title: text(title), meaning: [why, limits, part, decoded].filter(Boolean).join(' '), help: help ? text(help) : '' };
}

/** @param {number} present */
function presentInWords(present) {
  return text('filePresent', { percent: Math.floor(100 * present) });
}

/**
 * @param {FileNote} note
 * @param {Partial<FileInfo>} file
 */
function noteInWords(note, file) {
  return text(FILE_NOTES[note], { format: nameOf(file) });
}

/** @param {Partial<FileInfo>} file */
function nameOf({ format }) {
  return (format ?? '').toUpperCase();
}

/**
 * How the file was read, where that is not as usual: a sentence each.
 * @param {Partial<FileInfo>} file
 * @returns {string[]}
 */
export function fileNotes(file) {
  const { present, frame, shrunk_by: shrunk, notes = [] } = file;
  return [
    ...(present === undefined ? [] : [presentInWords(present)]),
    ...(frame ? [text('fileFrame', frame)] : []),
    ...(shrunk ? [text('fileShrunk', { shrunk })] : []),
    ...notes.filter((note) => note in FILE_NOTES).map((note) => noteInWords(note, file)),
  ];
}

/**
 * Why a face or a photo was not assessed.
 * @param {Reason} reason
 * @returns {string}
 */
export function reasonInWords(reason) {
  return text(REASONS[reason]?.meaning ?? 'bandNotAssessed');
}

/**
 * The score for reading: two decimals, and never 0 or 1, which no score deserves.
 * @param {number} pFake
 * @returns {string}
 */
export function score(pFake) {
  if (pFake > 0.99) return '> 0.99';
  if (pFake < 0.01) return '< 0.01';
  return pFake.toFixed(2);
}

/**
 * Whether the streams agree.
 * @param {Votes} votes
 * @returns {string}
 */
export function votesInWords({ spatial, residual }) {
  const high = [spatial, residual].filter((vote) => vote >= 0.5).length;
  return text(high === 2 ? 'votesBothHigh' : high === 0 ? 'votesBothLow' : 'votesSplit');
}

/**
 * How often photos that nobody touched get this result; or that nothing is known of it.
 * @param {Face} face
 * @returns {string} empty where the face was not judged
 */
export function meaningInWords({ meaning, p_fake: pFake }) {
  if (pFake === null) return '';
  if (!meaning) return text('meaningUnknown');
  const count = meaning.per_1000_untouched;
  return text(meaning.at_most ? 'meaningAtMost' : 'meaningCount', { count });
}

/**
 * The two scales of a face's heat map: the same for every face, and that of the face's own maximum.
 * @param {Face} face
 * @returns {{all: string, own: string} | null} null where there is no map, or nothing in it that could be a maximum
 */
export function heatScales({ map }) {
  const maximum = Math.max(0, ...(map?.values ?? []));
  return maximum > 0 ? { all: text('heatScaleAll'), own: text('heatScaleOwn', { maximum: Math.min(maximum, 0.999).toFixed(3) }) } : null;
}

/**
 * The score under gentle changes.
 * @param {Face} face
 * @returns {{words: string, rows: [string, number][]} | null} null where that was not looked at
 */
export function stabilityRows({ stability, p_fake: pFake, band }) {
  if (!stability || pFake === null) return null;
  /** @type {[string, number][]} */
  const rows = stability.scores.map(({ change, p_fake: after }) => [text(CHANGES[change]), after]);
  const firm = band !== 'inconclusive';
  const words = text(stability.flipped ? 'stabilityFlipped' : firm ? 'stabilityHolds' : 'stabilityNone');
  return { words, rows: [[text('changeNone'), pFake], ...rows] };
}

/**
 * What the file says about itself, as rows of label, value, and where it says so.
 * @param {Report} report
 * @returns {{label: string, value: string, place: string, detail: string}[]}
 */
export function provenanceRows({ provenance }) {
  return provenance.marks.map(({ kind, value, place, detail }) => {
    const term = kind === 'digital_source_type' ? SOURCE_TYPES[value] : undefined;
    const shown = kind === 'c2pa' ? text('markC2paValue') : term ? text('markTerm', { words: text(term), value }) : value;
    return { label: text(MARKS[kind]), value: shown, place, detail: detail ?? '' };
  });
}

/**
 * What such statements are worth, or that none was looked for.
 * @param {Pick<Report, 'file' | 'provenance'>} report
 * @returns {string}
 */
export function provenanceInWords({ file, provenance }) {
  if (provenance.marks.length) return text('provenanceSome');
  return file.notes?.includes('browser_decoded') ? text('provenanceUnread', { format: nameOf(file) }) : text('provenanceNone');
}

/**
 * Where the weights come from, as rows of label and value.
 * @param {Pick<Loaded, 'model' | 'origin'>} loaded
 * @returns {[string, string][]}
 */
export function modelRows({ model, origin }) {
  const { training } = origin;
  /** @type {[TextKey, string | undefined][]} */
  const rows = [
    ['modelName', text('modelNameValue', { name: model.name, px: model.input_px })],
    ['modelSha', model.id],
    ['modelLicence', origin.licence],
    ['modelPictures', training.pictures],
    ['modelData', training.data_sha256],
    ['modelCommit', training.commit],
  ];
  return rows.flatMap(([key, value]) => (value ? [/** @type {[string, string]} */ ([text(key), value])] : []));
}

/**
 * @param {number} count
 * @returns {string} `0 B`, `12.3 kB`, `22.8 MB`
 */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

/**
 * @param {number} ms
 * @returns {string} `< 1 ms`, `340 ms`, `1.2 s`
 */
export function duration(ms) {
  if (ms < 1) return '< 1 ms';
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/**
 * Where a face box lies on the shown photo, in percent of its sides, cut at its borders.
 * @param {Bounds} box
 * @param {{width_px: number, height_px: number}} photo
 * @returns {{left: number, top: number, width: number, height: number}}
 */
export function boxPercent(box, photo) {
  /** @type {(from: number, size: number, limit: number) => [number, number]} */
  const cut = (from, size, limit) => {
    const start = Math.min(Math.max(from, 0), limit);
    const end = Math.min(Math.max(from + size, 0), limit);
    return [(start / limit) * 100, ((end - start) / limit) * 100];
  };
  const [left, width] = cut(box.x, box.width, photo.width_px);
  const [top, height] = cut(box.y, box.height, photo.height_px);
  return { left, top, width, height };
}

/**
 * The face a reader wants first: the one that decided the photo's band, else the largest.
 * @param {Report} report
 * @returns {number} 0 where there is none
 */
export function leadingFace(report) {
  const index = report.faces.findIndex((face) => face.p_fake !== null && face.p_fake === report.p_fake);
  return Math.max(index, 0);
}

/**
 * @param {number} count
 * @returns {string}
 */
export function faceCount(count) {
  return count === 0 ? text('noFaces') : count === 1 ? text('oneFace') : text('manyFaces', { count });
}

/**
 * The quality read-out of a face, as rows of label and value.
 * @param {Face} face
 * @returns {[string, string][]}
 */
export function qualityRows({ quality }) {
  return [
    [text('qualityFace'), text('qualityFaceValue', { px: quality.face_px })],
    [text('qualityJpeg'), quality.jpeg_quality === null ? text('qualityJpegNone') : String(quality.jpeg_quality)],
    [text('qualitySharpness'), String(Math.round(quality.sharpness))],
  ];
}

/**
 * The technical details of a report, as rows of label and value.
 * @param {Report} report
 * @returns {[string, string][]}
 */
export function detailRows({ file, model, backend, timings_ms: ms }) {
  const { format, width_px: width, height_px: height } = file;
  const size = bytes(file.size_bytes);
  return [
    [
      text('detailFile'),
      width > 0 && format
        ? text('detailFileValue', { format: format.toUpperCase(), width, height, size })
        : text('detailFileValueUnread', { size }),
    ],
    ...fileNotes(file).map((note) => /** @type {[string, string]} */ ([text('detailFileNote'), note])),
    [text('detailSha'), file.sha256],
    [text('detailModel'), text('detailModelValue', { name: model.name, id: model.id })],
    [text('detailBackend'), backend],
    [
      text('detailTime'),
      text('detailTimeValue', {
        total: duration(ms.total_ms),
        decode: duration(ms.decode_ms),
        faces: duration(ms.faces_ms),
        network: duration(ms.network_ms),
      }),
    ],
  ];
}

/**
 * @param {Progress} progress
 * @returns {string}
 */
export function progressInWords({ stage, loaded, total }) {
  if (stage === 'model') return text('stateModel', { loaded: bytes(loaded), total: bytes(total) });
  if (stage === 'cached') return text('stateModelCached');
  return text(stage === 'checking' ? 'stateChecking' : 'statePreparing');
}

/**
 * Where the check runs, and why not on the GPU.
 * @param {Pick<Loaded, 'build' | 'note' | 'detail'>} loaded
 * @returns {{using: string, note: string}} `note` may be empty
 */
export function backendInWords({ build, note, detail }) {
  return {
    using: text(build === 'gpu' ? 'usingGpu' : 'usingCpu'),
    note: note ? text(NOTES[note], { message: detail }) : '',
  };
}

/**
 * A failure for the reader: words for the code, and the message for whoever reports it.
 * @param {{code?: string, message: string}} error
 * @returns {string}
 */
export function errorInWords({ code = 'internal', message }) {
  return text('errorWithDetail', { words: text(ERRORS[code] ?? 'errorInternal'), detail: message });
}

/**
 * The network requests that count: what stays in the browser (blob:, data:) is none.
 * @param {string[]} urls
 * @param {string} origin the page's own
 * @returns {{all: string[], foreign: string[]}}
 */
export function networkRequests(urls, origin) {
  const all = urls.filter((url) => !/^(blob|data):/.test(url));
  return { all, foreign: all.filter((url) => new URL(url).origin !== origin) };
}
