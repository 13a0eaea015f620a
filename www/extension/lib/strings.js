// @ts-check
// Every word that only the extension shows (German: strings.de.js); what it has in common with the page stands in
// shared/strings.js. It speaks the browser's own language, where there is a table for it.

import { chooseLanguage, fill, setLanguage } from '../../shared/strings.js';
import { GERMAN_WORDS } from './strings.de.js';

/** English, the reference language. `{name}` marks a value put in by `say()`. */
export const WORDS = Object.freeze({
  menuCheck: 'Check this face',
  checkPage: 'Check profile photos on this page',

  labelFlag: 'Traces',
  labelWeak: 'Weak traces',
  labelUnsure: 'Cannot tell',
  labelNone: 'No signs found',
  labelUnjudged: 'Not assessed',
  labelBusy: 'Checking',
  labelBlocked: 'Needs your permission',
  labelFailed: 'Could not be checked',
  titleFlag: 'Shows traces of generation or manipulation. A strong hint, no proof. Click to see why.',
  titleWeak: 'Some traces, too weak to flag while looking through a whole page. Click to see why.',
  titleBlocked: 'This picture is kept on {site}. Click to allow grnet to read it from there.',
  titleFailed: 'This picture could not be fetched or checked. Click for the reason.',
  titleBusy: 'Checking this face',

  popupNoPage: 'This page cannot be checked: the browser keeps extensions out of it.',
  popupIdle: 'No picture of this page has been checked.',
  popupCounts: '{checked} checked, {flagged} flagged',
  popupCountsWaiting: '{checked} checked, {flagged} flagged, {waiting} waiting',
  popupMoreThan: 'More than {count}',
  popupNothing: 'No profile photos of at least 64 pixels were found on this page.',
  popupQuiet: 'Not flagged: {count}',
  popupAuto: 'Check {site} by itself, as pictures come into view',
  popupAutoWhy: 'The browser will ask whether grnet may read {hosts}. Only these; and you can take it back here or in the options.',
  popupBlocked: '{count} pictures are kept on other hosts. To read them, grnet needs your permission for {hosts}. Nothing is sent there but the request for the picture, without cookies.',
  popupBlockedOne: 'One picture is kept on another host. To read it, grnet needs your permission for {hosts}. Nothing is sent there but the request for the picture, without cookies.',
  popupFramed: 'Parts of this page are pages of other sites. To look into them, grnet needs your permission for {hosts}.',
  popupUnseen: 'Not checked or not assessed: {count}',
  popupAllow: 'Allow and check',
  popupOptions: 'Options',
  popupDenied: 'The permission was not given, so nothing changed.',
  popupFailed: 'That did not work: {message}',
  popupFace: '{label}, score {score}',
  popupEngine: '{using} · model {name} {id}',
  popupEngineIdle: 'Detector not loaded · model {id}',
  popupEngineFailed: 'The detector cannot run: {message}',

  panelTitle: 'What was found in this picture',
  panelGone: 'This picture is no longer listed. Check it again on its page.',
  panelWaiting: 'Waiting for the check',
  panelBlocked: 'Permission is needed',
  panelBlockedMeaning: 'This picture is kept on {site}. To check it, grnet must read it from there, without cookies. The browser asks you first; you can take the permission back in the options.',
  panelAllow: 'Allow {site} and check',
  panelRefused: 'Not fetched',
  panelFailed: 'Could not be checked',
  panelLooking: 'Looking more closely: evidence, and whether the verdict holds under gentle changes.',
  panelNoEvidence: 'The picture is no longer at hand, so that the evidence cannot be shown. {message}',
  panelThreshold: 'Pages are flagged from {limit} on; in validation, at most one untouched photo in a hundred scored that high.',
  panelForm: 'The shown file cannot be read. Judged was the same picture in another form: {name}',
  panelFrom: 'Picture from {site}',
  panelFromPage: 'Picture made in the page',

  whyElement: 'an element of the page that could not be read',
  whyAddress: 'its address is none',
  whyDrawing: 'a drawing (SVG), no photo',
  whyScheme: 'kept where extensions may not read',
  whyCanvas: 'drawn by the page, and empty or closed to reading',
  whyVideo: 'a moving picture; only still ones are checked',
  whyLarge: 'the file is too large for a profile photo',
  whyMany: 'more than 5000 pictures in one page',
  whySmall: 'smaller than 64 pixels',
  whyShape: 'not of a portrait’s shape, and nothing calls it a photo of a person',
  whyFrame: 'a frame into which grnet may not look',
  whyFrameOf: 'a frame into which grnet may not look, of {sites}',
  whyElsewhere: 'called an ornament, and kept on a host that would have to be allowed',
  whyPrivate: 'kept in a private network',
  whyCredentials: 'its address carries a user name',
  whyRedirect: 'its address leads to another one, which is not followed',
  whyStatus: 'the host did not give it',
  whyType: 'what the host sent is no picture',
  whyUnreachable: 'it could not be fetched',
  whyFailed: 'the check failed',

  optionsTitle: 'grnet: options',
  optionsFlagging: 'Flagging',
  optionsThreshold: 'Flag from a score of',
  optionsThresholdWhy: 'The model’s own threshold is {limit}: in validation, at most one untouched photo in a hundred scored that high. You can be stricter, not more lenient.',
  optionsThresholdOwn: 'The model’s own threshold',
  optionsBadges: 'Draw badges on pictures',
  optionsBadgesWhy: 'Without badges, flagged pictures are listed in the toolbar popup only.',
  optionsCompute: 'Detector',
  optionsSites: 'Sites checked by themselves',
  optionsSitesNone: 'None. Switch a site on in the toolbar popup.',
  optionsHosts: 'Hosts that may be read',
  optionsHostsNone: 'None. grnet asks when a picture needs one.',
  optionsRevoke: 'Take back',
  optionsRevokeSite: 'Take back {site}',
  optionsCache: 'Kept verdicts',
  optionsCacheSize: '{count} verdicts, {size}. Pictures are never kept.',
  optionsCacheClear: 'Forget them',
  optionsKeys: 'Keyboard',
  optionsKeyNone: 'no key',
  optionsKeyOpen: 'Open the popup',
  optionsKeysChange: 'Change the keys',
  optionsPrivacy: 'Nothing leaves this device: pictures are fetched from where the page has them, without cookies, and checked here.',
});

/** @typedef {keyof typeof WORDS} WordsKey */

const language = chooseLanguage([globalThis.chrome?.i18n?.getUILanguage() ?? '']);
setLanguage(language);

/** The language of the extension's pages, for their `lang`. */
export const LANGUAGE = language;

/**
 * The words for `key`, with `{name}` replaced by `values.name`.
 * @param {WordsKey} key
 * @param {Readonly<Record<string, string | number>>} [values]
 * @returns {string}
 */
export function say(key, values = {}) {
  return fill(language === 'de' ? GERMAN_WORDS[key] : WORDS[key], values);
}
