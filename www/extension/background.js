// @ts-check
// The extension's switchboard: takes events and messages, and gives each to the room that answers it. It may be stopped
// between any two events, so that whatever must last stands in storage: jobs under way and the pictures of open tabs in
// storage.session, settings and kept verdicts in storage.local.

import { coded, failure } from '../shared/messages.js';
import { Intake } from './background/intake.js';
import { EngineLink } from './background/link.js';
import { Pages } from './background/pages.js';
import { Sites } from './background/sites.js';
import { Tabs } from './background/tabs.js';
import {
  ASK,
  CHECK_PAGE,
  CLEAR_CACHE,
  CONTENT,
  EVIDENCE,
  FETCH_PAGE,
  LOOKUP,
  OPEN,
  PREFER,
  RETRY,
  SET_SITE,
  STATUS,
  STILL_ALLOWED,
  isFromContent,
  isFromEngine,
  isFromExtensionPage,
  recordKey,
  senderKind,
  siteOf,
} from './lib/messages.js';
import { SETTINGS, settingsFrom } from './lib/settings.js';
import { say } from './lib/strings.js';

const MENU_CHECK = 'check';

/** @typedef {{link: EngineLink, tabs: Tabs, intake: Intake, pages: Pages, sites: Sites}} Rooms */

/**
 * Registers every listener; must run before the first event is delivered.
 * @param {import('./background/link.js').Engine} engine
 * @returns {{fromEngine: (message: any) => Promise<any>}}
 */
export function start(engine) {
  const link = new EngineLink(engine);
  const tabs = new Tabs();
  const intake = new Intake(link, tabs);
  const pages = new Pages(tabs, intake);
  const rooms = { link, tabs, intake, pages, sites: new Sites(pages) };
  listenToMessages(rooms, engine.url);
  listenToPeople(rooms);
  listenToBrowser(rooms);
  return { fromEngine: (message) => answerEngine(message, rooms) };
}

// ---- Messages --------------------------------------------------------------------------------------------------------

/**
 * @param {Rooms} rooms
 * @param {string} engineUrl
 */
function listenToMessages(rooms, engineUrl) {
  const { runtime } = chrome;
  const own = { id: runtime.id, root: runtime.getURL(''), engine: engineUrl };
  runtime.onMessage.addListener((message, sender, reply) => {
    const kind = senderKind(sender, own);
    /** @type {Promise<any> | null} */
    let answer = null;
    if (kind === 'content' && isFromContent(message)) answer = rooms.pages.answer(message, sender);
    else if (kind === 'page' && isFromExtensionPage(message)) answer = answerPage(message, rooms);
    else if (kind === 'engine' && isFromEngine(message)) {
      answerEngine(message, rooms).then(reply, (error) => reply({ ok: false, error: failure(error) }));
      return true;
    }
    if (!answer) return false; // not for this listener, or not to be believed
    answer.then(
      (value) => reply({ ok: true, value }),
      (error) => reply({ ok: false, error: failure(error) }),
    );
    return true;
  });
}

/**
 * @param {any} message of the engine
 * @param {Rooms} rooms
 * @returns {Promise<any>} `{ok, value}`
 */
async function answerEngine(message, { link, intake }) {
  switch (message.type) {
    case LOOKUP:
      return { ok: true, value: (await link.verdicts.get(message.key)) ?? null };
    case FETCH_PAGE:
      return intake.readInPage(message.job);
    case STILL_ALLOWED:
      return { ok: true, value: await intake.stillAllowed(message.job) };
    default:
      await intake.finish(message.job, message.outcome);
      return { ok: true };
  }
}

/**
 * @param {any} message of a page of the extension
 * @param {Rooms} rooms
 * @returns {Promise<any>}
 */
async function answerPage(message, { link, tabs, intake, pages, sites }) {
  switch (message.type) {
    case STATUS:
      return { engine: await link.ask({ type: STATUS }), cache: await link.verdicts.size() };
    case CHECK_PAGE:
      return pages.check(message.tabId);
    case SET_SITE:
      return sites.set(message.site, message.on);
    case RETRY:
      return intake.retryBlocked();
    case OPEN:
      return pages.openPanel(message.key);
    case CLEAR_CACHE:
      return link.verdicts.removeWhere(() => true);
    case EVIDENCE: {
      const record = await tabs.record(message.key);
      if (!record) throw coded('internal', 'expected a picture that is still listed');
      return link.ask({ type: EVIDENCE, job: record.job });
    }
  }
}

// ---- Events ----------------------------------------------------------------------------------------------------------

/** @param {Rooms} rooms */
function listenToPeople({ pages, intake }) {
  const { commands, contextMenus, tabs } = chrome;
  contextMenus.onClicked.addListener(async ({ menuItemId, srcUrl, frameId = 0, pageUrl, frameUrl }, tab) => {
    if (menuItemId !== MENU_CHECK || !srcUrl || tab?.id === undefined) return;
    try {
      await pages.inject(tab.id, frameId);
      const { found } = await tabs.sendMessage(tab.id, { to: CONTENT, type: ASK, srcUrl }, { frameId });
      if (found) return;
    } catch {
      // A frame of another site, or a page that keeps extensions out: the answer comes in the panel.
    }
    const site = siteOf({ url: frameUrl ?? pageUrl, origin: pageUrl });
    const where = { tabId: tab.id, frameId, page: 'menu', keep: !tab.incognito };
    await intake.check([{ url: srcUrl, asked: true, likely: true, others: [] }], { ...where, site });
    await pages.openPanel(recordKey({ ...where, url: srcUrl }));
  });
  commands.onCommand.addListener((command, tab) => {
    if (command === 'check-page' && tab?.id !== undefined) pages.check(tab.id).catch(() => {});
  });
}

/** @param {Rooms} rooms */
function listenToBrowser({ link, tabs, intake, sites }) {
  const { contextMenus, permissions, runtime, storage } = chrome;
  runtime.onInstalled.addListener(() => {
    contextMenus.removeAll(() => contextMenus.create({ id: MENU_CHECK, title: say('menuCheck'), contexts: ['image'] }));
    void sites.begin();
  });
  runtime.onStartup.addListener(() => void sites.register());
  permissions.onAdded.addListener(async ({ origins = [] }) => {
    await intake.retryBlocked();
    await sites.finishIntent(origins);
  });
  permissions.onRemoved.addListener(() => sites.forgetWithdrawn());
  storage.local.onChanged.addListener(async ({ [SETTINGS]: changed }) => {
    if (!changed || settingsFrom(changed.oldValue).preference === settingsFrom(changed.newValue).preference) return;
    await link.ask({ type: PREFER, preference: settingsFrom(changed.newValue).preference });
  });
  chrome.tabs.onRemoved.addListener(async (tabId) => {
    await tabs.close(tabId);
    await link.drop(tabId);
  });
}
