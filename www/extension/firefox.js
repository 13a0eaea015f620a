// @ts-check
// Firefox's event page: it has a DOM and can start workers, so that the engine lives in it.

import { failure } from '../shared/messages.js';
import { start } from './background.js';
import { EngineHost } from './engine.js';

/** @type {EngineHost | null} */
let host = null;

const background = start({
  url: '',
  async ensure() {
    if (host) return false;
    host = new EngineHost({
      send: (message) => background.fromEngine(message),
      createWorker: () => new Worker(new URL('../shared/worker.js', import.meta.url), { type: 'module' }),
      root: new URL('../', import.meta.url),
      activeTabFetch: false,
      fetchMode: 'cors',
    });
    return true;
  },
  send: (message) =>
    /** @type {EngineHost} */ (host).handle(message).then(
      (value) => ({ ok: true, value }),
      (error) => ({ ok: false, error: failure(error) }),
    ),
});
