// Pictures through www/shared/decode.js in a browser: called by avif.py.
//   node --experimental-websocket tools/bench/avif.mjs chromium|firefox PROGRAM FOLDER OUT   -> OUT/*.rgba, where it decodes them
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { openFirefox } from '../../tests/js/firefox.mjs';

const [kind, executablePath, folder, out] = process.argv.slice(2);
const server = createServer(({ url }, response) => {
  const name = url.slice(1);
  if (name === '') return response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>bench</title>');
  const file = name === 'decode.js' ? new URL('../../www/shared/decode.js', import.meta.url) : join(folder, name);
  try {
    const body = readFileSync(file);
    response.writeHead(200, { 'content-type': name === 'decode.js' ? 'text/javascript' : 'image/avif' }).end(body);
  } catch {
    response.writeHead(404).end(); // favicon.ico
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://localhost:${server.address().port}/`;

async function open() {
  if (kind === 'firefox') {
    const { firefox, close } = await openFirefox(executablePath, url);
    return { evaluate: firefox.evaluate, close };
  }
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-background-networking'] });
  const page = await browser.newPage();
  await page.goto(url);
  return { evaluate: (code) => page.evaluate(code), close: () => browser.close() };
}

const { evaluate, close } = await open();
for (const name of readdirSync(folder)) {
  const base64 = await evaluate(`(async () => {
    const { decodeInBrowser } = await import('/decode.js');
    const bytes = new Uint8Array(await (await fetch('/${name}')).arrayBuffer());
    const decoded = await decodeInBrowser(bytes, 'image/avif');
    if (!decoded) return '';
    const reader = new FileReader();
    await new Promise((resolve) => { reader.onload = resolve; reader.readAsDataURL(new Blob([decoded.rgba])); });
    return reader.result.split(',')[1];
  })()`);
  if (base64) writeFileSync(join(out, `${name}.rgba`), Buffer.from(base64, 'base64'));
}
await close();
server.close();
