"""How verdicts move when a photo is changed, and under an attack that knows the network: `./build.sh robustness TABLE`.

Every change is made to the whole file and judged by `grnet detect --stability`, as anybody's photo would be. The attack
(projected gradient descent, L-infinity) knows weights and preprocessing and works on the face's crop at the network's size,
which is the worst that can happen. Writes docs/robustness.json, docs/robustness/changes.svg and the part of
docs/robustness.md between its two marks.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
import torch.nn.functional as F

import network

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MARKS = ("<!-- figures: written by ./build.sh robustness -->", "<!-- end of figures -->")
STEPS = 10
FIGURES = ("median", "p90", "largest", "turned", "opposite", "false_alarms", "found_before", "found", "unstable")


def lossless(picture):
    return ".png", cv2.imencode(".png", picture)[1].tobytes()


def jpeg(quality):
    return lambda p: (".jpg", cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def webp(quality):
    return lambda p: (".webp", cv2.imencode(".webp", p, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes())


def avif(quality):
    """grnet reads no AVIF: what a page shows of one, as a screenshot would have it."""
    return lambda p: lossless(cv2.imdecode(cv2.imencode(".avif", p, [cv2.IMWRITE_AVIF_QUALITY, quality])[1], 1))


def scaled(factor, how):
    return lambda p: lossless(cv2.resize(p, None, fx=factor, fy=factor, interpolation=how))


def cropped(share):
    def cut(p):
        dy, dx = int(p.shape[0] * share), int(p.shape[1] * share)
        return lossless(p[dy : p.shape[0] - dy, dx : p.shape[1] - dx])

    return cut


def noisy(sigma):
    rng = np.random.default_rng(1)
    return lambda p: lossless(np.clip(p + rng.normal(0, sigma, p.shape) + 0.5, 0, 255).astype(np.uint8))


def sharpened(p):
    fine = p.astype(np.float32) - cv2.GaussianBlur(p, (0, 0), 1.0)
    return lossless(np.clip(p + 0.7 * fine + 0.5, 0, 255).astype(np.uint8))


def gamma(power):
    table = (255 * (np.arange(256) / 255) ** power + 0.5).astype(np.uint8)
    return lambda p: lossless(table[p])


def screenshot(p):
    """Shown a third larger on a screen, and taken from there."""
    return lossless(cv2.resize(p, None, fx=4 / 3, fy=4 / 3, interpolation=cv2.INTER_LINEAR))


def halftone(p):
    grey = cv2.cvtColor(p, cv2.COLOR_BGR2GRAY).astype(np.float32)
    y, x = np.mgrid[: p.shape[0], : p.shape[1]]
    screen = 127.5 + 63.75 * (np.sin(x * np.pi / 3) + np.sin(y * np.pi / 3))
    return lossless(cv2.cvtColor(((grey > screen) * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR))


def beauty(p):
    return lossless(cv2.addWeighted(cv2.bilateralFilter(p, 9, 40, 7), 0.8, p, 0.2, 4))


CHANGES = {
    "one pixel cut off above and left": lambda p: lossless(p[1:, 1:]),
    "a tenth cut off on every side": cropped(0.1),
    "half the size": scaled(0.5, cv2.INTER_AREA),
    "half as large again": scaled(1.5, cv2.INTER_CUBIC),
    "blur, sigma 1": lambda p: lossless(cv2.GaussianBlur(p, (0, 0), 1.0)),
    "noise, sigma 4": noisy(4),
    "sharpened": sharpened,
    "gamma 0.8": gamma(0.8),
    "gamma 1.25": gamma(1.25),
    "JPEG 95": jpeg(95),
    "JPEG 80": jpeg(80),
    "JPEG 60": jpeg(60),
    "JPEG 30": jpeg(30),
    "WebP 90": webp(90),
    "AVIF 60": avif(60),
    "screenshot, 4/3 as large": screenshot,
    "half-tone print": halftone,
    "beauty filter": beauty,
}


def rows_of(table, per_source):
    """Test rows of the table, the first ones of each source and label that lie there."""
    taken, rows = defaultdict(int), []
    with open(table) as file:
        for row in csv.DictReader(file):
            key = row["source"], row["label"]
            if row["split"] == "test" and row["label"] in "01" and taken[key] < per_source:
                taken[key] += 1
                rows.append((Path(table).parent / row["path"], int(row["label"])))
    return rows


def judged(args, folder, *options):
    """{stem: report} of the files of a folder."""
    command = [args.grnet, "detect", "--json", "--stability", "--device", "cpu", "--model", args.model, *options, folder]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return {Path(report["file"]["name"]).stem: report for report in map(json.loads, said.splitlines())}


def verdict(report):
    """(band, p_fake) of the largest face, or (not_assessed, None)."""
    face = report["faces"][0] if report and report["faces"] else None
    return (face["band"], face["p_fake"]) if face else ("not_assessed", None)


def compare(before, after):
    """Figures of a change over pairs of (label, verdict before, verdict after)."""
    pairs = [(label, b, a) for (label, b), a in zip(before, after) if b[1] is not None and a[1] is not None]
    if not pairs:
        # Nothing is found in what the change made: that is its row.
        return dict.fromkeys(FIGURES, 0.0) | {"judged": 0, "lost": len(before)}
    moved = sorted(abs(b[1] - a[1]) for _, b, a in pairs)
    share = lambda hits, of: round(100 * sum(hits) / max(1, of), 1)  # noqa: E731
    fakes, reals = [p for p in pairs if p[0] == 1], [p for p in pairs if p[0] == 0]
    found = [b[0] == "likely_fake" for _, b, _ in fakes]
    return {
        "judged": len(pairs),
        "lost": len(before) - len(pairs),
        "median": round(moved[len(moved) // 2], 3),
        "p90": round(moved[int(len(moved) * 0.9)], 3),
        "largest": round(moved[-1], 3),
        "turned": share([b[0] != a[0] for _, b, a in pairs], len(pairs)),
        "opposite": share([{b[0], a[0]} == {"likely_fake", "no_signs_found"} for _, b, a in pairs], len(pairs)),
        "false_alarms": share([a[0] == "likely_fake" for _, _, a in reals], len(reals)),
        "found_before": share(found, len(fakes)),
        "found": share([a[0] == "likely_fake" for _, _, a in fakes], len(fakes)),
        "unstable": share([a[2] for _, _, a in pairs], len(pairs)),
    }


def with_reason(report):
    band, p_fake = verdict(report)
    return band, p_fake, bool(report and report["faces"] and report["faces"][0]["reason"] == "unstable")


def attacked(net, meta, crops, labels, epsilon):
    """Crops u8 [n, 3, s, s] moved by at most epsilon of 255 against their label: fakes down, untouched up."""
    mte, gain = meta["mte"], meta["network"]["residual_gain"]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    k = 2 * mte["radius_px"] + 1

    def box(x):
        return F.avg_pool2d(x, k, 1, k // 2, count_include_pad=False)

    def logits(x):
        m = box(x)
        variance = box(x * x) - m * m
        a = variance / (variance + mte["eps"])
        traces = (x - (box(a) * x + box(m - a * m))).abs() * gain
        return net((x - mean) / std, traces)[0]

    start = torch.from_numpy(crops).float() / 255
    away = torch.tensor(labels)
    x = start.clone()
    for _ in range(STEPS):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits(x), away, reduction="sum"), x)
        x = x.detach() + epsilon / 255 * 2.5 / STEPS * gradient.sign()
        x = (start + (x - start).clamp(-epsilon / 255, epsilon / 255)).clamp(0, 1)
    return (x * 255).round().byte().numpy()


def crop_of(picture, face, margin, side):
    b = face["box"]
    length = max(b["width"], b["height"]) * margin
    centre = b["x"] + b["width"] / 2, b["y"] + b["height"] / 2
    scale = side / length
    move = np.float32([[scale, 0, side / 2 - scale * centre[0]], [0, scale, side / 2 - scale * centre[1]]])
    # Several samples a pixel, then their mean: no aliasing.
    fine = cv2.warpAffine(picture, move * 4, (side * 4, side * 4), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--grnet", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="table of pictures, as for grnet eval")
    parser.add_argument("--per-source", type=int, default=3)
    args = parser.parse_args()
    rows = rows_of(args.data, args.per_source)
    pictures = {f"{index:05}": (cv2.imread(str(path)), label) for index, (path, label) in enumerate(rows)}
    pictures = {stem: pair for stem, pair in pictures.items() if pair[0] is not None}

    def verdicts(change):
        with tempfile.TemporaryDirectory() as folder:
            for stem, (picture, _) in pictures.items():
                ending, content = change(picture)
                Path(folder, stem + ending).write_bytes(content)
            return judged(args, folder)

    say(f"{len(pictures)} pictures, {len(CHANGES)} changes")
    reports = verdicts(lossless)
    before = [(label, with_reason(reports.get(stem))) for stem, (_, label) in pictures.items()]
    figures = {"pictures": len(pictures), "rows": {}}
    for name, change in CHANGES.items():
        after = verdicts(change)
        figures["rows"][name] = compare(before, [with_reason(after.get(stem)) for stem in pictures])
        say(f"{name}: {figures['rows'][name]}")

    meta, net = network.meta_of(args.model), network.load(args.model)
    stems = [stem for stem in pictures if verdict(reports.get(stem))[1] is not None]
    side = meta["input_px"]
    crops = [crop_of(pictures[s][0], reports[s]["faces"][0], meta["crop_margin"], side) for s in stems]
    labels = [pictures[s][1] for s in stems]

    def as_crops(arrays):
        with tempfile.TemporaryDirectory() as folder:
            for stem, array in zip(stems, arrays):
                cv2.imwrite(str(Path(folder, f"{stem}.png")), array)
            found = judged(args, folder, "--cropped")
        return [with_reason(found.get(stem)) for stem in stems]

    quiet = list(zip(labels, as_crops(crops)))
    planes = np.stack([crop[:, :, ::-1].transpose(2, 0, 1) for crop in crops])
    for epsilon in (1, 2, 4):
        moved = [
            attacked(net, meta, planes[at : at + 16], labels[at : at + 16], epsilon) for at in range(0, len(planes), 16)
        ]
        arrays = [array.transpose(1, 2, 0)[:, :, ::-1] for array in np.concatenate(moved)]
        name = f"attack on the crop, {epsilon} of 255"
        figures["rows"][name] = compare(quiet, as_crops(arrays))
        say(f"{name}: {figures['rows'][name]}")

    write(figures)


def write(figures):
    head = ["change", "median", "90 %", "largest", "band turned", "to the opposite", "untouched flagged", "fakes found (before)"]
    head += ["held back as unstable", "no longer judged"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, r in figures["rows"].items():
        cells = [name, r["median"], r["p90"], r["largest"], f"{r['turned']} %", f"{r['opposite']} %", f"{r['false_alarms']} %"]
        cells += [f"{r['found']} % ({r['found_before']} %)", f"{r['unstable']} %", r["lost"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    text = f"{figures['pictures']} test pictures. Columns two to four: by how much `p_fake` moves.\n\n" + "\n".join(lines)
    text += "\n\n![Bands that turn](robustness/changes.svg)"
    page = ROOT / "docs/robustness.md"
    before, rest = page.read_text().split(MARKS[0])
    page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}")
    (ROOT / "docs/robustness.json").write_text(json.dumps(figures, indent=1) + "\n")
    folder = ROOT / "docs/robustness"
    folder.mkdir(exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "grnet"
    shown, axes = pyplot.subplots(figsize=(8, 0.27 * len(figures["rows"]) + 1), layout="constrained")
    names = list(figures["rows"])[::-1]
    axes.barh(names, [figures["rows"][n]["turned"] for n in names], color="#9bb7d4", label="band turned")
    axes.barh(names, [figures["rows"][n]["opposite"] for n in names], color="#b3432f", label="to the opposite")
    axes.set(xlabel="% of judged pictures")
    axes.legend()
    shown.savefig(folder / "changes.svg", metadata={"Date": None})


def say(what):
    print(what, file=sys.stderr, flush=True)


main()
