// The words and numbers shown for a report.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as view from '../../www/shared/view.js';

const FACE = {
  box: { x: 10, y: 20, width: 100, height: 100 },
  quality: { face_px: 100, jpeg_quality: 90, sharpness: 123.4 },
  band: 'likely_fake',
  reason: null,
  p_fake: 0.93,
  votes: { spatial: 0.9, residual: 0.2 },
  classes: [0.07, 0.93],
  meaning: null,
  map: null,
  stability: null,
};

test('each band has its own title and a meaning', () => {
  const titles = ['likely_fake', 'inconclusive', 'no_signs_found'].map((band) => view.verdict({ band, reason: null }));
  assert.equal(titles[0].title, 'Shows traces of generation or manipulation');
  assert.equal(titles[1].title, 'Cannot tell');
  assert.equal(titles[2].title, 'No signs found');
  assert.match(titles[2].meaning, /not proof/);
  for (const { meaning } of titles) assert.notEqual(meaning, '');
});

test('each reason says why and what would help', () => {
  const seen = new Set();
  for (const reason of ['no_face', 'too_small', 'too_degraded', 'unreadable', 'damaged']) {
    const { title, meaning, help } = view.verdict({ band: 'not_assessed', reason });
    assert.equal(title, 'Not assessed');
    assert.notEqual(help, '');
    seen.add(meaning);
  }
  assert.equal(seen.size, 5);
});

test('files of other kinds are called by their name, and what is not as usual in a file is told', () => {
  const other = { band: 'not_assessed', reason: 'unreadable', file: { format: 'heic' } };
  assert.equal(view.verdict(other, 'expected a JPEG').meaning, 'This is an HEIC photo, which cannot be checked.');
  const undecoded = view.verdict({ ...other, file: { format: 'avif' } }).meaning;
  assert.match(undecoded, /^This is an AVIF picture, which cannot be checked\. .*more than 8 bits a colour\.$/);
  const judged = { band: 'likely_fake', reason: null, file: { format: 'jpeg', present: 0.618 } };
  assert.match(view.verdict(judged).meaning, /61 % of the picture is there; only faces in that part are judged\.$/);
  assert.deepEqual(view.fileNotes({ format: 'jpeg' }), []);
  const notes = view.fileNotes({
    present: 0.5,
    frame: { number: 2, count: 9 },
    shrunk_by: 2,
    notes: ['no_end_mark', 'wrong_checksum', 'colour_profile', 'unread_profile', 'not_turned', 'browser_decoded', 'one of a later version'],
  });
  assert.equal(notes.length, 9);
  assert.equal(new Set(notes).size, 9);
});

test('a picture that the browser decoded is told as such beside its verdict, and nothing is claimed of notes that nobody looked for', () => {
  const file = { format: 'avif', notes: ['browser_decoded'] };
  assert.match(view.verdict({ band: 'inconclusive', reason: null, file }).meaning, /Your browser decoded this AVIF picture; its score may differ/);
  assert.doesNotMatch(view.verdict({ band: 'inconclusive', reason: null, file: { ...file, notes: [] } }).meaning, /browser/);
  const marks = [{ kind: 'generator', value: 'x', place: 'y', detail: null }];
  assert.match(view.provenanceInWords({ file, provenance: { marks: [] } }), /not looked for in AVIF files/);
  assert.match(view.provenanceInWords({ file: { format: 'jpeg' }, provenance: { marks: [] } }), /^Nothing\./);
  assert.match(view.provenanceInWords({ file, provenance: { marks } }), /^Anybody can/);
});

test('an unreadable file is told with its cause', () => {
  const { meaning } = view.verdict({ band: 'not_assessed', reason: 'unreadable' }, 'expected a picture, found text');
  assert.equal(meaning, 'The file could not be read as a picture: expected a picture, found text.');
});

test('a score is never shown as certain', () => {
  assert.equal(view.score(1), '> 0.99');
  assert.equal(view.score(0.999), '> 0.99');
  assert.equal(view.score(0), '< 0.01');
  assert.equal(view.score(0.505), '0.51');
  assert.equal(view.score(0.01), '0.01');
});

test('votes in words tell agreement from disagreement', () => {
  assert.match(view.votesInWords({ spatial: 0.9, residual: 0.8 }), /^Both/);
  assert.match(view.votesInWords({ spatial: 0.1, residual: 0.2 }), /^Neither/);
  assert.match(view.votesInWords({ spatial: 0.9, residual: 0.2 }), /disagree/);
});

test('how often untouched faces get the result is counted, bounded, or said to be unknown', () => {
  const words = (meaning) => view.meaningInWords({ ...FACE, meaning });
  assert.equal(
    words({ per_1000_untouched: 42, at_most: false }),
    'Of 1,000 untouched faces of this size and compression, about 42 get this result.',
  );
  assert.match(words({ per_1000_untouched: 50, at_most: true }), /at most about 50/);
  assert.match(words(null), /has not been measured/);
  assert.equal(view.meaningInWords({ ...FACE, p_fake: null }), '', 'a face not judged has no result');
});

test('a heat map has two scales where it has a maximum', () => {
  const scales = (values) => view.heatScales({ ...FACE, map: values && { height: 1, width: values.length, values } });
  assert.deepEqual(scales([0.1, 0.423, 0]), { all: 'All faces: 0 to 1', own: 'This face: 0 to 0.423' });
  assert.match(scales([1]).own, /0\.999/);
  assert.equal(scales([0, 0]), null);
  assert.equal(scales(null), null);
});

test('a reason is told in words, one that this page does not know as well', () => {
  assert.match(view.reasonInWords('no_face'), /No face/);
  assert.equal(view.reasonInWords('of_a_later_version'), 'Not assessed');
});

test('stability is told in words, beside the score as it is and every score after a change', () => {
  const scores = [
    { change: 'jpeg_90', p_fake: 0.9 },
    { change: 'jpeg_75', p_fake: 0.5 },
  ];
  const told = (band, flipped) => view.stabilityRows({ ...FACE, band, stability: { scores, flipped } });
  assert.match(told('likely_fake', false).words, /^Yes/);
  assert.match(told('inconclusive', true).words, /^No/);
  assert.match(told('inconclusive', false).words, /says nothing/);
  assert.deepEqual(told('likely_fake', false).rows, [
    ['As it is', 0.93],
    ['JPEG quality 90', 0.9],
    ['JPEG quality 75', 0.5],
  ]);
  assert.equal(view.stabilityRows(FACE), null);
});

test('a flipped verdict says why it says nothing', () => {
  const { title, meaning } = view.verdict({ band: 'inconclusive', reason: 'unstable' });
  assert.equal(title, 'Cannot tell');
  assert.match(meaning, /re-encoded or rescaled/);
});

test('what a file says about itself is told with its place; known codes in words', () => {
  const marks = [
    { kind: 'digital_source_type', value: 'trainedAlgorithmicMedia', place: 'PNG iTXt, XMP', detail: null },
    { kind: 'digital_source_type', value: 'newCode', place: 'x', detail: null },
    { kind: 'c2pa', value: 'manifest', place: 'PNG caBX', detail: null },
    { kind: 'generator', value: 'ComfyUI', place: 'PNG tEXt', detail: 'Steps: 20' },
  ];
  const rows = view.provenanceRows({ provenance: { marks } });
  assert.equal(rows[0].value, 'made by a trained model (trainedAlgorithmicMedia)');
  assert.equal(rows[1].value, 'newCode');
  assert.match(rows[2].value, /signature was not checked/);
  assert.deepEqual(rows[3], { label: 'Made with', value: 'ComfyUI', place: 'PNG tEXt', detail: 'Steps: 20' });
});

test('where the model comes from names what is known and leaves out the rest', () => {
  const rows = view.modelRows({
    model: { id: 'ab', name: 'first', input_px: 128 },
    origin: { licence: 'CC-BY-NC-4.0', training: { commit: 'cd', seed: '1' } },
  });
  assert.deepEqual(rows.map(([, value]) => value), ['first, 128 pixels', 'ab', 'CC-BY-NC-4.0', 'cd']);
});

test('sizes and durations carry their unit', () => {
  assert.equal(view.bytes(0), '0 B');
  assert.equal(view.bytes(12_345), '12.3 kB');
  assert.equal(view.bytes(22_800_000), '22.8 MB');
  assert.equal(view.duration(0.2), '< 1 ms');
  assert.equal(view.duration(340.4), '340 ms');
  assert.equal(view.duration(1234), '1.2 s');
});

test('a face box is given in percent and cut at the border', () => {
  const photo = { width_px: 200, height_px: 400 };
  assert.deepEqual(view.boxPercent({ x: 50, y: 100, width: 100, height: 100 }, photo), {
    left: 25,
    top: 25,
    width: 50,
    height: 25,
  });
  assert.deepEqual(view.boxPercent({ x: -50, y: 350, width: 100, height: 100 }, photo), {
    left: 0,
    top: 87.5,
    width: 25,
    height: 12.5,
  });
});

test('the face that decided the band leads', () => {
  const calm = { ...FACE, p_fake: 0.1 };
  const unjudged = { ...FACE, p_fake: null };
  assert.equal(view.leadingFace({ p_fake: 0.93, faces: [calm, unjudged, FACE] }), 2);
  assert.equal(view.leadingFace({ p_fake: null, faces: [unjudged] }), 0);
  assert.equal(view.leadingFace({ p_fake: null, faces: [] }), 0);
});

test('progress is told in bytes, and other stages in words', () => {
  const words = view.progressInWords({ stage: 'model', loaded: 5_000_000, total: 22_800_000 });
  assert.equal(words, 'Loading the model: 5.0 MB of 22.8 MB');
  const stages = ['cached', 'preparing', 'checking'].map((stage) => view.progressInWords({ stage, loaded: 0, total: 0 }));
  assert.equal(new Set(stages).size, 3);
});

test('the backend read-out says why the CPU computes', () => {
  assert.deepEqual(view.backendInWords({ build: 'gpu', note: null, detail: '' }), { using: 'GPU, WebGPU', note: '' });
  const failed = view.backendInWords({ build: 'cpu', note: 'gpu_failed', detail: 'no adapter' });
  assert.equal(failed.using, 'CPU, WebAssembly SIMD');
  assert.match(failed.note, /\(no adapter\)/);
});

test('details name file, digest, model, backend and times', () => {
  const rows = view.detailRows({
    file: { format: 'jpeg', width_px: 640, height_px: 480, size_bytes: 12_345, sha256: 'ab' },
    model: { name: 'first', id: 'cd' },
    backend: 'cpu-wasm',
    timings_ms: { decode_ms: 10, faces_ms: 50, network_ms: 200, total_ms: 261 },
  });
  const values = rows.map(([, value]) => value).join('\n');
  for (const part of ['JPEG, 640 × 480 pixels, 12.3 kB', 'ab', 'first, cd', 'cpu-wasm', '261 ms']) {
    assert.ok(values.includes(part), part);
  }
});

test('errors are told by their code, with the message for a report', () => {
  assert.equal(view.errorInWords({ code: 'io', message: 'status 404' }), 'A file could not be loaded: status 404');
  assert.equal(view.errorInWords({ message: 'x' }), 'An internal error: x');
  assert.equal(view.errorInWords({ code: 'new_code', message: 'x' }), 'An internal error: x');
});

test('what stays in the browser is no network request, and other sites stand out', () => {
  const origin = 'https://example.org';
  const urls = [`${origin}/a.js`, 'blob:https://example.org/1', 'data:,x', 'https://other.org/b'];
  const { all, foreign } = view.networkRequests(urls, origin);
  assert.deepEqual(all, [`${origin}/a.js`, 'https://other.org/b']);
  assert.deepEqual(foreign, ['https://other.org/b']);
});
