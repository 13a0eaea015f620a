// @ts-check
// The panel of requests: everything before the engine is ready is loading, everything after it must not be. It reports
// what the browser's own list of requests says, the page's and the worker's.

import { networkRequests } from '../shared/view.js';
import { text } from '../shared/strings.js';
import { find, make } from './dom.js';

/** Entries of the loading may be delivered so much later; they are no requests since ready. */
const SETTLED_MS = 500;

/** @type {string[]} */
const requested = [];
let countingFrom = Infinity;

/** @param {string[]} urls */
export function noteRequests(urls) {
  requested.push(...networkRequests(urls, location.origin).all);
  showRequests();
}

/** Loading begins: nothing counts until `startCounting`. */
export function stopCounting() {
  countingFrom = Infinity;
}

export function startCounting() {
  setTimeout(() => {
    countingFrom = requested.length;
    showRequests();
  }, SETTLED_MS);
}

export function showRequests() {
  const since = requested.slice(countingFrom);
  find('#request-count').textContent = String(since.length);
  find('#request-text').hidden = since.length > 0;
  find('#request-list').replaceChildren(...since.map((url) => make('li', url)));
  const { all, foreign } = networkRequests(requested.slice(0, countingFrom), location.origin);
  const words = foreign.length ? 'requestsLoadingForeign' : 'requestsLoading';
  find('#request-loading').textContent = text(words, { count: all.length, foreign: foreign.length });
}

new PerformanceObserver((list) => noteRequests(list.getEntries().map((entry) => entry.name))).observe({
  type: 'resource',
  buffered: true,
});
