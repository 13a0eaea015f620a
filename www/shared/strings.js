// @ts-check
// Every word the page and the extension show, in one table a language (German: strings.de.js). The code picks keys; it
// contains no sentence of its own. index.html repeats the static ones (marked `data-text`) so that the page reads well
// before the script runs; tests/js/strings.test.mjs holds the two together.

import { GERMAN } from './strings.de.js';

/** English, the reference language. `{name}` marks a value put in by `text()`. */
export const ENGLISH = Object.freeze({
  language: 'Language',
  title: 'grnet: traces of manipulation in face photos',
  tagline: 'Does the face in a photo show traces of generation or manipulation?',
  privacy: 'Nothing leaves this device. The photo is read, checked and forgotten in this tab.',
  noscript: 'The check runs in your browser, so this page needs JavaScript and WebAssembly.',

  choose: 'Choose photos',
  dropHint: 'or drop them anywhere on this page, or paste one',
  formats: 'JPEG, PNG, WebP, GIF, BMP and most AVIF',
  dropHere: 'Drop to check',
  notAFile: 'That was not a picture file. Save the picture first, then drop the file.',

  computeOn: 'Compute on',
  computeAuto: 'Automatic',
  computeGpu: 'GPU (WebGPU)',
  computeCpu: 'CPU (WebAssembly)',
  usingGpu: 'GPU, WebGPU',
  usingCpu: 'CPU, WebAssembly SIMD',
  noteNoWebGpu: 'This browser offers no WebGPU, so the CPU computes.',
  noteNoAdapter: 'No GPU could be reached, so the CPU computes.',
  noteSoftwareAdapter: 'Only a software imitation of a GPU was found, so the CPU computes: it is faster.',
  noteGpuFailed: 'The GPU could not be set up ({message}), so the CPU computes.',
  noteSelfCheckFailed: 'The GPU gave wrong answers in the self-check, so the CPU computes.',
  noteGpuLost: 'The GPU went away, so the CPU computes.',

  stateLoading: 'Loading this page; should these words stay, reload it',
  stateStarting: 'Starting',
  stateModel: 'Loading the model: {loaded} of {total}',
  stateModelCached: 'Reading the model kept in this browser',
  statePreparing: 'Preparing the network',
  stateChecking: 'Checking the arithmetic of this device',
  stateReady: 'Ready',
  stateFailed: 'The check cannot run here',
  retry: 'Try again',

  queueProgress: '{done} of {total} photos checked',
  queueStopped: 'Stopped: {done} of {total} photos checked',
  queueDone: 'All {total} photos checked',
  queueDoneOne: 'Photo checked',
  stop: 'Stop',
  goOn: 'Go on',
  clear: 'Clear',
  waiting: 'Waiting',
  working: 'Checking',
  gridLabel: 'Photos',
  sort: 'Sort by',
  sortAdded: 'Order added',
  sortScore: 'Score, highest first',
  sortVerdict: 'Verdict',
  sortName: 'File name',
  keepAll: 'Save all as JSON',

  gallery: 'No photo at hand? Try one of these',
  galleryOriginal: 'Portrait',
  galleryForged: 'Forgery {number}',
  galleryExplain: 'A NASA portrait in the public domain, and forgeries that our own code made from it: the face is blended with a slightly changed copy of itself, which leaves the seams of a face swap. They are hard: the first was picked because this model notices it, of the others it cannot tell.',
  galleryAlt: 'Portrait of an astronaut, {name}',
  announce: '{name}: {verdict}',

  bandLikelyFake: 'Shows traces of generation or manipulation',
  bandLikelyFakeMeaning: 'The score lies above the threshold at which this model rarely flags untouched photos. It is a strong hint, not a proof.',
  bandInconclusive: 'Cannot tell',
  bandInconclusiveMeaning: 'The score supports no statement either way.',
  bandInconclusiveHelp: 'A larger or less compressed copy of the photo may help.',
  bandNoSignsFound: 'No signs found',
  bandNoSignsFoundMeaning: 'This is not proof: forgeries of kinds this model has not learned can pass without a trace.',
  bandNotAssessed: 'Not assessed',
  reasonNoFace: 'No face was found in this photo.',
  reasonNoFaceHelp: 'A photo with a face seen from the front, at least 64 pixels wide, can be checked.',
  reasonTooSmall: 'The face is too small: too few pixels are left to carry traces.',
  reasonTooSmallHelp: 'Look for a larger copy of the photo; the face should be at least 64 pixels wide.',
  reasonTooDegraded: 'The face is too blurred or too strongly compressed to carry traces.',
  reasonTooDegradedHelp: 'Look for the original, or a sharper, less compressed copy.',
  reasonUnfamiliar: 'The picture is unlike the face photos that this model knows: a drawing, a statue, a mask, a screenshot or a heavy filter, perhaps.',
  reasonUnfamiliarHelp: 'A plain photo of the face can be checked.',
  reasonUnstable: 'The score moves to another verdict when the picture is gently re-encoded or rescaled, so it rests on nothing firm.',
  reasonUnstableHelp: 'A larger or less compressed copy of the photo may help.',
  reasonUnreadable: 'The file could not be read as a picture.',
  reasonUnreadableDetail: 'The file could not be read as a picture: {message}.',
  reasonUnreadableHelp: 'JPEG, PNG, WebP, GIF and BMP files can be checked. Save the picture in one of these forms and try again.',
  reasonOtherKind: 'This is {kind}, which cannot be checked.',
  reasonAvif: 'Your browser does not decode such files, or this one is damaged, very large, or of more than 8 bits a colour.',
  kindHeic: 'an HEIC photo',
  kindAvif: 'an AVIF picture',
  kindJxl: 'a JPEG XL picture',
  kindJp2: 'a JPEG 2000 picture',
  kindTiff: 'a TIFF picture',
  kindRaw: 'a raw photo',
  kindPsd: 'a Photoshop document',
  kindSvg: 'an SVG drawing',
  kindPdf: 'a PDF document',
  kindZip: 'a ZIP archive or a document in its form',
  kindVideo: 'a video',
  kindHtml: 'a web page',
  reasonDamaged: 'The file is damaged or cut off, and the face does not lie in the part that is there.',
  reasonDamagedHelp: 'Fetch the photo once more, or look for another copy.',
  filePresent: '{percent} % of the picture is there; only faces in that part are judged.',
  fileFrame: 'Frame {number} of {count} of the animation was checked.',
  fileShrunk: 'The picture is very large and was read at 1/{shrunk} of its size.',
  fileNoEndMark: 'The file lacks its end mark; the picture is all there.',
  fileWrongChecksum: 'A checksum in the file is wrong; the picture itself fits its own.',
  fileColourProfile: 'Its colours were brought from the file’s colour profile to sRGB.',
  fileUnreadProfile: 'The file has a colour profile of a kind that is not read; its colours were taken for sRGB.',
  fileNotTurned: 'The file asks to be turned; it was checked as browsers show it, unturned.',
  fileBrowserDecoded: 'Your browser decoded this {format} picture; its score may differ by up to 0.06 from that of the same picture saved as PNG.',
  detailFileNote: 'Note',
  checkFailed: 'The check failed',
  checkFailedMeaning: 'Something went wrong while this photo was checked. {message}.',
  checkFailedHelp: 'The other photos are not affected.',

  face: 'Face {number}',
  faceOf: 'Face {number} of {total}: {verdict}',
  facesLabel: 'Faces in this photo',
  faceBox: 'Face {number}: {verdict}',
  photoAlt: 'The photo {name}, with {count} marked',
  oneFace: 'one face',
  manyFaces: '{count} faces',
  noFaces: 'no face',

  score: 'Score (p_fake)',
  scoreLow: '0: no traces',
  scoreBetween: 'lines: where verdicts change',
  scoreHigh: '1: strong traces',
  scoreAria: 'Score {score} on a scale from 0, no traces, to 1, strong traces',
  meaningCount: 'Of 1,000 untouched faces of this size and compression, about {count} get this result.',
  meaningAtMost: 'The threshold was fitted so that at most about {count} of 1,000 untouched faces in the validation photos get this result.',
  meaningUnknown: 'How many untouched faces get this result has not been measured for faces like this one.',
  votes: 'How the two streams vote',
  voteSpatial: 'Picture stream',
  voteResidual: 'Residual stream',
  votesBothHigh: 'Both streams see traces.',
  votesBothLow: 'Neither stream sees traces.',
  votesSplit: 'The two streams disagree.',
  evidence: 'What the network looks at',
  evidenceView: 'The face: left of the line its residual, right of it the photo, with the heat map over both',
  evidenceSlider: 'Residual or photo',
  evidenceHeat: 'Heat map',
  evidenceExplain: 'The residual is what is left of the face when a guided filter has taken its content away: edges, noise and, in a forgery, the marks of its making. It is shown amplified, at the size the network sees.',
  heatExplain: 'The heat map shows which places speak for a fake: the redder and denser, the more. It is as coarse as the network\'s last stage. On the scale that all faces share, a sure verdict is red all over; on the face\'s own, only where it is surest.',
  heatScale: 'Scale of the heat map',
  heatScaleAll: 'All faces: 0 to 1',
  heatScaleOwn: 'This face: 0 to {maximum}',
  stability: 'Does the verdict hold?',
  stabilityHolds: 'Yes: it stays the same when the picture is gently re-encoded or rescaled.',
  stabilityFlipped: 'No: gentle changes lead to another verdict.',
  stabilityNone: 'The score says nothing to begin with; this is how it moves under gentle changes.',
  changeNone: 'As it is',
  changeJpeg90: 'JPEG quality 90',
  changeJpeg75: 'JPEG quality 75',
  changeScale90: '90 % of its size',
  changeScale75: '75 % of its size',
  provenance: 'What the file says about itself',
  provenanceNone: 'Nothing. That means nothing: most sites and apps remove such notes.',
  provenanceUnread: 'Such notes are not looked for in {format} files.',
  provenanceSome: 'Anybody can write or remove these notes, so they are no part of the score.',
  markC2pa: 'C2PA manifest',
  markC2paValue: 'present; its signature was not checked',
  markSourceType: 'Digital source type',
  markTerm: '{words} ({value})',
  markGenerator: 'Made with',
  markCameraMake: 'Camera make',
  markCameraModel: 'Camera model',
  markSoftware: 'Software',
  sourceTrained: 'made by a trained model',
  sourceCompositeTrained: 'edited with a trained model',
  sourceCompositeSynthetic: 'a composite with synthetic parts',
  sourceAlgorithmic: 'made by an algorithm',
  sourceCapture: 'captured by a camera',
  sourceComputational: 'captured and computed by a camera',
  quality: 'Quality',
  qualityFace: 'Face size',
  qualityFaceValue: '{px} pixels',
  qualityJpeg: 'JPEG quality, estimated',
  qualityJpegNone: 'not a JPEG file',
  qualitySharpness: 'Sharpness',

  details: 'Technical details',
  detailFile: 'File',
  detailFileValue: '{format}, {width} × {height} pixels, {size}',
  detailFileValueUnread: '{size}',
  detailSha: 'SHA-256 of the file',
  detailModel: 'Model',
  detailModelValue: '{name}, {id}',
  detailBackend: 'Computed on',
  detailTime: 'Time',
  detailTimeValue: '{total} in all: decoding {decode}, finding faces {faces}, network {network}',
  detailReport: 'Report as JSON',
  keepJson: 'Save as JSON',
  keepHtml: 'Save as page to print',
  keepFailed: 'The report could not be saved: {message}.',

  about: 'How to read a verdict',
  aboutFlag: '“Shows traces” means that the pattern of fine detail in the face resembles that of generated or manipulated faces. It can be wrong, above all on retouched, filtered or strongly compressed photos.',
  aboutNone: '“No signs found” is never proof that a photo is genuine.',
  aboutUse: 'Do not accuse anyone on the strength of this page alone. Look for the source of the photo, and ask.',

  model: 'Where the model comes from',
  modelNone: 'Not loaded yet.',
  modelExplain: 'It was trained by this project from ImageNet weights on public research collections; the pictures cannot be passed on. The model card in the source says on what, how well it does, and for whom it fails.',
  modelName: 'Name',
  modelNameValue: '{name}, {px} pixels',
  modelSha: 'SHA-256 of the file',
  modelLicence: 'Licence of the weights',
  modelPictures: 'Pictures seen in training',
  modelData: 'SHA-256 of the list of pictures',
  modelCommit: 'Source code commit',

  requests: 'Requests since the page was ready',
  requestsNone: 'None. Checking a photo needs no network.',
  requestsLoading: 'Loading took {count} requests, all to this site.',
  requestsLoadingForeign: 'Loading took {count} requests, {foreign} of them to other sites.',

  errorBadImage: 'The picture cannot be used',
  errorBadWeights: 'The model file cannot be used',
  errorNoGpu: 'There is no GPU adapter',
  errorGpuLost: 'The GPU went away or computes wrongly',
  errorIo: 'A file could not be loaded',
  errorNoMemory: 'There is not enough memory',
  errorTimeout: 'There was no answer in time',
  errorInternal: 'An internal error',
  errorWithDetail: '{words}: {detail}',
});

/** @typedef {keyof typeof ENGLISH} TextKey */
/** @typedef {'en' | 'de'} Language */

/**
 * Every language with its own name and its table; a key that a translation lacks is shown in English.
 * @type {Readonly<Record<Language, {name: string, table: Readonly<Partial<Record<TextKey, string>>>}>>}
 */
export const LANGUAGES = Object.freeze({
  en: { name: 'English', table: ENGLISH },
  de: { name: 'Deutsch', table: GERMAN },
});

/** @type {Language} */
let current = 'en';

/**
 * The first language of `wanted` (tags such as `de-AT`) that there is a table for.
 * @param {readonly string[]} wanted
 * @returns {Language}
 */
export function chooseLanguage(wanted) {
  const known = wanted.map((tag) => tag.toLowerCase().split('-')[0]).find((tag) => Object.hasOwn(LANGUAGES, tag));
  return /** @type {Language} */ (known ?? 'en');
}

/**
 * From now on `text` speaks this language.
 * @param {Language} language
 */
export function setLanguage(language) {
  current = language;
}

/**
 * The words for `key`, with `{name}` replaced by `values.name`.
 * @param {TextKey} key
 * @param {Readonly<Record<string, string | number>>} [values]
 * @returns {string}
 */
export function text(key, values = {}) {
  return fill(LANGUAGES[current].table[key] ?? ENGLISH[key], values);
}

/**
 * `words` with `{name}` replaced by `values.name`; unknown marks stay visible.
 * @param {string} words
 * @param {Readonly<Record<string, string | number>>} values
 * @returns {string}
 */
export function fill(words, values) {
  return words.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
