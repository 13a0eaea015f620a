// @ts-check
// Chromium's service worker: the engine lives in an offscreen document, which is made when there is work.

import { start } from './background.js';
import { ENGINE_HOST } from './lib/messages.js';

const ENGINE_PAGE = chrome.runtime.getURL('extension/offscreen.html');

/** @type {Promise<void> | null} */
let creating = null;

start({
  url: ENGINE_PAGE,
  async ensure() {
    const there = await chrome.runtime.getContexts({
      contextTypes: [chrome.runtime.ContextType.OFFSCREEN_DOCUMENT],
      documentUrls: [ENGINE_PAGE],
    });
    if (there.length) return false;
    // Two events at once must not make two documents.
    creating ??= chrome.offscreen
      .createDocument({
        url: ENGINE_PAGE,
        reasons: [chrome.offscreen.Reason.WORKERS],
        justification: 'The detector runs in a worker, which a service worker cannot start.',
      })
      .finally(() => (creating = null));
    await creating;
    return true;
  },
  send: (message) => chrome.runtime.sendMessage({ ...message, to: ENGINE_HOST }),
});
