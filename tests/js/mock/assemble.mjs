// The extension put together without its wasm: everything but the detector is the shipped code, in seconds. The worker is
// played (mock/worker.js), and the content script is joined as build.sh joins it.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const read = (path) => readFileSync(root(path), 'utf8');

/** The modules of the content script in the order that build.sh names. */
export function contentModules() {
  const [, names] = /content\/\{([\w,]+)\}\.js/.exec(read('build.sh'));
  return ['lib/names.js', ...names.split(',').map((name) => `content/${name}.js`)].map((name) => `www/extension/${name}`);
}

/** One classic script of the modules, as build.sh's `join_modules` makes it. */
export function joinedContentScript() {
  const [, head] = /join_modules\(\) \{\n  printf '%s\\n' ([^]*?)\n  sed/.exec(read('build.sh'));
  const opening = [...head.matchAll(/'([^']*)'/g)].map(([, line]) => line);
  const modules = contentModules().map((path) =>
    read(path)
      .replace(/^import \{\n[^]*?;$/gm, '')
      .replace(/^import .*;$/gm, '')
      .replace(/^export /gm, ''),
  );
  return [...opening, ...modules, '})();', ''].join('\n');
}

/**
 * @param {string} out an empty folder
 * @param {'chromium' | 'firefox'} browser
 */
export function assemble(out, browser) {
  for (const folder of ['extension/lib', 'extension/icons', 'page', 'model']) mkdirSync(join(out, folder), { recursive: true });
  const copy = (from, to) => cpSync(root(from), join(out, to), { recursive: true });
  copy('www/shared', 'shared');
  copy('tests/js/mock/worker.js', 'shared/worker.js');
  for (const name of ['icon.svg', 'style.css']) copy(`www/${name}`, name);
  for (const name of ['card', 'dom']) copy(`www/page/${name}.js`, `page/${name}.js`);
  for (const name of ['lib', 'background', 'icons', 'background.js', 'engine.js', 'options.js', 'panel.js', 'popup.js', 'options.html', 'popup.html', 'extension.css']) {
    copy(`www/extension/${name}`, `extension/${name}`);
  }
  const own = browser === 'chromium' ? ['chromium.js', 'offscreen.js', 'offscreen.html'] : ['firefox.js'];
  for (const name of own) copy(`www/extension/${name}`, `extension/${name}`);
  copy(browser === 'chromium' ? 'www/extension/manifest.json' : 'www/extension/firefox/manifest.json', 'manifest.json');
  copy('weights/grnet.json', 'model/grnet.json');
  const templates = read('www/index.html').match(/<template [^]*?<\/template>/g).join('\n');
  writeFileSync(join(out, 'extension/panel.html'), read('www/extension/panel.html').replace(/<!-- build.sh puts.*-->/, templates));
  writeFileSync(join(out, 'extension/content.js'), joinedContentScript());
  return out;
}
