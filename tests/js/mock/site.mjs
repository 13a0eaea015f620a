// The built site on a server that can be told to do harm: change a file on its way, cut it off, or hold it back.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.jpg': 'image/jpeg',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** @param {string} folder of the site */
export async function startSite(folder) {
  const site = {
    url: '',
    /** Paths that were asked for, in order. */
    asked: [],
    /** @type {Map<string, (body: Buffer) => Buffer | string>} what is done to a file's bytes, by path */
    changes: new Map(),
    /** @type {Set<string>} paths at which there is nothing */
    missing: new Set(),
    /** @type {Map<string, number>} connections that end after this share of the bytes, by path */
    cuts: new Map(),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const path = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
    site.asked.push(path);
    let body = site.missing.has(path) ? null : await readFile(join(folder, normalize(path))).catch(() => null);
    if (!body) return response.writeHead(404).end();
    body = Buffer.from(site.changes.get(path)?.(body) ?? body);
    response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream', 'content-length': body.length });
    const share = site.cuts.get(path);
    if (share === undefined) return response.end(body);
    response.write(body.subarray(0, Math.floor(body.length * share)), () => setTimeout(() => response.destroy(), 100));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  site.url = `http://127.0.0.1:${server.address().port}/`;
  return site;
}
