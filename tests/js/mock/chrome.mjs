// The part of the browser that the extension's background stands on, in memory: storage that outlives a background, permissions,
// tabs, and a switch that stops a background at any of its steps.

/** A storage area with a quota. */
export class Area {
  content = {};
  /** In bytes, as the browser counts them. */
  quota = Infinity;
  onChanged = listeners();

  /** @param {string | string[] | null} keys null for all */
  async get(keys) {
    const wanted = keys === null ? Object.keys(this.content) : [keys].flat().filter((key) => key in this.content);
    return structuredClone(Object.fromEntries(wanted.map((key) => [key, this.content[key]])));
  }

  async set(items) {
    const next = { ...this.content, ...structuredClone(items) };
    if (JSON.stringify(next).length > this.quota) throw new Error('QUOTA_BYTES quota exceeded');
    this.content = next;
  }

  async remove(keys) {
    for (const key of [keys].flat()) delete this.content[key];
  }

  /** The keys under a prefix, without it. */
  keys(prefix) {
    return Object.keys(this.content).flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []));
  }
}

function listeners() {
  const all = [];
  return { addListener: (listener) => all.push(listener), all };
}

export const ID = 'played';
export const ROOT = 'chrome-extension://played/';
export const ENGINE_URL = `${ROOT}extension/offscreen.html`;

/** One browser: what of it outlives a background. */
export class PlayedBrowser {
  local = new Area();
  session = new Area();
  /** Match patterns that were allowed. */
  origins = new Set();
  /** What pages were told, in order. */
  told = [];
  /** Ids of registered content scripts. */
  scripts = new Set();
  /** Windows that were opened. */
  windows = [];
  /** Addresses of open tabs, by number. */
  tabs = new Map([[1, 'https://social.example/feed']]);

  /**
   * `chrome` for one life of the background. After `steps` calls that take time it is stopped: none of them comes back any
   * more, and what it had begun does not happen.
   */
  life(steps = Infinity) {
    let left = steps;
    const life = { stopped: new Promise(() => {}), used: 0 };
    life.stopped = new Promise((resolve) => (life.stop = resolve));
    const step = (work) => async (...given) => {
      life.used += 1;
      left -= 1;
      if (left < 0) {
        life.stop();
        return new Promise(() => {});
      }
      return work(...given);
    };
    const area = (one) => ({ get: step((key) => one.get(key)), set: step((items) => one.set(items)), remove: step((keys) => one.remove(keys)), onChanged: listeners() });
    const onMessage = listeners();
    life.chrome = {
      runtime: { id: ID, getURL: (path) => ROOT + path, onMessage, onInstalled: listeners(), onStartup: listeners() },
      storage: { local: area(this.local), session: area(this.session) },
      permissions: {
        contains: step(async ({ origins }) => origins.every((origin) => this.origins.has(origin))),
        remove: step(async ({ origins }) => origins.every((origin) => this.origins.delete(origin))),
        onAdded: listeners(),
        onRemoved: listeners(),
      },
      scripting: {
        executeScript: step(async () => []),
        getRegisteredContentScripts: step(async () => [...this.scripts].map((id) => ({ id }))),
        registerContentScripts: step(async (all) => {
          if (all.some(({ id }) => this.scripts.has(id))) throw new Error('Duplicate script ID');
          for (const { id } of all) this.scripts.add(id);
        }),
        unregisterContentScripts: step(async ({ ids = [...this.scripts] } = {}) => ids.forEach((id) => this.scripts.delete(id))),
      },
      tabs: {
        get: step(async (id) => ({ id, url: this.tabs.get(id) ?? (() => { throw new Error('no such tab'); })() })),
        query: step(async () => []),
        sendMessage: step(async (tabId, message, options) => void this.told.push({ tabId, ...message, ...options })),
        onRemoved: listeners(),
      },
      action: { setBadgeBackgroundColor: step(async () => {}), setBadgeText: step(async () => {}) },
      contextMenus: { onClicked: listeners(), removeAll: () => {}, create: () => {} },
      commands: { onCommand: listeners() },
      windows: { create: step(async ({ url }) => (this.windows.push(url), {})), update: step(async () => {}) },
    };
    /** Delivers a message as the browser does: to the one listener, and its answer back; none where the background stops. */
    life.deliver = (message, sender) =>
      new Promise((resolve, reject) => {
        const answers = onMessage.all.some((listener) => listener(message, { id: ID, ...sender }, resolve));
        if (!answers) resolve(undefined);
        life.stopped.then(() => reject(new Error('message channel closed')));
      });
    return life;
  }
}
