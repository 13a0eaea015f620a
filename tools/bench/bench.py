"""grnet beside other engines, in one run and interleaved, as ratios: `./build.sh bench` calls it.

Every figure is the median over rounds of (median of ours / median of theirs in that round): a machine that is busy for a
while slows both. Writes docs/performance.json and the part of docs/performance.md between its two marks, and draws
docs/performance/*.svg.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import onnxruntime
import torch

import network

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SIDE_PX = 160
EPS = 1e-2
MARKS = ("<!-- figures: written by ./build.sh bench -->", "<!-- end of figures -->")
# Two engines that add in another order differ by this much in a logit; a wrong graph by far more.
LOGITS_WITHIN = 2e-3


class Ours:
    """A process of grnet's engine that answers commands."""

    def __init__(self, program, model, threads):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program, model], stdin=pipe, stdout=pipe, env=environment, text=True)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"grnet's engine ended over the command {command!r}")
        return json.loads(line)


def times(seconds, run):
    """Milliseconds of each run, for some seconds after one that is not counted; three runs at least."""
    run()
    began, ms = time.perf_counter(), []
    while len(ms) < 3 or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        run()
        ms.append((time.perf_counter() - started) * 1e3)
    return ms


def interleaved(rounds, contenders):
    """{name: (median ms, ratio of the first one to this one, least, most)} of callables that give lists of ms."""
    medians = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            medians[name].append(statistics.median(measure()))
    first = medians[next(iter(medians))]
    rows = {}
    for name, values in medians.items():
        ratios = [ours / theirs for ours, theirs in zip(first, values)]
        rows[name] = (statistics.median(values), statistics.median(ratios), min(ratios), max(ratios))
    return rows


def onnx_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def same_answers(ours, torch_network, session, folder):
    """All three say the same of one crop; else there is nothing to compare. Gives the largest difference of a logit."""
    crop = np.random.default_rng(1).random((3, SIDE_PX, SIDE_PX), dtype=np.float32)
    (folder / "crop.f32").write_bytes(crop.tobytes())
    said = ours.ask(f"answers {folder / 'crop.f32'}")
    said = np.concatenate([said[name] for name in ("fused", "spatial", "residual")])
    inputs = stream_inputs(crop[None], torch_network.meta)
    with torch.inference_mode():
        by_torch = torch.cat([part[0] for part in torch_network(*map(torch.from_numpy, inputs))]).numpy()
    by_onnx = np.concatenate([part[0] for part in session.run(None, dict(zip(("picture", "traces"), inputs)))])
    worst = max(np.abs(said - by_torch).max(), np.abs(said - by_onnx).max())
    if worst > LOGITS_WITHIN:
        raise SystemExit(f"the engines contradict each other by {worst:.2g}: {said}, {by_torch}, {by_onnx}")
    return float(worst)


def stream_inputs(crops, meta):
    """The two inputs of the streams, f32 [n, 3, side, side], from crops on 0..1."""
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    mte = meta["mte"]
    traces = np.stack([np.stack([residual(plane, mte["radius_px"], mte["eps"]) for plane in crop]) for crop in crops])
    gain = np.float32(meta["network"]["residual_gain"])
    return (crops - mean) / std, (traces * gain).astype(np.float32)


def residual(plane, radius, eps):
    """|I - q| of one plane in f64; means at the border are over what is there."""

    def box(values):
        sums = np.pad(np.cumsum(np.cumsum(values, 0), 1), ((1, 0), (1, 0)))
        low = lambda n: np.maximum(np.arange(n) - radius, 0)  # noqa: E731
        high = lambda n: np.minimum(np.arange(n) + radius + 1, n)  # noqa: E731
        (h, w) = values.shape
        t, b, l, r = low(h)[:, None], high(h)[:, None], low(w)[None], high(w)[None]
        return (sums[b, r] - sums[t, r] - sums[b, l] + sums[t, l]) / ((b - t) * (r - l))

    x = plane.astype(np.float64)
    mean = box(x)
    variance = box(x * x) - mean * mean
    a = variance / (variance + eps)
    return np.abs(x - (box(a) * x + box(mean - a * mean)))


def networks(args, figures, ours, torch_network, onnx_path):
    rng = np.random.default_rng(2)
    for threads in args.threads:
        torch.set_num_threads(threads)
        session = onnx_session(onnx_path, threads)
        for batch in args.batches:
            crops = rng.random((batch, 3, SIDE_PX, SIDE_PX), dtype=np.float32)
            feeds = {"picture": crops, "traces": crops}
            tensors = [torch.from_numpy(crops).contiguous(memory_format=torch.channels_last)] * 2

            def by_torch():
                with torch.inference_mode():
                    torch_network(*tensors)

            say(f"network, {threads} threads, batch {batch}")
            rows = interleaved(
                args.rounds,
                {
                    "grnet": lambda: ours[threads].ask(f"network {SIDE_PX} {batch} {args.seconds}")["ms"],
                    "ONNX Runtime": lambda: times(args.seconds, lambda: session.run(None, feeds)),
                    "PyTorch": lambda: times(args.seconds, by_torch),
                },
            )
            figures["network"].append({"threads": threads, "batch": batch, "rows": rows})


def filters(args, figures, ours):
    cv2.setNumThreads(1)
    rng = np.random.default_rng(3)
    for side in (224, 512, 1024):
        for radius in (2, 8, 32):
            planes = [rng.random((side, side), dtype=np.float32) for _ in range(3)]

            def by_opencv():
                for plane in planes:
                    cv2.absdiff(plane, cv2.ximgproc.guidedFilter(plane, plane, radius, EPS))

            say(f"guided residual, {side} px, radius {radius}")
            rows = interleaved(
                args.rounds,
                {
                    "grnet": lambda: ours[1].ask(f"guided {side} {radius} {args.seconds / 2}")["ms"],
                    "OpenCV ximgproc": lambda: times(args.seconds / 2, by_opencv),
                },
            )
            figures["guided"].append({"side": side, "radius": radius, "rows": rows})


def photos(args, figures, ours):
    large = ROOT / ".bench" / f"{args.photo.stem}-4000.jpg"
    cv2.imwrite(str(large), cv2.resize(cv2.imread(str(args.photo)), (4000, 4000), interpolation=cv2.INTER_CUBIC))
    for path in (args.photo, large):
        say(f"photo {path.name}")
        found = ours[1].ask(f"photo {path} {args.seconds}")
        decode, faces, net, total = (statistics.median(column) for column in zip(*found["parts"]))
        height, width = cv2.imread(str(path)).shape[:2]
        row = {"photo": path.name, "size": f"{width} x {height}", "faces": found["faces"]}
        figures["photo"].append(row | {"decode": decode, "find": faces, "network": net, "total": total})


def cold_starts(args, figures):
    say("cold start of the command line")
    ms = []
    for _ in range(5):
        started = time.perf_counter()
        command = [args.grnet, "detect", "--json", "--model", args.model, str(args.photo)]
        status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        if status != 0:
            raise SystemExit(f"grnet detect ended with {status}")
        ms.append((time.perf_counter() - started) * 1e3)
    figures["cold"] = {"ms": statistics.median(ms)}


def browsers(args, figures, onnx_path):
    if not args.browser:
        return
    say("browser")
    command = ["node", str(ROOT / "tools/bench/browser.mjs"), args.browser, args.site, str(onnx_path), args.ort_web]
    command += [str(args.photo), str(args.rounds)]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    figures["browser"] = json.loads(found)


def machine():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} threads, {platform.system()}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def ratio_cell(row):
    _, ratio, least, most = row
    return f"**{ratio:.2f}** ({least:.2f} to {most:.2f})"


def markdown(figures):
    parts = [
        f"Measured {figures['date']} on {figures['machine']}; kernels `{figures['kernels']}`; load average at the start "
        f"{figures['load']:.1f}, at the end {figures['load_end']:.1f}. {figures['versions']}. Ratios are ours / theirs, "
        "the median of the rounds and their least and most; below 1 ours is faster.",
        f"All three engines were given the shipped weights; on one crop their logits differ by {figures['differ']:.1g} at most.",
        "### Network: both streams, 160 px",
    ]
    head = ["threads", "batch", "grnet, ms", "ONNX Runtime, ms", "ratio", "PyTorch, ms", "ratio"]
    rows = []
    for entry in figures["network"]:
        r = entry["rows"]
        rows.append(
            [entry["threads"], entry["batch"], f"{r['grnet'][0]:.1f}", f"{r['ONNX Runtime'][0]:.1f}"]
            + [ratio_cell(r["ONNX Runtime"]), f"{r['PyTorch'][0]:.1f}", ratio_cell(r["PyTorch"])]
        )
    parts += [table(head, rows), "grnet's time has the guided residual in it, the others' has not: they are given it.",]
    parts += ["### Guided residual: three channels, 1 thread"]
    rows = [
        [e["side"], e["radius"], f"{e['rows']['grnet'][0]:.2f}", f"{e['rows']['OpenCV ximgproc'][0]:.2f}"]
        + [ratio_cell(e["rows"]["OpenCV ximgproc"])]
        for e in figures["guided"]
    ]
    parts += [table(["side, px", "radius, px", "grnet, ms", "OpenCV, ms", "ratio"], rows)]
    parts += ["### A photo, 1 thread, ms"]
    rows = [
        [e["photo"], e["size"], e["faces"], *(f"{e[k]:.1f}" for k in ("decode", "find", "network", "total"))]
        for e in figures["photo"]
    ]
    parts += [table(["photo", "size, px", "faces", "decoding", "face finding and cutting", "network", "all"], rows)]
    parts += [f"`grnet detect` of one photo, from start to exit: {figures['cold']['ms']:.0f} ms (median of 5)."]
    if browser := figures.get("browser"):
        parts += ["### Browser", f"{browser['version']}; onnxruntime-web {browser['ort']}, one thread."]
        rows = [
            [r["what"], f"{r['ours_ms']:.0f}", f"{r['theirs_ms']:.0f}", f"**{r['ratio']:.2f}** ({r['least']:.2f} to {r['most']:.2f})"]
            for r in browser["ratios"]
        ]
        parts += [table(["network, 1 crop of 160 px", "grnet, ms", "onnxruntime-web, ms", "ratio"], rows)]
        rows = [[r["what"], r["value"]] for r in browser["page"]]
        parts += [table(["the page", "figure"], rows)]
    parts += ["![Scaling](performance/scaling.svg)"]
    return "\n\n".join(parts)


def draw(figures, folder):
    folder.mkdir(exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "grnet"
    shown, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for name, style in (("grnet", "o-"), ("ONNX Runtime", "s--"), ("PyTorch", "^:")):
        for threads in sorted({entry["threads"] for entry in figures["network"]}):
            entries = [entry for entry in figures["network"] if entry["threads"] == threads]
            batches = [entry["batch"] for entry in entries]
            each = [entry["rows"][name][0] / entry["batch"] for entry in entries]
            axes[0].plot(batches, each, style, label=f"{name}, {threads} thr.")
    axes[0].set(xlabel="faces in a batch", ylabel="ms a face", title="Network, 160 px", xscale="log", ylim=(0, None))
    for name, style in (("grnet", "o-"), ("OpenCV ximgproc", "s--")):
        entries = [entry for entry in figures["guided"] if entry["radius"] == 8]
        axes[1].plot([e["side"] ** 2 / 1e6 for e in entries], [e["rows"][name][0] for e in entries], style, label=name)
        entries = [entry for entry in figures["guided"] if entry["side"] == 512]
        axes[2].plot([e["radius"] for e in entries], [e["rows"][name][0] for e in entries], style, label=name)
    axes[1].set(xlabel="megapixels", ylabel="ms", title="Guided residual, radius 8", ylim=(0, None))
    axes[2].set(xlabel="radius, px", ylabel="ms", title="Guided residual, 512 px", ylim=(0, None))
    for one in axes:
        one.grid(alpha=0.3)
        one.legend(fontsize=7)
    shown.savefig(folder / "scaling.svg", metadata={"Date": None})


def say(what):
    print(what, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True, help="the example `time` of the crate")
    parser.add_argument("--grnet", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--browser", default="", help="Chromium; without it nothing is measured in a browser")
    parser.add_argument("--site", default=str(ROOT / "dist/site"))
    parser.add_argument("--ort-web", default=str(ROOT / ".bench/node_modules/onnxruntime-web"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    args = parser.parse_args()

    folder = ROOT / ".bench"
    torch_network = network.load(args.model)
    torch_network.meta = network.meta_of(args.model)
    onnx_path = folder / "grnet.onnx"
    example = torch.zeros(1, 3, SIDE_PX, SIDE_PX)
    names = {"input_names": ["picture", "traces"], "output_names": ["fused", "spatial", "residual"]}
    free = {name: {0: "n"} for name in names["input_names"] + names["output_names"]}
    torch.onnx.export(torch_network, (example, example), str(onnx_path), dynamo=False, dynamic_axes=free, **names)
    ours = {threads: Ours(args.program, args.model, threads) for threads in sorted({1, *args.threads})}
    differ = same_answers(ours[1], torch_network, onnx_session(onnx_path, 1), folder)
    torch_network = torch_network.to(memory_format=torch.channels_last)

    versions = f"ONNX Runtime {onnxruntime.__version__}, PyTorch {torch.__version__}, OpenCV {cv2.__version__}"
    figures = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": versions, "load": os.getloadavg()[0]}
    kernels = ours[1].ask("network 64 1 0")["kernels"]
    figures |= {"kernels": kernels, "differ": differ, "network": [], "guided": [], "photo": []}
    networks(args, figures, ours, torch_network, onnx_path)
    filters(args, figures, ours)
    photos(args, figures, ours)
    cold_starts(args, figures)
    browsers(args, figures, onnx_path)
    figures["load_end"] = os.getloadavg()[0]

    page = ROOT / "docs/performance.md"
    before, rest = page.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    draw(figures, ROOT / "docs/performance")
    (ROOT / "docs/performance.json").write_text(json.dumps(figures, indent=1) + "\n")
    page.write_text(f"{before}{MARKS[0]}\n\n{markdown(figures)}\n\n{MARKS[1]}{after}")
    print(markdown(figures))


main()
