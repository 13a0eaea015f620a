// A mock professional network on two hosts, social.example and cdn.example, served by one local port: the browser is told
// to resolve both names to this machine, so that the extension sees public names and no rule has to be loosened for the
// tests. Every request is written down with all that a request could carry away.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';

const page = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');

export const SOCIAL = 'social.example';
export const CDN = 'cdn.example';

/** Shown as AVIF: one that browsers decode alike, one that is read in another form, and one that has none. */
const AVIF_PAGE = `<!doctype html><title>AVIF</title>
  <picture><source type="image/avif" srcset="/photo/face.avif"><img class="avatar" src="/photo/plain-200.jpg?n=passed-by" width="128" height="128"></picture>
  <picture><source type="image/avif" srcset="/photo/deep.avif"><img class="avatar" src="/photo/plain-200.jpg?n=beside" width="128" height="128"></picture>
  <img class="avatar" src="/photo/deep.avif?n=alone" width="128" height="128">`;

/** @param {Map<string, {type: string, body: Buffer}>} pictures by file name */
export async function startMock(pictures) {
  const requests = [];
  /** Pages that a test wrote itself, by path. */
  const pages = new Map([['avif', AVIF_PAGE]]);
  /** Requests for these paths wait until released. */
  const held = new Map();

  const server = createServer(async (request, response) => {
    const host = (request.headers.host ?? '').split(':')[0];
    const url = new URL(request.url, `http://${request.headers.host}`);
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { cookie = '', referer = '', origin = '' } = request.headers;
    requests.push({ host, method: request.method, path: url.pathname + url.search, cookie, referer, origin, body: Buffer.concat(chunks).length });
    await held.get(url.pathname)?.promise;
    answer(host, url, response);
  });

  function answer(host, url, response) {
    const [, folder] = url.pathname.split('/');
    if (/^(photo|ads)$/.test(folder) && pictures.has(url.pathname.split('/').at(-1))) {
      const { type, body } = pictures.get(url.pathname.split('/').at(-1));
      response.writeHead(200, { 'content-type': url.searchParams.get('type') ?? type, 'cache-control': 'max-age=600' });
      // Bytes behind a picture's end are no part of it: the same picture, but another file.
      return response.end(url.searchParams.has('n') ? Buffer.concat([body, Buffer.from(url.search)]) : body);
    }
    if (folder === 'redirect') {
      response.writeHead(302, { location: url.searchParams.get('to') });
      return response.end();
    }
    if (folder === 'endless') {
      response.writeHead(200, { 'content-type': 'image/jpeg' });
      const chunk = Buffer.alloc(1 << 20, 7);
      const more = () => !response.destroyed && response.write(chunk, () => setImmediate(more));
      return more();
    }
    if (folder === 'busy') {
      response.writeHead(503);
      return response.end();
    }
    if (pages.has(folder)) {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      return response.end(pages.get(folder));
    }
    if (folder === 'www' && /^[\w/.-]+\.js$/.test(url.pathname)) return answerScript(url.pathname, response);
    if (host === SOCIAL && /^(feed|virtual|strict|many|hostile|empty)$/.test(folder)) {
      const headers = { 'content-type': 'text/html; charset=utf-8', 'set-cookie': 'session=secret' };
      if (folder === 'strict') {
        headers['content-security-policy'] = "default-src 'none'; img-src 'self' http://cdn.example:* data: blob:; style-src 'self'";
      }
      response.writeHead(200, headers);
      return response.end(page(`${folder}.html`).replaceAll('CDN', `http://${CDN}:${server.address().port}`).replaceAll('PORT', server.address().port));
    }
    if (url.pathname === '/mock.css') {
      response.writeHead(200, { 'content-type': 'text/css' });
      return response.end(page('mock.css'));
    }
    response.writeHead(404, { 'content-type': 'text/plain' });
    response.end('not found');
  }

  /** The project's own modules, for pages that load them by themselves. */
  function answerScript(path, response) {
    try {
      const code = readFileSync(new URL(`../../..${path}`, import.meta.url), 'utf8');
      response.writeHead(200, { 'content-type': 'text/javascript' }).end(code);
    } catch {
      response.writeHead(404).end();
    }
  }

  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    port,
    url: (path, host = SOCIAL) => `http://${host}:${port}${path}`,
    requests,
    pages,
    hold(path) {
      let release;
      held.set(path, { promise: new Promise((resolve) => (release = resolve)) });
      return () => {
        held.delete(path);
        release();
      };
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
