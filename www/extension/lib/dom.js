// @ts-check
// What the extension's pages have in common beyond the site's own helpers: their words, and talking to the background.

import { BACKGROUND } from './names.js';
import { LANGUAGE, say } from './strings.js';

export { find, make, makeButton } from '../../page/dom.js';

/**
 * Fills in the extension's own words, marked `data-say`; `data-text` marks those of the site.
 * @param {ParentNode} root
 */
export function fillOwnTexts(root) {
  document.documentElement.lang = LANGUAGE;
  for (const element of root.querySelectorAll('[data-say]')) {
    element.textContent = say(/** @type {import('./strings.js').WordsKey} */ (element.getAttribute('data-say')));
  }
}

/**
 * Asks the background.
 * @param {object} message
 * @returns {Promise<any>}
 */
export async function ask(message) {
  const answer = await chrome.runtime.sendMessage({ to: BACKGROUND, ...message });
  if (!answer?.ok) throw Object.assign(new Error(answer?.error?.message ?? 'no answer'), { code: answer?.error?.code });
  return answer.value;
}
