// Keeps one version of the site in the browser and serves it from there, so that it opens without a network. The list of
// files and the version come from files.js, which build.sh writes; a new version is taken when the old one's last tab
// closes, so that no page ever mixes two. The model file is not kept here but by shared/model.js, checked against its hash.

/* global SITE */
importScripts('files.js');

const CACHE = `grnet-site-${SITE.version}`;
const MODEL = /\.safetensors$/;

addEventListener('install', (event) => {
  const files = SITE.files.map((file) => new Request(file, { cache: 'no-cache' }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)));
});

addEventListener('activate', (event) => {
  const old = (name) => name.startsWith('grnet-site-') && name !== CACHE;
  const tidy = async () => {
    for (const name of (await caches.keys()).filter(old)) await caches.delete(name);
    // The first visit's page too, so that what it loads next is kept.
    await clients.claim();
  };
  event.waitUntil(tidy());
});

/** From the cache; what is not there yet (the wasm) is fetched and kept. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  // Options in the page's address (`?backend=cpu`) make it no other page.
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const response = await fetch(request);
  // Where there is no room for it, the page gets it all the same, and the next time from the network again.
  if (response.ok) await cache.put(request, response.clone()).catch(() => {});
  return response;
}

addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const ours = url.origin === location.origin && request.method === 'GET' && !MODEL.test(url.pathname);
  if (ours) event.respondWith(answer(request));
});
