// @ts-check
// The extension's switchboard: takes events and messages, decides what may be checked, hands jobs to the engine and
// results to their pages. It may be stopped between any two events, so that whatever must last stands in storage:
// jobs under way and the pictures of open tabs in storage.session, settings and kept verdicts in storage.local.

import { coded, failure } from '../shared/messages.js';
import {
  ASK,
  CHECK_PAGE,
  CLEAR_CACHE,
  CONTENT,
  DROP,
  ENQUEUE,
  EVIDENCE,
  FETCH_PAGE,
  STILL_ALLOWED,
  HELLO,
  LOOKUP,
  MODE,
  OPEN,
  PAGE_PICTURE,
  PREFER,
  READ,
  RESULTS,
  RETRY,
  SCAN,
  SET_SITE,
  STATUS,
  isFromContent,
  isFromEngine,
  isFromExtensionPage,
  recordKey,
  senderKind,
} from './lib/messages.js';
import { refusal, sitePattern } from './lib/policy.js';
import { SETTINGS, settingsFrom } from './lib/settings.js';
import { BoundedStore } from './lib/store.js';
import { say } from './lib/strings.js';
import { badgeWords, levelOf, threshold } from './lib/verdict.js';

/** @typedef {import('./lib/messages.js').Job} Job */
/** @typedef {import('./lib/messages.js').Kept} Kept */
/** @typedef {import('./lib/messages.js').Outcome} Outcome */
/** @typedef {import('./lib/messages.js').Record} Record */
/** @typedef {import('./lib/settings.js').Settings} Settings */
/**
 * Where the engine lives.
 * @typedef {object} Engine
 * @property {string} url of its document; empty where it lives in this one
 * @property {() => Promise<boolean>} ensure true where it was started just now
 * @property {(message: object) => Promise<any>} send
 */

const CONTENT_SCRIPT = 'extension/content.js';
const MENU_CHECK = 'check';
/** How long a permission that was just given may still switch a site on: the popup may have closed over the question. */
const INTENT_MS = 2 * 60_000;
/** The browser grants 10 MB of storage.local and of storage.session each. */
const LIMITS = {
  verdicts: { maxEntries: 2000, maxBytes: 4_000_000 },
  records: { maxEntries: 1000, maxBytes: 5_000_000 },
  jobs: { maxEntries: 512, maxBytes: 2_000_000 },
};

/**
 * Registers every listener; must run before the first event is delivered.
 * @param {Engine} engine
 * @returns {{fromEngine: (message: any) => Promise<any>}}
 */
export function start(engine) {
  const { runtime, storage, permissions, scripting, tabs, action, contextMenus, commands, windows } = chrome;
  const own = { id: runtime.id, root: runtime.getURL(''), engine: engine.url };

  /** @type {BoundedStore<Kept>} */
  const verdicts = new BoundedStore(storage.local, 'verdict/', LIMITS.verdicts);
  /** @type {BoundedStore<Record>} */
  const records = new BoundedStore(storage.session, 'record/', LIMITS.records);
  /** @type {BoundedStore<Job>} */
  const jobs = new BoundedStore(storage.session, 'job/', LIMITS.jobs);

  /** @returns {Promise<Settings>} */
  const settings = async () => settingsFrom((await storage.local.get(SETTINGS))[SETTINGS]);

  /**
   * Whether the user allowed the picture's host.
   * @param {string} url
   */
  const mayRead = (url) => permissions.contains({ origins: [sitePattern(url)] });

  // ---- The engine ----------------------------------------------------------------------------------------------------

  /**
   * @param {object} message
   * @returns {Promise<any>}
   */
  async function askEngine(message) {
    if (await engine.ensure()) {
      // A new engine knows nothing: whatever was under way is given to it again.
      const underWay = (await jobs.entries()).map(([, job]) => job);
      if (underWay.length) {
        await engine.send({ type: ENQUEUE, jobs: underWay, preference: (await settings()).preference });
      }
    }
    const answer = await engine.send(message);
    if (!answer?.ok) throw coded(answer?.error?.code ?? 'internal', answer?.error?.message ?? 'the engine gave no answer');
    return answer.value;
  }

  /**
   * @param {Job[]} wanted
   * @returns {Promise<string[]>} ids of those that were accepted
   */
  async function enqueue(wanted) {
    if (wanted.length === 0) return [];
    const { preference } = await settings();
    // Written down first: were this worker stopped now, a new engine would still get them.
    for (const job of wanted) await jobs.put(job.id, job);
    /** @type {{accepted: string[]}} */
    const { accepted } = await askEngine({ type: ENQUEUE, jobs: wanted, preference });
    for (const { id } of wanted) if (!accepted.includes(id)) await jobs.remove(id);
    return accepted;
  }

  /**
   * @param {any} message
   * @returns {Promise<any>} `{ok, value}`
   */
  async function fromEngine(message) {
    if (message.type === LOOKUP) return { ok: true, value: (await verdicts.get(message.key)) ?? null };
    if (message.type === FETCH_PAGE) return readInPage(message.job);
    if (message.type === STILL_ALLOWED) return { ok: true, value: await stillAllowed(message.job) };
    await finish(message.job, message.outcome);
    return { ok: true };
  }

  /**
   * A permission may be withdrawn, and the press of the toolbar button ends when its page is left, maybe while a job waits. A
   * fetch without either would tell the site the extension's address. A tab's address can be seen only where its page may be read.
   * @param {Job} job
   */
  async function stillAllowed({ tabId, url, permitted }) {
    if (permitted) return mayRead(url);
    try {
      const tab = await tabs.get(tabId);
      return Boolean(tab.url) && new URL(/** @type {string} */ (tab.url)).origin === new URL(url).origin;
    } catch {
      return false; // the tab was closed
    }
  }

  /** @param {Job} job */
  async function readInPage({ tabId, frameId, page, url }) {
    try {
      return await tabs.sendMessage(tabId, { to: CONTENT, type: READ, page, url }, { frameId });
    } catch (error) {
      return { ok: false, error: failure(error) };
    }
  }

  /**
   * @param {Job} job
   * @param {Outcome} outcome
   */
  async function finish(job, outcome) {
    await jobs.remove(job.id);
    if (outcome.kind === 'verdict' && !outcome.cached && job.keep) {
      const { report, failure, autoScan } = outcome;
      await verdicts.put(`${report.model.id}/${report.file.sha256}`, { report, failure, autoScan });
    }
    // The host was withdrawn meanwhile, or is out of reach for the page's own means too (its policy forbids them): ask for it.
    const outOfReach = outcome.kind === 'unreachable' && !PAGE_PICTURE.test(job.url);
    const locked = outcome.kind === 'withdrawn' || (outOfReach && !(await mayRead(job.url)));
    const record = locked ? recordOf(job, null, 'blocked') : recordOf(job, outcome);
    await records.put(recordKey(job), record);
    await showOn(job, record);
  }

  /**
   * @param {Job} job
   * @param {Outcome | null} outcome null while it waits
   * @param {'waiting' | 'blocked'} [state]
   * @returns {Record}
   */
  function recordOf(job, outcome, state = 'waiting') {
    /** @type {Record} */
    const record = { state, url: job.url, job, report: null, failure: null, autoScan: 1, thumb: '', message: '' };
    if (outcome?.kind === 'verdict') {
      const { report, failure, autoScan, thumb } = outcome;
      return { ...record, state: 'done', report, failure, autoScan, thumb };
    }
    if (outcome) return { ...record, state: outcome.kind === 'refused' ? 'refused' : 'failed', message: outcome.message };
    return record;
  }

  /**
   * What the picture's badge says; null for a quiet one.
   * @param {Record} record
   * @param {Settings} chosen
   * @param {boolean} asked whether the user asked about this very picture
   */
  function wordsFor({ state, report, autoScan, url }, chosen, asked) {
    if (state === 'done' && report) {
      const words = badgeWords(report, threshold(autoScan, chosen.threshold));
      return asked || (words.level === 'flag' && chosen.badges) ? words : null;
    }
    if (!asked || state === 'waiting') return null;
    if (state === 'blocked') {
      return { level: 'blocked', label: say('labelBlocked'), title: say('titleBlocked', { site: new URL(url).host }) };
    }
    return { level: 'failed', label: say('labelFailed'), title: say('titleFailed') };
  }

  /**
   * @param {Job} job
   * @param {Record} record
   */
  async function showOn(job, record) {
    const chosen = await settings();
    const words = wordsFor(record, chosen, job.asked);
    const final = record.state !== 'waiting';
    const results = [{ url: job.url, words, final }];
    // The page may be gone; then nobody needs the answer.
    await tabs.sendMessage(job.tabId, { to: CONTENT, type: RESULTS, page: job.page, results }, { frameId: job.frameId }).catch(() => {});
    if (record.report && levelOf(record.report, threshold(record.autoScan, chosen.threshold)) === 'flag') {
      await countFlags(job, chosen);
    }
  }

  /**
   * The number on the toolbar button.
   * @param {Job} job
   * @param {Settings} chosen
   */
  async function countFlags({ tabId, page }, chosen) {
    const flagged = (await records.entries()).filter(
      ([, { job, report, autoScan }]) =>
        job.tabId === tabId && job.page === page && report && levelOf(report, threshold(autoScan, chosen.threshold)) === 'flag',
    );
    await action.setBadgeBackgroundColor({ tabId, color: '#a33a14' }).catch(() => {});
    await action.setBadgeText({ tabId, text: String(flagged.length) }).catch(() => {});
  }

  // ---- What a page wants ---------------------------------------------------------------------------------------------

  /**
   * Sorts the pictures of a page into those that may be fetched and those that may not, and takes the former in.
   * @param {{url: string, asked: boolean}[]} items
   * @param {{tabId: number, frameId: number, page: string, pageUrl: string, keep: boolean}} where
   * @returns {Promise<{results: object[], busy: string[]}>} `busy`: to be offered again later
   */
  async function check(items, { pageUrl, ...where }) {
    const chosen = await settings();
    /** @type {Map<string, Promise<boolean>>} */
    const permitted = new Map();
    /** @param {string} url */
    const mayFetch = (url) => {
      const pattern = sitePattern(url);
      let known = permitted.get(pattern);
      if (!known) permitted.set(pattern, (known = mayRead(url)));
      return known;
    };
    const results = [];
    /** @type {Job[]} */
    const wanted = [];
    for (const { url, asked } of items) {
      const inPage = PAGE_PICTURE.test(url);
      const why = inPage ? null : refusal(url);
      const own = !inPage && !why && new URL(url).origin === new URL(pageUrl).origin;
      const host = inPage || why ? '' : new URL(url).host;
      const permitted = !inPage && !why && (await mayFetch(url));
      /** @type {Job} */
      const job = { ...where, id: recordKey({ ...where, url }), host, asked, url, inPage: inPage || own, permitted };
      let record = recordOf(job, null);
      if (why) record = recordOf(job, { kind: 'refused', message: why });
      else if (!job.inPage && !permitted) record = recordOf(job, null, 'blocked');
      else wanted.push(job);
      await records.put(recordKey(job), record);
      if (record.state !== 'waiting') results.push({ url, words: wordsFor(record, chosen, asked), final: true });
    }
    const accepted = await enqueue(wanted);
    return { results, busy: wanted.filter(({ id }) => !accepted.includes(id)).map(({ url }) => url) };
  }

  /**
   * @param {any} message
   * @param {chrome.runtime.MessageSender} sender
   */
  async function fromContent(message, sender) {
    const tabId = sender.tab?.id ?? -1;
    const frameId = sender.frameId ?? 0;
    const pageUrl = sender.url ?? '';
    const { page } = message;
    if (message.type === HELLO) {
      if (frameId === 0) await records.removeWhere((key) => key.startsWith(`${tabId}/`) && !key.startsWith(`${tabId}/0/${page}/`));
      return mode(pageUrl);
    }
    if (message.type === OPEN) {
      const key = recordKey({ tabId, frameId, page, url: message.url });
      if (await records.get(key)) await openPanel(key);
      return null;
    }
    return check(message.items, { tabId, frameId, page, pageUrl, keep: !sender.tab?.incognito });
  }

  /** @param {string} pageUrl */
  async function mode(pageUrl) {
    const { sites, badges } = await settings();
    return { auto: sites.includes(sitePattern(pageUrl)), badges, busy: { level: 'busy', label: say('labelBusy'), title: say('titleBusy') } };
  }

  // ---- Pages, tabs, sites --------------------------------------------------------------------------------------------

  /**
   * Puts the content script into a tab, where the browser lets it; a second one does nothing.
   * @param {number} tabId
   * @param {number} [frameId]
   */
  function inject(tabId, frameId = 0) {
    return scripting.executeScript({ target: { tabId, frameIds: [frameId] }, files: [CONTENT_SCRIPT] });
  }

  /** @param {number} tabId */
  async function checkPage(tabId) {
    await inject(tabId);
    return tabs.sendMessage(tabId, { to: CONTENT, type: SCAN }, { frameId: 0 });
  }

  /** @param {string} key of a record */
  async function openPanel(key) {
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

  /** Content scripts of switched-on sites, as the browser has them against as they should be. */
  async function registerSites() {
    const { sites } = await settings();
    /** @type {string[]} */
    const wanted = [];
    for (const site of sites) if (await permissions.contains({ origins: [site] })) wanted.push(site);
    await scripting.unregisterContentScripts().catch(() => {});
    if (wanted.length === 0) return;
    await scripting.registerContentScripts(
      wanted.map((site) => ({ id: `auto ${site}`, matches: [site], js: [CONTENT_SCRIPT], runAt: 'document_idle' })),
    );
  }

  /**
   * @param {string} site a match pattern
   * @param {boolean} on
   */
  async function setSite(site, on) {
    if (on && !(await permissions.contains({ origins: [site] }))) throw coded('refused', `expected permission for ${site}`);
    const chosen = await settings();
    const sites = chosen.sites.filter((kept) => kept !== site);
    if (on) sites.push(site);
    await storage.local.set({ [SETTINGS]: { ...chosen, sites } });
    await registerSites();
    // Asked while the permission that it needs is there; and the permission goes even if a tab never answers.
    const open = await tabs.query({ url: site }).catch(() => []);
    const removed = on ? Promise.resolve(true) : permissions.remove({ origins: [site] });
    // Tabs are told even if that fails, and then whoever asked.
    await removed.catch(() => false);
    for (const tab of open) {
      if (tab.id === undefined) continue;
      if (on) await inject(tab.id).catch(() => {});
      const message = { to: CONTENT, type: MODE, mode: { ...(await mode(tab.url ?? '')), auto: on } };
      await tabs.sendMessage(tab.id, message, { frameId: 0 }).catch(() => {});
    }
    await removed;
  }

  /** Pictures that waited for a permission which is there now. */
  async function retryBlocked() {
    /** @type {Job[]} */
    const wanted = [];
    for (const [key, record] of await records.entries()) {
      if (record.state !== 'blocked' || !(await mayRead(record.url))) continue;
      const job = { ...record.job, permitted: true };
      await records.put(key, recordOf(job, null));
      wanted.push(job);
    }
    await enqueue(wanted);
    return wanted.length;
  }

  /**
   * @param {any} message
   * @returns {Promise<any>}
   */
  async function fromPage(message) {
    switch (message.type) {
      case STATUS:
        return { engine: await askEngine({ type: STATUS }), cache: await verdicts.size() };
      case CHECK_PAGE:
        return checkPage(message.tabId);
      case SET_SITE:
        return setSite(message.site, message.on);
      case RETRY:
        return retryBlocked();
      case OPEN:
        return openPanel(message.key);
      case CLEAR_CACHE:
        return verdicts.removeWhere(() => true);
      case EVIDENCE: {
        const record = await records.get(message.key);
        if (!record) throw coded('internal', 'expected a picture that is still listed');
        return askEngine({ type: EVIDENCE, job: record.job });
      }
    }
  }

  // ---- Events --------------------------------------------------------------------------------------------------------

  runtime.onMessage.addListener((message, sender, reply) => {
    const kind = senderKind(sender, own);
    /** @type {Promise<any> | null} */
    let answer = null;
    if (kind === 'content' && isFromContent(message)) answer = fromContent(message, sender);
    else if (kind === 'page' && isFromExtensionPage(message)) answer = fromPage(message);
    else if (kind === 'engine' && isFromEngine(message)) {
      fromEngine(message).then(reply, (error) => reply({ ok: false, error: failure(error) }));
      return true;
    }
    if (!answer) return false; // not for this listener, or not to be believed
    answer.then(
      (value) => reply({ ok: true, value }),
      (error) => reply({ ok: false, error: failure(error) }),
    );
    return true;
  });

  contextMenus.onClicked.addListener(async ({ menuItemId, srcUrl, frameId = 0, pageUrl, frameUrl }, tab) => {
    if (menuItemId !== MENU_CHECK || !srcUrl || tab?.id === undefined) return;
    try {
      await inject(tab.id, frameId);
      const { found } = await tabs.sendMessage(tab.id, { to: CONTENT, type: ASK, srcUrl }, { frameId });
      if (found) return;
    } catch {
      // A frame of another site, or a page that keeps extensions out: the answer comes in the panel.
    }
    const where = { tabId: tab.id, frameId, page: 'menu', pageUrl: frameUrl ?? pageUrl ?? '', keep: !tab.incognito };
    await check([{ url: srcUrl, asked: true }], where);
    await openPanel(recordKey({ ...where, url: srcUrl }));
  });

  commands.onCommand.addListener((command, tab) => {
    if (command === 'check-page' && tab?.id !== undefined) checkPage(tab.id).catch(() => {});
  });

  runtime.onInstalled.addListener(() => {
    contextMenus.removeAll(() => contextMenus.create({ id: MENU_CHECK, title: say('menuCheck'), contexts: ['image'] }));
    void registerSites();
  });
  runtime.onStartup.addListener(() => void registerSites());

  permissions.onAdded.addListener(async ({ origins = [] }) => {
    await retryBlocked();
    // The popup closes when the browser asks; what the user wanted is finished here.
    const { intent } = /** @type {{intent?: {site: string, at: number}}} */ (await storage.session.get('intent'));
    if (intent && origins.includes(intent.site) && Date.now() - intent.at < INTENT_MS) {
      await storage.session.remove('intent');
      await setSite(intent.site, true);
    }
  });
  permissions.onRemoved.addListener(async () => {
    const chosen = await settings();
    /** @type {string[]} */
    const sites = [];
    for (const site of chosen.sites) if (await permissions.contains({ origins: [site] })) sites.push(site);
    if (sites.length === chosen.sites.length) return;
    await storage.local.set({ [SETTINGS]: { ...chosen, sites } });
    await registerSites();
  });

  storage.local.onChanged.addListener(async ({ [SETTINGS]: changed }) => {
    if (!changed || settingsFrom(changed.oldValue).preference === settingsFrom(changed.newValue).preference) return;
    await askEngine({ type: PREFER, preference: settingsFrom(changed.newValue).preference });
  });

  tabs.onRemoved.addListener(async (tabId) => {
    await records.removeWhere((key) => key.startsWith(`${tabId}/`));
    const before = await jobs.size();
    await jobs.removeWhere((key) => key.startsWith(`${tabId}/`));
    if (before.entries) await engine.send({ type: DROP, tabId }).catch(() => {});
  });

  return { fromEngine };
}
