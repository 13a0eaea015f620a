// Just enough of WebDriver BiDi to drive a plain Firefox: Playwright brings a patched one of its own, which a machine with
// package registries alone cannot fetch.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const START_MS = 60_000;

/** The Firefox of this machine, or null. */
export function findFirefox() {
  for (const name of ['firefox', 'firefox-esr']) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8' }).trim();
    } catch {
      // Not this one.
    }
  }
  return null;
}

/** Opens `url` in a headless Firefox with a fresh profile. */
export async function openFirefox(executable, url) {
  const profile = mkdtempSync(join(tmpdir(), 'grnet-firefox-'));
  const quiet = ['app.update.enabled', 'datareporting.policy.dataSubmissionEnabled', 'browser.shell.checkDefaultBrowser'];
  writeFileSync(join(profile, 'user.js'), quiet.map((name) => `user_pref('${name}', false);\n`).join(''));
  const args = ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0', 'about:blank'];
  const child = spawn(executable, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const address = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('Firefox opened no port')), START_MS);
    createInterface({ input: child.stderr }).on('line', (line) => {
      const found = line.match(/WebDriver BiDi listening on (ws:\S+)/);
      if (!found) return;
      clearTimeout(late);
      resolve(found[1]);
    });
  });
  const socket = new WebSocket(`${address}/session`);
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', () => reject(new Error('Firefox closed its port')));
  });
  const waiting = new Map();
  socket.addEventListener('message', ({ data }) => {
    const { id, type, result, error, message } = JSON.parse(data);
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (type === 'success') resolve?.(result);
    else if (type === 'error') reject?.(new Error(`${error}: ${message}`));
  });
  let last = 0;
  const send = (method, params = {}) =>
    new Promise((resolve, reject) => {
      waiting.set((last += 1), { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params }));
    });

  await send('session.new', { capabilities: {} });
  const { contexts } = await send('browsingContext.getTree');
  const context = contexts[0].context;
  await send('browsingContext.setViewport', { context, viewport: { width: 1180, height: 1400 } });
  await send('browsingContext.navigate', { context, url, wait: 'complete' });
  const firefox = {
    /** The value of an expression or block in the page: a string, number or boolean. */
    async evaluate(expression) {
      const target = { context };
      const { result, exceptionDetails } = await send('script.evaluate', { expression, target, awaitPromise: true });
      if (exceptionDetails) throw new Error(exceptionDetails.text);
      return result.value;
    },
    /** Waits until an expression holds. */
    async until(expression, patienceMs) {
      for (const end = Date.now() + patienceMs; !(await firefox.evaluate(`Boolean(${expression})`)); ) {
        if (Date.now() > end) throw new Error(`expected ${expression} within ${patienceMs} ms`);
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    },
    async screenshot() {
      const { data } = await send('browsingContext.captureScreenshot', { context, origin: 'document' });
      return Buffer.from(data, 'base64');
    },
  };
  const close = async () => {
    await send('browser.close').catch(() => {});
    await new Promise((resolve) => (child.exitCode === null ? child.once('exit', resolve) : resolve()));
    rmSync(profile, { recursive: true, force: true });
  };
  return { firefox, close };
}
