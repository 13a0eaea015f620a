// @ts-check
// Chromium's home of the engine: a document that outlives the service worker.

import { failure } from '../shared/messages.js';
import { EngineHost } from './engine.js';
import { ENGINE_HOST } from './lib/messages.js';

const host = new EngineHost({
  send: (message) => chrome.runtime.sendMessage(message),
  createWorker: () => new Worker(new URL('../shared/worker.js', import.meta.url), { type: 'module' }),
  root: new URL('../', import.meta.url),
  activeTabFetch: true,
  fetchMode: 'same-origin',
  onIdle: () => close(), // the background makes a new one when there is work
});

chrome.runtime.onMessage.addListener((message, sender, reply) => {
  // Content scripts cannot reach this document, but their messages are on the same bus.
  if (sender.id !== chrome.runtime.id || sender.tab || message?.to !== ENGINE_HOST) return false;
  host.handle(message).then(
    (value) => reply({ ok: true, value }),
    (error) => reply({ ok: false, error: failure(error) }),
  );
  return true;
});
