// Renders www/icon.svg into the PNG icons that browser stores want. Run where the drawing has changed:
// `GRNET_BROWSER=$(command -v chromium) node tools/icons.mjs`
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const drawing = readFileSync(root('www/icon.svg'), 'utf8');
const browser = await chromium.launch({ executablePath: process.env.GRNET_BROWSER, args: ['--no-sandbox'] });
for (const side of [16, 32, 48, 128]) {
  const page = await browser.newPage({ viewport: { width: side, height: side } });
  // The stores ask for air around the 128 px icon; in a toolbar every pixel counts.
  const inset = side === 128 ? 16 : 0;
  const size = side - 2 * inset;
  await page.setContent(`<body style="margin:${inset}px">${drawing.replace('<svg', `<svg width="${size}" height="${size}" style="display:block"`)}`);
  await page.screenshot({ path: root(`www/extension/icons/${side}.png`), omitBackground: true });
  await page.close();
}
await browser.close();
