// A software bill of materials in CycloneDX 1.6 (JSON): `node tools/sbom.mjs NAME OUT CARGO-METADATA-JSON`. The crates that
// are linked into the product, with the registry's checksums; the two model files; and, as `excluded`, what only builds or
// tests it. The same tree gives the same bytes: there is no date in it, and its serial number is made from what it says.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

const [name, out, metadataFile] = process.argv.slice(2);
if (!metadataFile) throw new Error('usage: node tools/sbom.mjs NAME OUT CARGO-METADATA-JSON');
const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url));
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const metadata = JSON.parse(readFileSync(metadataFile, 'utf8'));

/** SHA-256 of each crate as the lock file states it, by name and version. */
const checksums = new Map(
  [...read('Cargo.lock').toString().matchAll(/name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"/g)].map(
    ([, crate, version, checksum]) => [`${crate}@${version}`, checksum],
  ),
);

const packages = new Map(metadata.packages.map((one) => [one.id, one]));
const nodes = new Map(metadata.resolve.nodes.map((node) => [node.id, node]));
const root = metadata.resolve.root;

/** The ids that are reached from the product over dependencies of these kinds (`null`: normal). */
function reached(kinds) {
  const found = new Set();
  const queue = [root];
  while (queue.length) {
    const id = queue.pop();
    if (found.has(id)) continue;
    found.add(id);
    for (const { pkg, dep_kinds } of nodes.get(id).deps) {
      if (dep_kinds.some(({ kind }) => kinds.includes(kind))) queue.push(pkg);
    }
  }
  return found;
}

const linked = reached([null]);
const all = reached([null, 'build', 'dev']);
const purl = ({ name, version }) => `pkg:cargo/${name}@${version}`;

/** Cargo's older form of an SPDX expression has a slash for OR. */
const licenses = (expression) => (expression ? [{ expression: expression.replaceAll(/\s*\/\s*/g, ' OR ') }] : []);

function crate(id) {
  const one = packages.get(id);
  const checksum = checksums.get(`${one.name}@${one.version}`);
  return {
    type: 'library',
    'bom-ref': purl(one),
    name: one.name,
    version: one.version,
    scope: linked.has(id) ? 'required' : 'excluded',
    ...(checksum && { hashes: [{ alg: 'SHA-256', content: checksum }] }),
    licenses: licenses(one.license),
    purl: purl(one),
  };
}

function model(file, { version, description }) {
  return {
    type: 'machine-learning-model',
    'bom-ref': file,
    name: file,
    version,
    description,
    scope: 'required',
    hashes: [{ alg: 'SHA-256', content: sha256(read(file)) }],
    licenses: [{ license: { id: 'CC-BY-NC-4.0' } }],
  };
}

/** npm packages check types and drive browsers; none is part of the product. */
const npm = Object.entries(JSON.parse(read('package-lock.json').toString()).packages)
  .filter(([path]) => path)
  .map(([path, { version, license, integrity }]) => {
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const reference = `pkg:npm/${name.replace('@', '%40')}@${version}`;
    const sha512 = integrity?.startsWith('sha512-') && Buffer.from(integrity.slice(7), 'base64').toString('hex');
    return {
      type: 'library',
      'bom-ref': reference,
      name,
      version,
      scope: 'excluded',
      ...(sha512 && { hashes: [{ alg: 'SHA-512', content: sha512 }] }),
      licenses: licenses(license),
      purl: reference,
    };
  });

const byRef = (a, b) => (a['bom-ref'] < b['bom-ref'] ? -1 : 1);
const { version, license } = packages.get(root);
const models = [
  model('weights/grnet.safetensors', { version, description: 'the detector; MODEL_CARD.md says on what it was trained' }),
  model('weights/face.safetensors', { version, description: 'the face finder; part of the program' }),
];
const crates = [...all].filter((id) => id !== root).map(crate);
const components = [...crates, ...npm, ...models];
const product = { type: 'application', 'bom-ref': purl({ name: 'grnet', version }), name, version, licenses: licenses(license) };
const refs = new Map([...all].map((id) => [id, purl(packages.get(id))]));
const dependencies = [...all].map((id) => {
  const direct = nodes.get(id).deps.map(({ pkg }) => refs.get(pkg)).filter(Boolean);
  const own = id === root ? models.map((one) => one['bom-ref']) : [];
  return { ref: refs.get(id), dependsOn: [...new Set([...direct, ...own])].sort() };
});

const said = {
  metadata: { component: product },
  components: [...new Map(components.map((one) => [one['bom-ref'], one])).values()].sort(byRef),
  dependencies: dependencies.sort((a, b) => (a.ref < b.ref ? -1 : 1)),
};
const digest = sha256(JSON.stringify(said));
// A UUID of version 8 (RFC 9562): its bits are ours to choose.
const uuid = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-a${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
const bom = { $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json', bomFormat: 'CycloneDX', specVersion: '1.6', serialNumber: `urn:uuid:${uuid}`, version: 1, ...said };
writeFileSync(out, `${JSON.stringify(bom, null, 2)}\n`);
console.log(`${out}: ${linked.size - 1} crates linked, ${all.size - linked.size} that build or test it, ${npm.length} npm packages for tests, ${models.length} models`);
