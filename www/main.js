// @ts-check
// The page: takes photos in, hands them one by one to the engine worker, and shows what comes back. It never loads wasm
// and never reads pixels back: the shown photo is the file itself, the verdict comes from its bytes. This file joins the
// parts: engine, queue, gallery, language, ways in.

import { EngineClient } from './shared/client.js';
import { LANGUAGES, chooseLanguage, setLanguage, text } from './shared/strings.js';
import * as view from './shared/view.js';
import { fillRows, fillTexts, find } from './page/dom.js';
import { loadGallery, showGallery } from './page/gallery.js';
import { download, keptName, keptReport } from './page/keep.js';
import { keepOffline } from './page/offline.js';
import { Queue } from './page/queue.js';
import { noteRequests, showRequests, startCounting, stopCounting } from './page/requests.js';

/** @typedef {import('./shared/messages.js').Loaded} Loaded */
/** @typedef {import('./shared/messages.js').Preference} Preference */
/** @typedef {import('./shared/strings.js').Language} Language */
/** @typedef {import('./page/queue.js').Job} Job */
/** @typedef {import('./page/queue.js').CodedError} CodedError */

// ---- The engine: what computes, and how far it is -------------------------------------------------------------------

const status = find('#status');
const statusText = find('#status-text');
/** @type {HTMLProgressElement} */
const progressBar = find('#progress');
const note = find('#note');
const retry = find('#retry');
/** @type {HTMLSelectElement} */
const preference = find('#preference');

/** Says the state again, for another language. */
let sayState = () => {};

/** @param {() => void} say */
function setState(say) {
  sayState = say;
  say();
}

/** @param {string} words */
function setNote(words) {
  note.textContent = words;
  note.hidden = words === '';
}

/** @param {Loaded} loaded */
function showLoaded(loaded) {
  status.dataset.state = 'ready';
  status.dataset.build = loaded.build;
  // The scales of all scores show where the bands begin.
  document.body.style.setProperty('--no-signs', `${loaded.thresholds.no_signs * 100}%`);
  document.body.style.setProperty('--likely-fake', `${loaded.thresholds.likely_fake * 100}%`);
  setState(() => {
    const { using, note: why } = view.backendInWords(loaded);
    statusText.textContent = `${text('stateReady')} · ${using}`;
    setNote(why);
    find('#model-none').hidden = true;
    find('#model-explain').hidden = false;
    fillRows(find('#model-rows'), view.modelRows(loaded));
  });
  // The samples may still be on their way.
  void samples.then(startCounting);
}

const client = new EngineClient({
  createWorker: () => new Worker(new URL('./shared/worker.js', import.meta.url), { type: 'module' }),
  onProgress: (progress) => {
    setState(() => (statusText.textContent = view.progressInWords(progress)));
    if (progress.total > 0) progressBar.value = progress.loaded / progress.total;
    else progressBar.removeAttribute('value');
  },
  onLoaded: showLoaded,
  onNetwork: noteRequests,
});

async function loadEngine() {
  stopCounting();
  retry.hidden = true;
  setNote('');
  status.dataset.state = 'starting';
  setState(() => (statusText.textContent = text('stateStarting')));
  progressBar.value = 0;
  try {
    await client.load(/** @type {Preference} */ (preference.value));
  } catch (error) {
    const failed = /** @type {CodedError} */ (error);
    if (failed.code === 'cancelled') return; // another choice was made meanwhile; it shows its own state
    status.dataset.state = 'failed';
    setState(() => {
      statusText.textContent = text('stateFailed');
      setNote(view.errorInWords(failed));
    });
    retry.hidden = false;
  }
}

// ---- Photos and their reports ----------------------------------------------------------------------------------------

const queue = new Queue({ assess: assessWhenKept, onKeep: (job, form) => void keep(job, form) });

/** Resolves when the browser keeps what is loaded, so that the engine's files are kept too. */
const keeping = keepOffline();
const samples = keeping.then(loadGallery).then(() => showGallery((file) => queue.add([file])));

/**
 * @param {File} file
 * @param {import('./shared/messages.js').AssessOptions} options
 */
async function assessWhenKept(file, options) {
  await keeping;
  return client.assess(file, options);
}

/**
 * @param {Job} job
 * @param {'json' | 'html'} form
 */
async function keep(job, form) {
  const report = keptReport(job);
  if (!report || !job.assessment) return;
  if (form === 'html') await queue.lookCloser(job);
  const { evidence, failure } = job.assessment;
  try {
    const content =
      form === 'json' ? `${JSON.stringify(report, null, 2)}\n` : await client.keep(report, evidence, failure);
    download(keptName(job.file.name, form), content, form === 'json' ? 'application/json' : 'text/html');
  } catch (error) {
    setNote(text('keepFailed', { message: error instanceof Error ? error.message : String(error) }));
  }
}

find('#keep-all').addEventListener('click', () => {
  const reports = queue.jobs.map(keptReport).filter((report) => report !== null);
  download('grnet-reports.json', `${JSON.stringify(reports, null, 2)}\n`, 'application/json');
});

// ---- Language --------------------------------------------------------------------------------------------------------

/** @type {HTMLSelectElement} */
const language = find('#language');
const LANGUAGE_KEY = 'grnet-language';

/** The reader's choice of earlier, if the browser kept it. */
function keptLanguage() {
  try {
    return localStorage.getItem(LANGUAGE_KEY);
  } catch {
    return null; // storage is forbidden here
  }
}

/** @param {Language} chosen */
function speak(chosen) {
  setLanguage(chosen);
  document.documentElement.lang = chosen;
  document.title = text('title');
  fillTexts(document);
  sayState();
  queue.show();
  showRequests();
  showGallery((file) => queue.add([file]));
}

for (const [code, { name }] of Object.entries(LANGUAGES)) {
  const option = Object.assign(document.createElement('option'), { value: code, textContent: name, lang: code });
  language.append(option);
}
language.addEventListener('change', () => {
  speak(/** @type {Language} */ (language.value));
  try {
    localStorage.setItem(LANGUAGE_KEY, language.value);
  } catch {
    // Storage is forbidden here: the choice holds for this visit.
  }
});

// ---- Ways in: dialog, drop, paste ------------------------------------------------------------------------------------

/** @type {HTMLInputElement} */
const fileInput = find('#files');
fileInput.addEventListener('change', () => {
  queue.add(Array.from(fileInput.files ?? []));
  fileInput.value = ''; // the same file can be chosen again
});

const veil = find('#veil');
addEventListener('dragover', (event) => {
  event.preventDefault();
  veil.hidden = false;
});
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) veil.hidden = true;
});
addEventListener('drop', (event) => {
  event.preventDefault();
  veil.hidden = true;
  takeTransfer(event.dataTransfer);
});
addEventListener('paste', (event) => {
  if (event.clipboardData?.files.length) takeTransfer(event.clipboardData);
});

/** @param {DataTransfer | null} transfer */
function takeTransfer(transfer) {
  const files = Array.from(transfer?.files ?? []);
  if (files.length) queue.add(files);
  else setNote(text('notAFile')); // a link or a piece of text was dropped
}

retry.addEventListener('click', () => void loadEngine());
preference.addEventListener('change', () => void loadEngine());

const options = new URLSearchParams(location.search);
const asked = options.get('backend');
if (asked === 'gpu' || asked === 'cpu') preference.value = asked;
language.value = chooseLanguage([options.get('lang') ?? keptLanguage() ?? '', ...navigator.languages]);
speak(/** @type {Language} */ (language.value));
void keeping.then(loadEngine);
