// What page and extension are made of and what their policies let in: no package, no host, no inline code; and the bill of
// materials says what the lock files say.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';

const root = (path) => new URL(`../../${path}`, import.meta.url);
const read = (path) => readFileSync(root(path), 'utf8');
const www = readdirSync(root('www'), { recursive: true }).map((name) => `www/${name}`);

/** A policy as an object: directive -> sources. */
function directives(policy) {
  const parts = policy.split(';').map((part) => part.trim().split(/\s+/));
  assert.equal(new Set(parts.map(([name]) => name)).size, parts.length, 'a directive given twice counts once');
  return Object.fromEntries(parts.map(([name, ...sources]) => [name, sources.sort()]));
}

const SITE = {
  'default-src': ["'none'"],
  'script-src': ["'self'", "'wasm-unsafe-eval'"],
  'style-src': ["'self'"],
  'img-src': ["'self'", 'blob:', 'data:'],
  'connect-src': ["'self'"],
  'worker-src': ["'self'"],
  'manifest-src': ["'self'"],
  'base-uri': ["'none'"],
  'form-action': ["'none'"],
};

test('the policy of the page is this one, and the server sends the same for workers', () => {
  const [, page] = read('www/index.html').match(/Content-Security-Policy"\s+content="([^"]+)"/);
  assert.deepEqual(directives(page), SITE);
  const [, served] = read('tools/serve.rs').match(/const POLICY: &str = "([^;]+;[^"]+)";/);
  // What a <meta> element cannot say.
  assert.deepEqual(directives(served.replaceAll(/\\\n\s*/g, '')), { ...SITE, 'frame-ancestors': ["'none'"] });
});

test('the policy of the extension is this one in both browsers: pictures may come from anywhere, code from itself', () => {
  const { 'manifest-src': _, ...common } = SITE;
  const expected = { ...common, 'connect-src': ["'self'", 'http:', 'https:'], 'frame-ancestors': ["'none'"] };
  for (const file of ['manifest.json', 'firefox/manifest.json']) {
    const { content_security_policy: policies } = JSON.parse(read(`www/extension/${file}`));
    assert.deepEqual(Object.keys(policies), ['extension_pages']);
    assert.deepEqual(directives(policies.extension_pages), expected, file);
  }
});

test('no page has inline code, which its policy would refuse', () => {
  const pages = www.filter((name) => name.endsWith('.html'));
  assert.ok(pages.length >= 4, pages.join());
  for (const name of pages) {
    const html = read(name);
    for (const [tag] of html.matchAll(/<script[^>]*>/g)) assert.match(tag, /src="[\w./]+"/, `${name}: ${tag}`);
    assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|javascript:/i, name);
    assert.doesNotMatch(html, /(src|href)="(https?:)?\/\//, name);
  }
});

test('page and extension import nothing but their own files', () => {
  const { dependencies } = JSON.parse(read('package.json'));
  assert.equal(dependencies, undefined);
  const scripts = www.filter((name) => name.endsWith('.js'));
  assert.ok(scripts.length > 20);
  for (const name of scripts) {
    for (const [, from] of read(name).matchAll(/(?:\bfrom|^import) ['"]([^'"]+)['"];/gm)) {
      assert.match(from, /^\.\.?\//, `${name} imports ${from}`);
    }
  }
});

test('the bill of materials names every linked crate with the checksum of the lock file, twice the same', () => {
  const folder = mkdtempSync(`${tmpdir()}/grnet-sbom-`);
  try {
    const options = ['--filter-platform', 'wasm32-unknown-unknown', '--no-default-features', '--features', 'wgpu'];
    const metadata = execFileSync('cargo', ['metadata', '--locked', '--offline', '--format-version', '1', ...options], {
      cwd: root('.'),
      maxBuffer: 1 << 28,
    });
    writeFileSync(`${folder}/metadata.json`, metadata);
    const made = ['a', 'b'].map((name) => {
      execFileSync('node', [root('tools/sbom.mjs').pathname, 'grnet-site', `${folder}/${name}`, `${folder}/metadata.json`]);
      return readFileSync(`${folder}/${name}`, 'utf8');
    });
    assert.equal(made[0], made[1]);
    const bom = JSON.parse(made[0]);
    assert.match(bom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
    const refs = bom.components.map((one) => one['bom-ref']);
    assert.equal(new Set(refs).size, refs.length);
    const lock = read('Cargo.lock');
    const linked = bom.components.filter(({ purl, scope }) => purl?.startsWith('pkg:cargo/') && scope === 'required');
    assert.ok(linked.length > 50);
    for (const { name, version, hashes, licenses } of linked) {
      assert.ok(licenses[0].expression, name);
      const entry = `name = "${name}"\nversion = "${version.replaceAll('+', '\\+')}"\nsource = "[^"]+"\nchecksum = "${hashes[0].content}"`;
      assert.match(lock, new RegExp(entry), `${name} ${version}`);
    }
    for (const { ref, dependsOn } of bom.dependencies) {
      for (const one of [ref, ...dependsOn]) assert.ok(refs.includes(one) || one.startsWith('pkg:cargo/grnet@'), one);
    }
    const model = bom.components.find(({ name }) => name === 'weights/grnet.safetensors');
    assert.equal(model.hashes[0].content, JSON.parse(read('weights/grnet.json')).sha256);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
