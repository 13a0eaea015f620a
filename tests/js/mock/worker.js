// The engine worker, played: what it says of a picture is read off the picture's last bytes, which a test chose.
// `score=0.99` there is a face with that score, `unreadable` a file that cannot be read, anything else a face with a low one.
import { coded, failure, isRequest } from './messages.js';

const ROOT = new URL('../', import.meta.url);
/** How often each file was judged, by its name. */
const judged = new Map();

async function load() {
  const { sha256, thresholds } = await (await fetch(new URL('model/grnet.json', ROOT))).json();
  const model = { id: sha256, name: 'played', input_px: 160 };
  return { model, build: 'cpu', backend: 'played', thresholds, origin: { licence: '', training: {} }, note: null, detail: '', self_check: { ok: true } };
}

function picture(side, value) {
  return { height: side, width: side, rgba: new Uint8ClampedArray(side * side * 4).fill(value) };
}

async function assess({ name, bytes, stabilityFrom = Infinity, evidence = false }) {
  judged.set(name, (judged.get(name) ?? 0) + 1);
  const tail = new TextDecoder('latin1').decode(bytes.slice(-200));
  if (tail.includes('crash')) throw new WebAssembly.RuntimeError('played trap');
  const { model, thresholds } = await load();
  const start = new Uint8Array(bytes.slice(0, 3));
  const isRead = !tail.includes('unreadable') && start.length === 3;
  const pFake = Number(/score=([\d.]+)/.exec(tail)?.[1] ?? 0.1);
  const band = pFake >= thresholds.likely_fake ? 'likely_fake' : pFake < thresholds.no_signs ? 'no_signs_found' : 'inconclusive';
  const face = {
    box: { x: 10, y: 10, width: 100, height: 100 }, quality: { face_px: 100, jpeg_quality: 90, sharpness: 100 }, band, reason: null,
    p_fake: pFake, votes: { spatial: pFake, residual: pFake }, classes: [1 - pFake, pFake], meaning: null,
    map: { height: 2, width: 2, values: [0, 0.1, 0.2, pFake] },
    stability: pFake >= stabilityFrom ? { scores: [{ change: 'jpeg_90', p_fake: pFake }], flipped: false } : null,
  };
  const report = {
    schema: 'grnet.report/1', file: { name, size_bytes: bytes.byteLength, sha256: name, format: isRead ? 'jpeg' : null, height_px: 200, width_px: 200 },
    band: isRead ? band : 'not_assessed', p_fake: isRead ? pFake : null, reason: isRead ? null : 'unreadable', faces: isRead ? [face] : [],
    provenance: { marks: [] }, settings: { whole: false, stability: stabilityFrom === 0 }, model, backend: 'played',
    timings_ms: { decode_ms: 0, faces_ms: 0, network_ms: 0, total_ms: judged.get(name) },
  };
  const shown = { photo: picture(160, 90), residual: picture(160, 30), heat: picture(160, 255), heat_own: picture(160, 128) };
  return { report, failure: isRead ? null : 'played', evidence: report.faces.map(() => (evidence ? shown : null)) };
}

addEventListener('message', async ({ data }) => {
  try {
    if (!isRequest(data)) throw coded('internal', 'unknown request');
    postMessage({ id: data.id, ok: true, value: data.type === 'load' ? await load() : await assess(data) });
  } catch (error) {
    postMessage({ id: data?.id ?? -1, ok: false, error: failure(error) });
  }
});
postMessage({ type: 'ready' });
