// @ts-check
// Small helpers for the page's elements; every text goes in as text, never as HTML.

import { text } from '../shared/strings.js';

/** @typedef {import('../shared/strings.js').TextKey} TextKey */

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
 * A copy of a `<template>`'s only element, with its texts filled in.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function fromTemplate(id) {
  /** @type {HTMLTemplateElement} */
  const template = find(`template#${id}`);
  const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  fillTexts(content);
  return /** @type {HTMLElement} */ (content.firstElementChild);
}

/** @param {ParentNode} root */
export function fillTexts(root) {
  for (const element of root.querySelectorAll('[data-text]')) {
    element.textContent = text(/** @type {TextKey} */ (element.getAttribute('data-text')));
  }
  for (const element of root.querySelectorAll('[data-label]')) {
    element.setAttribute('aria-label', text(/** @type {TextKey} */ (element.getAttribute('data-label'))));
  }
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
 * A button that submits nothing.
 * @param {string} content
 * @param {() => void} onClick
 */
export function makeButton(content, onClick) {
  const button = make('button', content);
  button.setAttribute('type', 'button');
  button.addEventListener('click', onClick);
  return button;
}

/**
 * @param {HTMLElement} list a `<dl>`
 * @param {[string, string][]} rows
 */
export function fillRows(list, rows) {
  list.replaceChildren(...rows.flatMap(([label, value]) => [make('dt', label), make('dd', value)]));
}
