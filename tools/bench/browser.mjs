// grnet's wasm beside onnxruntime-web in the same Chromium, run by turns, and what the page costs: called by bench.py.
//   node tools/bench/browser.mjs CHROMIUM SITE ONNX ONNXRUNTIME_WEB PHOTO ROUNDS   -> JSON
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { gzipSync } from 'node:zlib';
import { chromium } from 'playwright-core';

const [executablePath, site, onnx, ortWeb, photo, rounds] = process.argv.slice(2);
/** SwiftShader takes seconds a run: fewer rounds. */
const GPU_ROUNDS = 3;
const PATIENCE_MS = 300_000;
const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.html': 'text/html', '.css': 'text/css', '.wasm': 'application/wasm', '.svg': 'image/svg+xml' };
const FIXED = { '/bench/': () => '<!doctype html><title>bench</title>', '/bench/model.onnx': () => readFileSync(onnx), '/bench/photo.jpg': () => readFileSync(photo) };

const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname));
  const file = path.startsWith('/bench/ort/') ? join(ortWeb, 'dist', path.slice(11)) : join(site, path === '/' ? 'index.html' : path);
  try {
    const body = FIXED[path]?.() ?? readFileSync(file);
    response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? (path.endsWith('/') ? 'text/html' : 'application/octet-stream') }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const origin = `http://localhost:${server.address().port}`;
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--enable-unsafe-webgpu', '--disable-background-networking'] });
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Both engines of one kind, by turns; the times of the network alone as each tells them. */
async function turns({ device, provider, entry, count, runs }) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on('pageerror', (error) => process.stderr.write(`${error}\n`));
  await page.goto(`${origin}/bench/`);
  const pairs = await page.evaluate(
    async ({ device, provider, entry, count, runs }) => {
      const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
      const { default: init, Engine } = await import('/pkg/grnet.js');
      await init();
      const engine = await Engine.load(await bytes('/model/grnet.safetensors'), device);
      if (engine.info().build !== device) throw new Error(`expected the device ${device}, found ${JSON.stringify(engine.info())}`);
      const picture = await bytes('/bench/photo.jpg');
      const ours = async () => (await engine.assess('photo', picture.slice(), undefined)).report.timings_ms.network_ms;
      const ort = await import(entry);
      ort.env.wasm.numThreads = 1;
      ort.env.wasm.wasmPaths = '/bench/ort/';
      const session = await ort.InferenceSession.create('/bench/model.onnx', { executionProviders: [provider] });
      const tensor = () => new ort.Tensor('float32', Float32Array.from({ length: 3 * 160 * 160 }, (_, at) => (at % 251) / 250), [1, 3, 160, 160]);
      const theirs = async () => {
        const feeds = { picture: tensor(), traces: tensor() };
        const started = performance.now();
        const answers = await session.run(feeds);
        await answers.fused.getData();
        return performance.now() - started;
      };
      const middle = async (run) => {
        const found = [];
        for (let n = 0; n < runs; n += 1) found.push(await run());
        return found.toSorted((a, b) => a - b)[Math.floor(runs / 2)];
      };
      await ours();
      await theirs();
      const pairs = [];
      for (let round = 0; round < count; round += 1) pairs.push([await middle(ours), await middle(theirs)]);
      return pairs;
    },
    { device, provider, entry, count, runs },
  );
  await page.close();
  const ratios = pairs.map(([ours, theirs]) => ours / theirs);
  return {
    ours_ms: median(pairs.map(([ours]) => ours)),
    theirs_ms: median(pairs.map(([, theirs]) => theirs)),
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
  };
}

/** Memory that the largest renderer has for itself, in MB. */
async function rendererMb() {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const own = ({ id }) => {
    const rollup = readFileSync(`/proc/${id}/smaps_rollup`, 'utf8');
    return [...rollup.matchAll(/Private_(?:Clean|Dirty):\s+(\d+) kB/g)].reduce((sum, [, kb]) => sum + Number(kb) / 1024, 0);
  };
  return Math.max(...processInfo.filter(({ type }) => type === 'renderer').map(own));
}

/** The page in an empty profile: first verdict, and memory before and after. */
async function coldPage() {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto('about:blank');
  const blank = await rendererMb();
  const started = performance.now();
  await page.goto(`${origin}/`);
  await page.setInputFiles('input[type=file]', photo);
  await page.waitForSelector('.card:not([data-band=waiting], [data-band=working])');
  const verdict = performance.now() - started;
  const after = await rendererMb();
  await context.close();
  return { blank, after, verdict };
}

const cpu = { device: 'cpu', provider: 'wasm', entry: '/bench/ort/ort.min.mjs', count: Number(rounds), runs: 7 };
const gpu = { device: 'gpu', provider: 'webgpu', entry: '/bench/ort/ort.webgpu.min.mjs', count: GPU_ROUNDS, runs: 1 };
const ratios = [
  { what: 'CPU, wasm SIMD', ...(await turns(cpu)) },
  { what: 'WebGPU on SwiftShader (software)', ...(await turns(gpu)) },
];
const visits = [];
for (let n = 0; n < 3; n += 1) visits.push(await coldPage());
const mb = (key) => `${Math.round(median(visits.map((visit) => visit[key])))} MB`;
const size = (path) => {
  const bytes = readFileSync(join(site, path));
  return `${(bytes.length / 1e6).toFixed(2)} MB, ${(gzipSync(bytes, { level: 9 }).length / 1e6).toFixed(2)} MB gzipped`;
};
const page = [
  { what: 'from opening the page, nothing cached, to the first verdict (photo given at once)', value: `${(median(visits.map(({ verdict }) => verdict)) / 1000).toFixed(2)} s` },
  { what: 'memory of the page’s process, blank', value: mb('blank') },
  { what: 'the same with model loaded and a photo judged', value: mb('after') },
  { what: 'the wasm, for CPU and GPU', value: size('pkg/grnet_bg.wasm') },
  { what: 'the model', value: size('model/grnet.safetensors') },
];
const { version } = JSON.parse(readFileSync(join(ortWeb, 'package.json'), 'utf8'));
process.stdout.write(JSON.stringify({ version: `Chromium ${browser.version()}`, ort: version, ratios, page }));
await browser.close();
server.close();
