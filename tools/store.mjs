// The screenshots of the store listing, 1280 x 800, from the built extension with the shipped model on the tests' mock
// network: `./build.sh extension && GRNET_BROWSER=$(command -v chromium) node tools/store.mjs`
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { launchWith, until } from '../tests/js/mock/browser.mjs';
import { startMock } from '../tests/js/mock/server.mjs';

const root = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'grnet-store-'));
const jpeg = (path) => ({ type: 'image/jpeg', body: readFileSync(root(path)) });
const pictures = new Map([
  ['portrait.jpg', jpeg('tests/pictures/astronaut.jpg')],
  ['forgery.jpg', jpeg('www/gallery/forgery-1.jpg')],
  ['coffee.jpg', jpeg('tests/pictures/coffee.jpg')],
]);
const mock = await startMock(pictures);
const browser = await launchWith({ executable: process.env.GRNET_BROWSER, path: root('dist/extension-chromium'), mock, folder });

const { page, tabId } = await browser.open('/empty');
await page.setViewportSize({ width: 1280, height: 800 });
await page.evaluate(() => {
  document.querySelector('#main').style.marginLeft = '80px';
  document.querySelector('header').textContent = 'Mock network';
  const people = [['portrait', 'A portrait, as NASA took it'], ['forgery', 'The same, forged by our own code'], ['coffee', 'No face']];
  for (const [name, words] of people) {
    const article = document.createElement('article');
    const photo = Object.assign(new Image(200, 200), { className: 'avatar', src: `/photo/${name}.jpg` });
    article.append(photo, Object.assign(document.createElement('p'), { textContent: words }));
    document.querySelector('#main').append(article);
  }
});
const popup = await browser.check(page, tabId);
await until('all are checked', async () => [...(await browser.records(tabId)).values()].filter(({ report }) => report).length === 3);
const opened = browser.context.waitForEvent('page').catch(() => null);
await browser.menu(tabId, mock.url('/photo/forgery.jpg'), page.url());
const [badge] = await until('the badge is there', async () => {
  const found = await browser.badges(tabId);
  return found.length && !/^Checking/.test(found[0].title) && found;
});
await page.bringToFront();
await sleep(500);
const site = (await page.screenshot()).toString('base64');
await page.mouse.click(badge.x, badge.y);
const panel = await opened;
await panel.setViewportSize({ width: 560, height: 760 });
await panel.waitForSelector('.evidence:not([hidden])');
const evidence = (await panel.screenshot()).toString('base64');
await panel.evaluate(() => document.querySelector('.evidence').scrollIntoView());
const closer = (await panel.screenshot()).toString('base64');
await popup.bringToFront();
await popup.click('#quiet-count').catch(() => {});
await popup.setViewportSize({ width: 360, height: 560 });
const list = (await popup.screenshot()).toString('base64');

/** Pictures laid over the site, each at its place. */
async function compose(name, layers) {
  const canvas = await browser.context.newPage();
  await canvas.setViewportSize({ width: 1280, height: 800 });
  const images = [`<img src="data:image/png;base64,${site}" style="left:0;top:0">`].concat(
    layers.map(({ data, left, top }) => {
      const style = `left:${left}px;top:${top}px;box-shadow:0 8px 40px #0006;border-radius:8px`;
      return `<img src="data:image/png;base64,${data}" style="${style}">`;
    }),
  );
  await canvas.setContent(`<style>body{margin:0}img{position:absolute}</style>${images.join('')}`);
  await canvas.screenshot({ path: root(`www/extension/store/${name}.jpg`), type: 'jpeg', quality: 88 });
  await canvas.close();
}
await compose('screenshot-1-page', [{ data: list, left: 890, top: 20 }]);
await compose('screenshot-2-evidence', [{ data: evidence, left: 690, top: 20 }]);
await compose('screenshot-3-closer', [{ data: closer, left: 690, top: 20 }]);
await browser.context.close();
mock.close();
rmSync(folder, { recursive: true, force: true });
