// @ts-check
// Keeps the site in the browser, so that it opens without a network (sw.js).

/** Loading waits this long for the keeper, so that it sees what is loaded; then it goes on without. */
const PATIENCE_MS = 3000;

/** Resolves when a service worker answers this page's requests, or when there is no use in waiting. */
export async function keepOffline() {
  if (!('serviceWorker' in navigator)) return;
  const { serviceWorker } = navigator;
  const taken = new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
  try {
    await serviceWorker.register(new URL('../sw.js', import.meta.url));
  } catch {
    return; // not served from a safe origin, or forbidden: the page works all the same
  }
  if (serviceWorker.controller) return;
  await Promise.race([taken, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
}
