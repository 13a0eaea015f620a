// @ts-check
// One photo and everything that was found about it, as one element. A card is built anew from its job whenever either
// changes; it keeps nothing of its own but which face is looked at.

import { text } from '../shared/strings.js';
import * as view from '../shared/view.js';
import { fillRows, find, fromTemplate, make, makeButton } from './dom.js';

/** @typedef {import('../shared/messages.js').Evidence} Evidence */
/** @typedef {import('../shared/messages.js').Face} Face */
/** @typedef {import('../shared/messages.js').Picture} Picture */
/** @typedef {import('./queue.js').Job} Job */
/** @typedef {{onKeep: (job: Job, form: 'json' | 'html') => void}} Actions */

/** Where the dividing line and the heat map's opacity start, in percent. */
const START = { divide: 50, heat: 40 };

/**
 * @param {Job} job
 * @param {Actions} actions
 * @returns {HTMLElement}
 */
export function makeCard(job, actions) {
  const card = fromTemplate('card');
  const { title, meaning, help } = jobVerdict(job);
  card.dataset.band = jobState(job);
  find('h2', card).textContent = title;
  find('.meaning', card).textContent = meaning;
  find('.help', card).textContent = help;
  find('.file', card).textContent = job.file.name;
  /** @type {HTMLImageElement} */
  const photo = find('.photo', card);
  photo.addEventListener('error', () => (find('.picture', card).hidden = true));
  photo.src = job.photoUrl;
  if (job.assessment) fillAssessment(card, job, job.assessment, actions);
  return card;
}

/**
 * The report's band, or how far the job is.
 * @param {Job} job
 * @returns {string}
 */
export function jobState({ state, assessment }) {
  return state === 'done' && assessment ? assessment.report.band : state;
}

/**
 * @param {Job} job
 * @returns {view.Verdict}
 */
export function jobVerdict({ state, assessment, error }) {
  if (state === 'done' && assessment) return view.verdict(assessment.report, assessment.failure);
  if (state === 'failed' && error) {
    const meaning = text('checkFailedMeaning', { message: view.errorInWords(error) });
    return { title: text('checkFailed'), meaning, help: text('checkFailedHelp') };
  }
  return { title: text(state === 'working' ? 'working' : 'waiting'), meaning: '', help: '' };
}

/**
 * @param {HTMLElement} card
 * @param {Job} job
 * @param {import('../shared/messages.js').Assessment} assessment
 * @param {Actions} actions
 */
function fillAssessment(card, job, { report, evidence }, actions) {
  const total = report.faces.length;
  /** @type {HTMLImageElement} */
  const photo = find('.photo', card);
  photo.alt = text('photoAlt', { name: report.file.name, count: view.faceCount(total) });
  const chooser = find('.chooser', card);
  const boxes = find('.boxes', card);
  /** @param {number} chosen */
  const choose = (chosen) => {
    for (const group of [chooser, boxes]) {
      Array.from(group.children, (button, index) => button.setAttribute('aria-pressed', String(index === chosen)));
    }
    find('.face', card).replaceChildren(faceSection(report.faces[chosen], chosen, total));
    showEvidence(card, report.faces[chosen], evidence[chosen]);
  };
  report.faces.forEach((face, index) => {
    boxes.append(faceBox(face, index, report, () => choose(index)));
    chooser.append(makeButton(text('face', { number: index + 1 }), () => choose(index)));
  });
  chooser.hidden = total < 2;
  if (total > 0) choose(view.leadingFace(report));
  fillProvenance(find('.provenance', card), report);

  const technical = find('.technical', card);
  technical.hidden = false;
  fillRows(find('dl', technical), view.detailRows(report));
  find('.report', technical).textContent = JSON.stringify(report, null, 2);
  const keep = find('.keep', card);
  keep.hidden = false;
  find('.keep-json', keep).addEventListener('click', () => actions.onKeep(job, 'json'));
  find('.keep-html', keep).addEventListener('click', () => actions.onKeep(job, 'html'));
}

/**
 * The frame round a face on the photo, a button that chooses it.
 * @param {Face} face
 * @param {number} index
 * @param {import('../shared/messages.js').Report} report
 * @param {() => void} onClick
 */
function faceBox(face, index, report, onClick) {
  const box = makeButton('', onClick);
  const at = view.boxPercent(face.box, report.file);
  for (const side of /** @type {const} */ (['left', 'top', 'width', 'height'])) box.style[side] = `${at[side]}%`;
  box.classList.toggle('at-top', at.top < 8);
  box.setAttribute('aria-label', text('faceBox', { number: index + 1, verdict: view.verdict(face).title }));
  if (report.faces.length > 1) box.append(make('span', String(index + 1)));
  return box;
}

/**
 * @param {Face} face
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
    find('.frequency', block).textContent = view.meaningInWords(face);
  }
  if (face.votes) {
    const block = find('.votes', section);
    block.hidden = false;
    find('dl', block).replaceChildren(
      ...scoreRow(text('voteSpatial'), face.votes.spatial),
      ...scoreRow(text('voteResidual'), face.votes.residual),
    );
    find('.agreement', block).textContent = view.votesInWords(face.votes);
  }
  const stability = view.stabilityRows(face);
  if (stability) {
    const block = find('.stability', section);
    block.hidden = false;
    find('.outcome', block).textContent = stability.words;
    find('dl', block).replaceChildren(...stability.rows.flatMap(([label, score]) => scoreRow(label, score)));
  }
  fillRows(find('.quality dl', section), view.qualityRows(face));
  return section;
}

/**
 * A label, a bar and a number.
 * @param {string} label
 * @param {number} score
 */
function scoreRow(label, score) {
  const bar = make('span', '', 'bar');
  bar.append(make('span'));
  find('span', bar).style.width = `${score * 100}%`;
  const value = make('dd');
  value.append(bar, make('span', view.score(score), 'tabular'));
  return [make('dt', label), value];
}

/**
 * @param {HTMLElement} block
 * @param {import('../shared/messages.js').Report} report
 */
function fillProvenance(block, report) {
  const rows = view.provenanceRows(report);
  // Of what is no picture there is nothing to say.
  block.hidden = report.reason === 'unreadable' && rows.length === 0;
  find('.explain', block).textContent = view.provenanceInWords(report);
  find('dl', block).replaceChildren(
    ...rows.flatMap(({ label, value, place, detail }) => {
      const said = make('dd', value);
      said.append(make('span', place, 'place'));
      if (detail) said.append(make('span', detail, 'detail'));
      return [make('dt', label), said];
    }),
  );
}

/**
 * @param {HTMLElement} card
 * @param {Face} face
 * @param {Evidence | null} evidence
 */
function showEvidence(card, face, evidence) {
  const block = find('.evidence', card);
  block.hidden = !evidence;
  if (!evidence) return;
  paint(find('canvas.cut', block), evidence.photo);
  paint(find('canvas.residual', block), evidence.residual);
  showHeat(block, face, evidence);
  const viewer = find('.viewer', block);
  for (const name of /** @type {const} */ (['divide', 'heat'])) {
    /** @type {HTMLInputElement} */
    const slider = find(`input.${name}`, block);
    const apply = () => viewer.style.setProperty(`--${name}`, `${slider.value}%`);
    slider.oninput = apply;
    // Another face is looked at as the one before was.
    if (!slider.dataset.started) slider.value = String(START[name]);
    slider.dataset.started = 'yes';
    apply();
  }
}

/**
 * The heat map on the scale that is chosen.
 * @param {HTMLElement} block
 * @param {Face} face
 * @param {Evidence} evidence
 */
function showHeat(block, face, { heat, heat_own: own }) {
  /** @type {HTMLCanvasElement} */
  const canvas = find('canvas.heat', block);
  /** @type {HTMLSelectElement} */
  const select = find('.scales select', block);
  const scales = view.heatScales(face);
  find('.scales', block).hidden = !scales;
  const chosen = select.value; // another face is looked at as the one before was
  select.replaceChildren(...Object.entries(scales ?? {}).map(([value, words]) => new Option(words, value)));
  if (scales && chosen) select.value = chosen;
  const apply = () => paint(canvas, select.value === 'own' ? own : heat);
  select.onchange = apply;
  apply();
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
