// @ts-check
// The page: takes photos in, hands them one by one to the engine worker, and shows what comes back. It never loads wasm
// and never reads pixels back: the shown photo is the file itself, the verdict comes from its bytes.

import { EngineClient } from './shared/client.js';
import { ENGLISH, text } from './shared/strings.js';
import * as view from './shared/view.js';

/** @typedef {import('./shared/messages.js').Assessment} Assessment */
/** @typedef {import('./shared/messages.js').Loaded} Loaded */
/** @typedef {import('./shared/messages.js').Picture} Picture */
/** @typedef {import('./shared/messages.js').Preference} Preference */
/** @typedef {import('./shared/strings.js').TextKey} TextKey */
/** @typedef {{file: File, card: HTMLElement, photoUrl: string}} Job */

/**
 * The element that must be there.
 * @template {Element} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {T}
 */
function find(selector, root = document) {
  const element = root.querySelector(selector);
  if (!element) throw new Error(`expected an element ${selector}`);
  return /** @type {T} */ (element);
}

/**
 * A copy of a `<template>`'s only element, with its texts filled in.
 * @param {string} id
 * @returns {HTMLElement}
 */
function fromTemplate(id) {
  /** @type {HTMLTemplateElement} */
  const template = find(`template#${id}`);
  const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  fillTexts(content);
  return /** @type {HTMLElement} */ (content.firstElementChild);
}

/** @param {ParentNode} root */
function fillTexts(root) {
  for (const element of root.querySelectorAll('[data-text]')) {
    element.textContent = ENGLISH[/** @type {TextKey} */ (element.getAttribute('data-text'))];
  }
  for (const element of root.querySelectorAll('[data-label]')) {
    element.setAttribute('aria-label', ENGLISH[/** @type {TextKey} */ (element.getAttribute('data-label'))]);
  }
}

/**
 * @param {string} tag
 * @param {string} [content]
 * @param {string} [className]
 */
function make(tag, content = '', className = '') {
  const element = document.createElement(tag);
  element.textContent = content;
  if (className) element.className = className;
  return element;
}

/**
 * @param {HTMLElement} list a `<dl>`
 * @param {[string, string][]} rows
 */
function fillRows(list, rows) {
  list.replaceChildren(...rows.flatMap(([label, value]) => [make('dt', label), make('dd', value)]));
}

// ---- The engine: what computes, and how far it is -------------------------------------------------------------------

const status = find('#status');
const statusText = find('#status-text');
/** @type {HTMLProgressElement} */
const progressBar = find('#progress');
const note = find('#note');
const retry = find('#retry');
/** @type {HTMLSelectElement} */
const preference = find('#preference');

/** @param {string} words */
function setNote(words) {
  note.textContent = words;
  note.hidden = words === '';
}

/** @param {Loaded} loaded */
function showLoaded(loaded) {
  const { using, note: why } = view.backendInWords(loaded);
  status.dataset.state = 'ready';
  status.dataset.build = loaded.build;
  statusText.textContent = `${text('stateReady')} · ${using}`;
  setNote(why);
  find('#model').textContent = text('aboutModelValue', {
    name: loaded.model.name,
    px: loaded.model.input_px,
    id: loaded.model.id,
  });
  startCounting();
}

const client = new EngineClient({
  createWorker: () => new Worker(new URL('./shared/worker.js', import.meta.url), { type: 'module' }),
  onProgress: (progress) => {
    statusText.textContent = view.progressInWords(progress);
    if (progress.total > 0) progressBar.value = progress.loaded / progress.total;
    else progressBar.removeAttribute('value');
  },
  onLoaded: showLoaded,
  onNetwork: noteRequests,
});

async function loadEngine() {
  countingFrom = Infinity;
  retry.hidden = true;
  setNote('');
  status.dataset.state = 'starting';
  statusText.textContent = text('stateStarting');
  progressBar.value = 0;
  try {
    await client.load(/** @type {Preference} */ (preference.value));
  } catch (error) {
    const failed = /** @type {Error & {code?: string}} */ (error);
    if (failed.code === 'cancelled') return; // another choice was made meanwhile; it shows its own state
    status.dataset.state = 'failed';
    statusText.textContent = text('stateFailed');
    setNote(view.errorInWords(failed));
    retry.hidden = false;
  }
}

// ---- Requests: everything before ready is loading, everything after it must not be ----------------------------------

/** @type {string[]} */
const requested = [];
let countingFrom = Infinity;

/** @param {string[]} urls */
function noteRequests(urls) {
  requested.push(...view.networkRequests(urls, location.origin).all);
  showRequests();
}

function startCounting() {
  // Entries of the loading may be delivered a moment later; they are no requests since ready.
  setTimeout(() => {
    countingFrom = requested.length;
    showRequests();
  }, 500);
}

function showRequests() {
  const since = requested.slice(countingFrom);
  find('#request-count').textContent = String(since.length);
  find('#request-text').hidden = since.length > 0;
  find('#request-list').replaceChildren(...since.map((url) => make('li', url)));
  const { all, foreign } = view.networkRequests(requested.slice(0, countingFrom), location.origin);
  const words = foreign.length ? 'requestsLoadingForeign' : 'requestsLoading';
  find('#request-loading').textContent = text(words, { count: all.length, foreign: foreign.length });
}

new PerformanceObserver((list) => noteRequests(list.getEntries().map((entry) => entry.name))).observe({
  type: 'resource',
  buffered: true,
});

// ---- The queue: one photo at a time, in the order given; a failed one never blocks the next --------------------------

/** @type {Job[]} */
let jobs = [];
let done = 0;
let running = false;

/** @param {Iterable<File>} files */
function addFiles(files) {
  for (const file of files) {
    const card = fromTemplate('card');
    const photoUrl = URL.createObjectURL(file);
    const job = { file, card, photoUrl };
    find('.file', card).textContent = file.name;
    /** @type {HTMLImageElement} */
    const photo = find('.photo', card);
    photo.addEventListener('error', () => (find('.picture', card).hidden = true));
    photo.src = photoUrl;
    setVerdict(card, 'waiting', { title: text('waiting'), meaning: '', help: '' });
    jobs.push(job);
    find('#cards').append(card);
  }
  showQueue();
  void runQueue();
}

async function runQueue() {
  if (running) return;
  running = true;
  for (let job; (job = jobs[done]); ) {
    setVerdict(job.card, 'working', { title: text('working'), meaning: '', help: '' });
    try {
      const assessment = await client.assess(job.file);
      if (jobs[done] !== job) continue; // cleared meanwhile
      showAssessment(job, assessment);
    } catch (error) {
      const failed = /** @type {Error & {code?: string}} */ (error);
      // Cleared, or another backend was chosen: then the photo is checked on that one.
      if (jobs[done] !== job || failed.code === 'cancelled') continue;
      showFailure(job, failed);
    }
    done += 1;
    showQueue();
  }
  running = false;
}

function showQueue() {
  const total = jobs.length;
  document.body.classList.toggle('busy', total > 0);
  find('#results').hidden = total === 0;
  const words = done < total ? 'queueProgress' : total === 1 ? 'queueDoneOne' : 'queueDone';
  find('#queue').textContent = text(words, { done, total });
}

function clearQueue() {
  for (const { photoUrl } of jobs) URL.revokeObjectURL(photoUrl);
  jobs = [];
  done = 0;
  find('#cards').replaceChildren();
  showQueue();
  find('#files').focus();
}

// ---- One photo -------------------------------------------------------------------------------------------------------

/**
 * @param {HTMLElement} card
 * @param {string} band one of the report's, or waiting, working, failed
 * @param {view.Verdict} words
 */
function setVerdict(card, band, { title, meaning, help }) {
  card.dataset.band = band;
  find('h2', card).textContent = title;
  find('.meaning', card).textContent = meaning;
  find('.help', card).textContent = help;
}

/**
 * @param {Job} job
 * @param {string} verdict
 */
function announce({ file }, verdict) {
  find('#announcer').textContent = text('announce', { name: file.name, verdict });
}

/**
 * @param {Job} job
 * @param {Error & {code?: string}} error
 */
function showFailure(job, error) {
  const meaning = text('checkFailedMeaning', { message: view.errorInWords(error) });
  setVerdict(job.card, 'failed', { title: text('checkFailed'), meaning, help: text('checkFailedHelp') });
  announce(job, text('checkFailed'));
}

/**
 * @param {Job} job
 * @param {Assessment} assessment
 */
function showAssessment(job, { report, failure, evidence }) {
  const { card } = job;
  const words = view.verdict(report, failure);
  setVerdict(card, report.band, words);
  const count = view.faceCount(report.faces.length);
  /** @type {HTMLImageElement} */
  const photo = find('.photo', card);
  photo.alt = text('photoAlt', { name: report.file.name, count });

  const total = report.faces.length;
  const chooser = find('.chooser', card);
  const boxes = find('.boxes', card);
  /** @param {number} chosen */
  const choose = (chosen) => {
    for (const group of [chooser, boxes]) {
      Array.from(group.children, (button, index) => button.setAttribute('aria-pressed', String(index === chosen)));
    }
    find('.face', card).replaceChildren(faceSection(report.faces[chosen], chosen, total));
    showEvidence(card, evidence[chosen]);
  };
  report.faces.forEach((face, index) => {
    const box = make('button');
    const at = view.boxPercent(face.box, report.file);
    for (const side of /** @type {const} */ (['left', 'top', 'width', 'height'])) box.style[side] = `${at[side]}%`;
    box.classList.toggle('at-top', at.top < 8);
    box.setAttribute('type', 'button');
    box.setAttribute('aria-label', text('faceBox', { number: index + 1, verdict: view.verdict(face).title }));
    if (total > 1) box.append(make('span', String(index + 1)));
    box.addEventListener('click', () => choose(index));
    boxes.append(box);
    const tab = make('button', text('face', { number: index + 1 }));
    tab.setAttribute('type', 'button');
    tab.addEventListener('click', () => choose(index));
    chooser.append(tab);
  });
  chooser.hidden = total < 2;
  if (total > 0) choose(view.leadingFace(report));

  const technical = find('.technical', card);
  technical.hidden = false;
  fillRows(find('dl', technical), view.detailRows(report));
  find('.report', technical).textContent = JSON.stringify(report, null, 2);
  announce(job, words.title);
}

/**
 * @param {import('./shared/messages.js').Face} face
 * @param {number} index
 * @param {number} total
 */
function faceSection(face, index, total) {
  const section = fromTemplate('face');
  if (total > 1) {
    const which = find('.which', section);
    const { title: verdict, meaning } = view.verdict(face);
    which.hidden = false;
    find('h3', which).textContent = text('faceOf', { number: index + 1, total, verdict });
    find('p', which).textContent = face.reason ? meaning : '';
  }
  if (face.p_fake !== null) {
    const words = view.score(face.p_fake);
    const block = find('.score', section);
    block.hidden = false;
    find('.number', block).textContent = words;
    find('.needle', block).style.left = `${face.p_fake * 100}%`;
    find('.scale', block).setAttribute('aria-label', text('scoreAria', { score: words }));
  }
  if (face.votes) {
    const block = find('.votes', section);
    block.hidden = false;
    find('dl', block).replaceChildren(
      ...voteRow(text('voteSpatial'), face.votes.spatial),
      ...voteRow(text('voteResidual'), face.votes.residual),
    );
    find('.agreement', block).textContent = view.votesInWords(face.votes);
  }
  fillRows(find('.quality dl', section), view.qualityRows(face));
  return section;
}

/**
 * @param {string} label
 * @param {number} vote
 */
function voteRow(label, vote) {
  const bar = make('span', '', 'bar');
  bar.append(make('span'));
  find('span', bar).style.width = `${vote * 100}%`;
  const value = make('dd');
  value.append(bar, make('span', view.score(vote), 'tabular'));
  return [make('dt', label), value];
}

/**
 * @param {HTMLElement} card
 * @param {import('./shared/messages.js').Evidence | null} evidence
 */
function showEvidence(card, evidence) {
  const block = find('.evidence', card);
  block.hidden = !evidence;
  if (!evidence) return;
  paint(find('canvas.cut', block), evidence.photo);
  paint(find('canvas.residual', block), evidence.residual);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Picture} picture
 */
function paint(canvas, { height, width, rgba }) {
  canvas.height = height;
  canvas.width = width;
  canvas.getContext('2d')?.putImageData(new ImageData(rgba, width, height), 0, 0);
}

// ---- Ways in: dialog, drop, paste ------------------------------------------------------------------------------------

/** @type {HTMLInputElement} */
const fileInput = find('#files');
fileInput.addEventListener('change', () => {
  addFiles(Array.from(fileInput.files ?? []));
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
  if (files.length) addFiles(files);
  else setNote(text('notAFile')); // a link or a piece of text was dropped
}

find('#clear').addEventListener('click', clearQueue);
retry.addEventListener('click', () => void loadEngine());
preference.addEventListener('change', () => void loadEngine());

fillTexts(document);
const asked = new URLSearchParams(location.search).get('backend');
if (asked === 'gpu' || asked === 'cpu') preference.value = asked;
void loadEngine();
