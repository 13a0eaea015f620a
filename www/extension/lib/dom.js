// @ts-check
// What the extension's pages share: finding elements, filling in texts, talking to the background.

import { ENGLISH } from '../../shared/strings.js';
import { BACKGROUND } from './names.js';
import { WORDS } from './strings.js';

/**
 * The element that must be there.
 * @template {Element} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {T}
 */
export function find(selector, root = document) {
  const element = root.querySelector(selector);
  if (!element) throw new Error(`expected an element ${selector}`);
  return /** @type {T} */ (element);
}

/**
 * @param {string} tag
 * @param {string} [content]
 * @param {string} [className]
 */
export function make(tag, content = '', className = '') {
  const element = document.createElement(tag);
  element.textContent = content;
  if (className) element.className = className;
  return element;
}

/**
 * Fills in the texts of everything marked `data-text` (the extension's own) or `data-shared` (the page's).
 * @param {ParentNode} root
 */
export function fillTexts(root) {
  for (const element of root.querySelectorAll('[data-text]')) {
    element.textContent = WORDS[/** @type {import('./strings.js').WordsKey} */ (element.getAttribute('data-text'))];
  }
  for (const element of root.querySelectorAll('[data-shared]')) {
    element.textContent =
      ENGLISH[/** @type {import('../../shared/strings.js').TextKey} */ (element.getAttribute('data-shared'))];
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
