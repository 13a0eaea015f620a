// @ts-check
// Puts the content script into pages, talks with it, and opens the evidence panel.

import { CHECK, CONTENT, FRAMES, GONE, HELLO, OPEN, SCAN, TALLY, recordKey, siteOf } from '../lib/messages.js';
import { modeFor } from './answers.js';

/** @typedef {chrome.runtime.MessageSender} Sender */

export const CONTENT_SCRIPT = 'extension/content.js';

export class Pages {
  #tabs;
  #intake;

  /**
   * @param {import('./tabs.js').Tabs} tabs
   * @param {import('./intake.js').Intake} intake
   */
  constructor(tabs, intake) {
    this.#tabs = tabs;
    this.#intake = intake;
  }

  /**
   * Answers a content script.
   * @param {any} message
   * @param {Sender} sender
   * @returns {Promise<any>}
   */
  async answer(message, sender) {
    const { page } = message;
    const [tabId, frameId, site] = [sender.tab?.id ?? -1, sender.frameId ?? 0, siteOf(sender)];
    const place = { tabId, frameId, page };
    switch (message.type) {
      case HELLO: {
        await this.#tabs.begin({ ...place, site: site && new URL(site).origin, since: message.since });
        return modeFor(site, frameId !== 0 && (await this.#tabs.isScanned(tabId)));
      }
      case GONE:
        return this.#tabs.end(place);
      case TALLY:
        return this.#tabs.tell({ ...place, site: site && new URL(site).origin }, message.tally);
      case FRAMES:
        return this.inject(tabId);
      case OPEN: {
        const key = recordKey({ ...place, url: message.url });
        if (await this.#tabs.record(key)) await this.openPanel(key);
        return null;
      }
      case CHECK:
        return this.#intake.check(message.items, { ...place, site, keep: !sender.tab?.incognito });
    }
  }

  /**
   * Puts the content script into a tab's frames, or one of them, where the browser lets it; a second one does nothing.
   * @param {number} tabId
   * @param {number} [frameId]
   */
  async inject(tabId, frameId) {
    const target = frameId === undefined ? { tabId, allFrames: true } : { tabId, frameIds: [frameId] };
    await chrome.scripting.executeScript({ target, files: [CONTENT_SCRIPT] });
  }

  /** @param {number} tabId */
  async check(tabId) {
    await this.inject(tabId);
    await chrome.tabs.sendMessage(tabId, { to: CONTENT, type: SCAN });
  }

  /** @param {string} key of a record */
  async openPanel(key) {
    const { runtime, storage, tabs, windows } = chrome;
    const url = runtime.getURL(`extension/panel.html#${encodeURIComponent(key)}`);
    const { panel } = /** @type {{panel?: {tabId: number, windowId: number}}} */ (await storage.session.get('panel'));
    try {
      if (panel) {
        await tabs.update(panel.tabId, { url });
        return void (await windows.update(panel.windowId, { focused: true }));
      }
    } catch {
      // The user closed it.
    }
    const made = await windows.create({ url, type: 'popup', width: 560, height: 800 });
    await storage.session.set({ panel: { windowId: made?.id, tabId: made?.tabs?.[0]?.id } });
  }
}
