// Chromium with the extension on the mock network, and what the tests do with it.
import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { CDN, SOCIAL } from './server.mjs';

/** A busy machine of two cores takes seconds to load the model and a second a picture. */
const PATIENCE_MS = 120_000;

/**
 * A browser with an extension, an empty profile, and a log of every request it makes.
 * @param {{executable: string, path: string, mock: {url: (path: string) => string}, folder: string}} options `path` of the
 *   extension, `folder` for the profile
 */
export async function launchWith({ executable, path, mock, folder }) {
  const profile = mkdtempSync(join(folder, 'profile-'));
  const netLog = join(profile, 'net-log.json');
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: executable,
    headless: false,
    ignoreDefaultArgs: ['--disable-extensions'],
    viewport: { width: 1000, height: 800 },
    args: [
      '--headless=new',
      '--no-sandbox',
      `--load-extension=${path}`,
      `--disable-extensions-except=${path}`,
      '--enable-unsafe-extension-debugging',
      `--host-resolver-rules=MAP ${SOCIAL} 127.0.0.1,MAP ${CDN} 127.0.0.1`,
      `--log-net-log=${netLog}`,
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent('serviceworker'));
  const id = new URL(worker.url()).host;
  const protocol = await context.browser().newBrowserCDPSession();
  const problems = [];
  const home = context.pages()[0];
  const url = (path) => `chrome-extension://${id}/extension/${path}`;
  // A page of the extension through which the tests look into storage; unlike the service worker it is never stopped.
  let view = await context.newPage();
  await view.goto(url('options.html'));

  const browser = {
    context,
    id,
    url,
    get view() {
      return view;
    },
    home,
    problems,
    protocol,
    netLog,
    storage: (area) => view.evaluate((name) => chrome.storage[name].get(null), area),
    async records(tabId) {
      const all = Object.entries(await this.storage('session')).filter(([key]) => key.startsWith('record/'));
      const found = all.map(([, { value }]) => value).filter(({ job }) => tabId === undefined || job.tabId === tabId);
      return new Map(found.map((record) => [record.url.replace(/^https?:\/\/[^/]*/, ''), record]));
    },
    /** Opens a page of the mock network; gives it with its tab's number. */
    async open(path) {
      const page = await context.newPage();
      page.on('pageerror', (error) => problems.push(String(error)));
      await page.goto(mock.url(path));
      await page.bringToFront();
      const [tab] = await view.evaluate(() => chrome.tabs.query({ active: true, currentWindow: true }));
      return { page, tabId: tab.id };
    },
    /** Presses the toolbar button over the page: this alone gives activeTab. */
    async pressButton(page) {
      const { targetInfos } = await protocol.send('Target.getTargets', { filter: [{ type: 'tab' }] });
      const { targetId } = targetInfos.findLast((target) => target.url === page.url());
      await protocol.send('Extensions.triggerAction', { id, targetId });
    },
    async popup(tabId) {
      const popup = await context.newPage();
      popup.on('pageerror', (error) => problems.push(String(error)));
      await popup.setViewportSize({ width: 360, height: 600 });
      await popup.goto(`${url('popup.html')}?tab=${tabId}`);
      await popup.waitForFunction(() => document.querySelector('#engine').textContent !== '');
      return popup;
    },
    /** Allows a host as a person does on the browser's page for extensions. */
    async allow(pattern) {
      const page = await context.newPage();
      await page.goto('chrome://extensions/');
      await page.evaluate(([own, host]) => chrome.developerPrivate.addHostPermission(own, host), [id, pattern]);
      await page.close();
    },
    /** Checks a page by the popup's button. */
    async check(page, tabId) {
      await this.pressButton(page);
      const popup = await this.popup(tabId);
      await page.bringToFront();
      await popup.evaluate(() => document.querySelector('#check').click());
      return popup;
    },
    /** The badges of a page as the extension alone can read them. */
    badges: (tabId) =>
      view.evaluate(async (tabId) => {
        const [{ result }] = await chrome.scripting.executeScript({
          target: { tabId },
          func: () => {
            const roots = [...document.documentElement.children].map((node) => chrome.dom.openOrClosedShadowRoot(node));
            return roots
              .flatMap((root) => (root ? [...root.children] : []))
              .filter((node) => node.style.display !== 'none')
              .map((node) => {
                const { left, top, width, height } = node.getBoundingClientRect();
                return { title: node.getAttribute('aria-label'), text: node.textContent, x: left + width / 2, y: top + height / 2 };
              });
          },
        });
        return result;
      }, tabId),
    /** What a click in the context menu of a picture tells the extension. */
    async menu(tabId, srcUrl, pageUrl) {
      const worker = await this.worker();
      await worker.evaluate(
        ([info, tab]) => chrome.contextMenus.onClicked.dispatch(info, tab),
        [{ menuItemId: 'check', srcUrl, pageUrl, frameId: 0 }, { id: tabId, incognito: false }],
      );
    },
    /** Starts the extension anew, as an update does: its pages and its worker end, and its scripts in pages hear no more. */
    async update() {
      const started = context.waitForEvent('serviceworker');
      await view.evaluate(() => void setTimeout(() => chrome.runtime.reload()));
      await started;
      view = await context.newPage();
      await view.goto(url('options.html'));
    },
    async worker() {
      await view.evaluate(() => chrome.runtime.sendMessage({ to: 'background', type: 'status' })); // wakes it
      return context.serviceWorkers().at(-1) ?? context.waitForEvent('serviceworker');
    },
    /** Stops the service worker, as the browser does when it rests or runs out of memory. */
    async killWorker() {
      const find = async () => {
        const { targetInfos } = await protocol.send('Target.getTargets', { filter: [{ type: 'service_worker' }] });
        return targetInfos.find(({ url }) => url.startsWith(`chrome-extension://${id}`));
      };
      // The next message starts it anew under the same name, at once maybe: only looks in quick succession see it gone.
      await until('the service worker is gone', async () => {
        const target = await find();
        if (!target) return true;
        await protocol.send('Target.closeTarget', { targetId: target.targetId });
        for (const end = Date.now() + 2000; Date.now() < end; ) if (!(await find())) return true;
        return false;
      });
    },
  };
  return browser;
}

/** Waits until `condition` gives something. */
export async function until(what, condition, patienceMs = PATIENCE_MS) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < end, `waited in vain until ${what}`);
    await sleep(100);
  }
}
