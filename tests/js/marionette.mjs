// As much of Firefox's remote protocol (Marionette) as the extension's tests need: it installs the extension as a user's
// temporary add-on and reaches the browser's own menus, which no page automation does.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const START_MS = 60_000;

/**
 * @param {string} firefox path of the program
 * @param {Record<string, string | number | boolean>} preferences
 */
export async function startFirefox(firefox, preferences) {
  const profile = mkdtempSync(join(tmpdir(), 'grnet-firefox-'));
  // Port 0: a free one, which Firefox writes into the profile.
  const lines = Object.entries({ 'marionette.port': 0, ...preferences }).map(
    ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`,
  );
  writeFileSync(join(profile, 'user.js'), lines.join('\n'));
  const program = spawn(firefox, ['--headless', '--no-remote', '--profile', profile, '--marionette', '--remote-allow-system-access'], {
    stdio: 'ignore',
  });
  const exited = new Promise((resolve) => program.once('exit', resolve));

  const end = Date.now() + START_MS;
  const port = async () => {
    for (;;) {
      try {
        return Number(readFileSync(join(profile, 'MarionetteActivePort'), 'utf8'));
      } catch (error) {
        if (Date.now() > end) throw error;
        await sleep(200);
      }
    }
  };
  const socket = connect(await port(), '127.0.0.1');
  const waiting = new Map();
  let received = Buffer.alloc(0);
  let lastId = 0;
  // Each message is its length in bytes, a colon, and JSON: [1, id, error, value] in answer to [0, id, name, parameters].
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk]);
    for (let colon; (colon = received.indexOf(':')) > 0; ) {
      const length = Number(received.subarray(0, colon).toString());
      if (received.length < colon + 1 + length) return;
      const message = JSON.parse(received.subarray(colon + 1, colon + 1 + length).toString());
      received = received.subarray(colon + 1 + length);
      if (!Array.isArray(message)) continue; // the greeting
      const [, id, error, value] = message;
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(new Error(`${error.error}: ${error.message}`));
      else resolve(value);
    }
  });
  const send = (name, parameters = {}) =>
    new Promise((resolve, reject) => {
      lastId += 1;
      waiting.set(lastId, { resolve, reject });
      const text = JSON.stringify([0, lastId, name, parameters]);
      socket.write(`${Buffer.byteLength(text)}:${text}`);
    });

  const { capabilities } = await send('WebDriver:NewSession', { capabilities: { alwaysMatch: {} } });
  /** Runs a function's body in the page, with the browser's rights where `sandbox` is `system`. */
  const run = async (script, args = [], sandbox = null) =>
    (await send('WebDriver:ExecuteAsyncScript', { script: wrap(script), args, sandbox, scriptTimeout: 60_000 })).value;
  const wrap = (script) =>
    `const done = arguments[arguments.length - 1]; (async (...args) => (${script})(...args))(...Array.prototype.slice.call(arguments, 0, -1)).then((value) => done({ value }), (error) => done({ error: String(error) }));`;
  const unwrap = ({ value, error }) => {
    if (error) throw new Error(error);
    return value;
  };
  return {
    version: capabilities.browserVersion,
    send,
    page: async (script, ...args) => unwrap(await run(script, args)),
    privileged: async (script, ...args) => unwrap(await run(script, args, 'system')),
    /** Runs in the browser's own window. */
    async browser(script, ...args) {
      await send('Marionette:SetContext', { value: 'chrome' });
      try {
        return unwrap(await run(script, args));
      } finally {
        await send('Marionette:SetContext', { value: 'content' });
      }
    },
    async close() {
      await send('Marionette:Quit', { flags: ['eForceQuit'] }).catch(() => {});
      socket.destroy();
      program.kill();
      await exited;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
