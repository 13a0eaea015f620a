// @ts-check
// The evidence panel, in a window of its own: what page scripts can neither read, nor cover, nor imitate inside the
// extension's address. `#key` names the picture's record.

import { text } from '../shared/strings.js';
import * as view from '../shared/view.js';
import { ask, fillTexts, find, make } from './lib/dom.js';
import { unpack } from './lib/messages.js';
import { EVIDENCE, RETRY } from './lib/names.js';
import { siteName, sitePattern } from './lib/policy.js';
import { SETTINGS, settingsFrom } from './lib/settings.js';
import { say } from './lib/strings.js';
import { levelOf, threshold } from './lib/verdict.js';

/** @typedef {import('./lib/messages.js').PackedPicture} PackedPicture */
/** @typedef {import('./lib/messages.js').Record} Record */
/** @typedef {import('../shared/messages.js').Face} Face */

const card = find('.card');
/** @type {HTMLButtonElement} */
const allow = find('#allow');
let key = '';
let pattern = '';

/**
 * @param {string} band one of the report's, or waiting, failed
 * @param {view.Verdict} words
 */
function setVerdict(band, { title, meaning, help }) {
  card.dataset.band = band;
  find('h1', card).textContent = title;
  find('.meaning', card).textContent = meaning;
  find('.help', card).textContent = help;
}

/**
 * @param {HTMLElement} list a `<dl>`
 * @param {[string, string][]} rows
 */
function fillRows(list, rows) {
  list.replaceChildren(...rows.flatMap(([label, value]) => [make('dt', label), make('dd', value)]));
}

/** @param {Record | undefined} record */
async function show(record) {
  for (const part of ['.chooser', '.technical', '.evidence', '#no-evidence']) find(part, card).hidden = true;
  find('.face', card).replaceChildren();
  allow.hidden = true;
  const { url = '', state, report, failure, message } = record ?? {};
  const fromPage = !/^https?:/.test(url);
  find('.file', card).textContent = !record || fromPage ? say('panelFromPage') : say('panelFrom', { site: new URL(url).host });
  if (!record) return setVerdict('failed', { title: text('bandNotAssessed'), meaning: say('panelGone'), help: '' });
  if (state === 'waiting') return setVerdict('working', { title: say('panelWaiting'), meaning: '', help: '' });
  if (state === 'blocked') {
    pattern = sitePattern(url);
    const site = siteName(pattern);
    setVerdict('not_assessed', { title: say('panelBlocked'), meaning: say('panelBlockedMeaning', { site }), help: '' });
    allow.textContent = say('panelAllow', { site });
    allow.hidden = false;
    return;
  }
  if (!report) {
    const title = say(state === 'refused' ? 'panelRefused' : 'panelFailed');
    return setVerdict('failed', { title, meaning: message ?? '', help: '' });
  }
  const settings = settingsFrom((await chrome.storage.local.get(SETTINGS))[SETTINGS]);
  const limit = threshold(record.autoScan, settings.threshold);
  // Between the two thresholds a single photo is worth a word, but the page's badge stays quiet; say so.
  const words = view.verdict(report, failure ?? null);
  const help = levelOf(report, limit) === 'weak' ? say('titleWeak').replace(/ Click.*$/, '') : words.help;
  setVerdict(report.band, { ...words, help });
  const technical = find('.technical', card);
  technical.hidden = false;
  fillRows(find('dl', technical), view.detailRows(report));
  find('#limit').textContent = say('panelThreshold', { limit: limit.toFixed(3) });
  find('.report', technical).textContent = JSON.stringify(report, null, 2);
  showFaces(report.faces, view.leadingFace(report));
}

/**
 * @param {Face[]} faces
 * @param {number} leading
 */
function showFaces(faces, leading) {
  if (faces.length === 0) return;
  const asked = key;
  const chooser = find('.chooser', card);
  chooser.setAttribute('aria-label', text('facesLabel'));
  chooser.hidden = faces.length < 2;
  const pictures = ask({ type: EVIDENCE, key }).then(
    ({ evidence }) => evidence,
    () => null,
  );
  /** @param {number} chosen */
  const choose = async (chosen) => {
    Array.from(chooser.children, (button, index) => button.setAttribute('aria-pressed', String(index === chosen)));
    find('.face', card).replaceChildren(faceSection(faces[chosen], chosen, faces.length));
    const evidence = await pictures;
    if (asked === key) showEvidence(evidence, chosen, faces[chosen].p_fake !== null);
  };
  chooser.replaceChildren(
    ...faces.map((_, index) => {
      const tab = make('button', text('face', { number: index + 1 }));
      tab.setAttribute('type', 'button');
      tab.addEventListener('click', () => void choose(index));
      return tab;
    }),
  );
  void choose(leading);
}

/**
 * @param {Face} face
 * @param {number} index
 * @param {number} total
 */
function faceSection(face, index, total) {
  /** @type {HTMLTemplateElement} */
  const template = find('template#face');
  const section = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  fillTexts(section);
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
 * @param {({photo: PackedPicture, residual: PackedPicture} | null)[] | null} evidence
 * @param {number} index
 * @param {boolean} judged
 */
function showEvidence(evidence, index, judged) {
  const one = evidence?.[index];
  find('.evidence', card).hidden = !one;
  find('#no-evidence').hidden = Boolean(one) || !judged;
  if (!one) return;
  paint(find('canvas.cut', card), one.photo, text('evidencePhoto'));
  paint(find('canvas.residual', card), one.residual, text('evidenceResidual'));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {PackedPicture} picture
 * @param {string} label
 */
function paint(canvas, { height, width, rgba }, label) {
  canvas.height = height;
  canvas.width = width;
  canvas.setAttribute('aria-label', label);
  canvas.getContext('2d')?.putImageData(new ImageData(new Uint8ClampedArray(unpack(rgba).buffer), width, height), 0, 0);
}

async function load() {
  key = decodeURIComponent(location.hash.slice(1));
  const name = `record/${key}`;
  /** @type {{[name: string]: any}} */
  const found = await chrome.storage.session.get(name);
  await show(found[name]?.value);
}

allow.addEventListener('click', async () => {
  if (await chrome.permissions.request({ origins: [pattern] })) await ask({ type: RETRY, tabId: 0 });
});
addEventListener('hashchange', () => void load());
chrome.storage.session.onChanged.addListener((changes) => {
  if (`record/${key}` in changes) void load();
});

fillTexts(document);
document.title = say('panelTitle');
await load();
