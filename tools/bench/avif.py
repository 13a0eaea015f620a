"""What the browser's own decoder does to scores: AVIF files of portraits, decoded by libavif and by a browser, judged natively.

    python -m venv .bench && .bench/bin/pip install numpy opencv-python-headless pillow
    .bench/bin/python tools/bench/avif.py faces.csv --grnet target/release/grnet \\
        --browser chromium=/usr/bin/chromium --browser firefox=/usr/bin/firefox

The table is one of `grnet prepare`; one picture of each source of its validation and test rows is taken. Prints a table for
docs/robustness.md.
"""

import argparse
import csv
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SMALLEST_PX = 160


def pictures(table, count):
    """One of each source, as many untouched ones as fakes at most `count`, in an order that says nothing."""
    with open(table) as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("val", "test")]
    rows.sort(key=lambda row: hashlib.sha256(row["path"].encode()).hexdigest())
    sources, taken = set(), {"0": [], "1": []}
    for row in rows:
        picture = Image.open(Path(table).parent / row["path"])
        if row["source"] not in sources and min(picture.size) >= SMALLEST_PX and len(taken[row["label"]]) < count:
            sources.add(row["source"])
            taken[row["label"]].append(picture.convert("RGB"))
    return taken["0"] + taken["1"]


def eight_bits(quality, sampling):
    return lambda picture, path: picture.save(path, quality=quality, subsampling=sampling)


def ten_bits(picture, path):
    deep = np.asarray(picture)[..., ::-1].astype(np.uint32) * 1023 // 255
    options = [cv2.IMWRITE_AVIF_QUALITY, 80, cv2.IMWRITE_AVIF_DEPTH, 10]
    path.write_bytes(cv2.imencode(".avif", deep.astype(np.uint16), options)[1].tobytes())


FORMS = {f"quality {q}, {s}": eight_bits(q, s) for s in ("4:4:4", "4:2:0") for q in (60, 80, 90)}
FORMS["10 bits a colour, quality 80"] = ten_bits


def judged(args, folder):
    """{name: (band, p_fake) of the largest face} of the pictures of a folder."""
    command = [args.grnet, "detect", "--json", "--device", "cpu", "--model", args.model, folder]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    reports = map(json.loads, said.splitlines())
    return {
        Path(report["file"]["name"]).stem: (report["faces"][0]["band"], report["faces"][0]["p_fake"])
        for report in reports
        if report["faces"]
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("table")
    parser.add_argument("--grnet", default="target/release/grnet")
    parser.add_argument("--model", default=str(ROOT / "weights/grnet.safetensors"))
    parser.add_argument("--browser", action="append", default=[], metavar="KIND=PROGRAM")
    parser.add_argument("--count", type=int, default=48, help="pictures of a class")
    args = parser.parse_args()
    taken = pictures(args.table, args.count)
    print("| AVIF | browser | faces | median | nine in ten below | largest | verdicts turned |\n|---|---|---|---|---|---|---|")
    for form, write in FORMS.items():
        with tempfile.TemporaryDirectory() as scratch:
            files, libavif = Path(scratch) / "avif", Path(scratch) / "libavif"
            files.mkdir(), libavif.mkdir()
            for index, picture in enumerate(taken):
                write(picture, files / f"{index}.avif")
                Image.open(files / f"{index}.avif").convert("RGB").save(libavif / f"{index}.png")
            expected = judged(args, libavif)
            for kind, program in (browser.split("=") for browser in args.browser):
                out = Path(scratch) / kind
                out.mkdir()
                command = ["node", "--experimental-websocket", ROOT / "tools/bench/avif.mjs", kind, program, files, out]
                subprocess.run(command, check=True)
                for raw in out.glob("*.rgba"):
                    size = Image.open(libavif / f"{raw.name.split('.')[0]}.png").size
                    pixels = np.frombuffer(raw.read_bytes(), np.uint8).reshape(size[1], size[0], 4)
                    Image.fromarray(pixels[..., :3]).save(out / f"{raw.name.split('.')[0]}.png")
                    raw.unlink()
                found = judged(args, out)
                both = [n for n, (_, p) in expected.items() if p is not None and found.get(n, (None, None))[1] is not None]
                moved = sorted(abs(expected[n][1] - found[n][1]) for n in both)
                turned = sum(expected[n][0] != found[n][0] for n in both)
                print(
                    f"| {form} | {kind} | {len(both)} | {moved[len(moved) // 2]:.4f} | {moved[int(len(moved) * 0.9)]:.4f} "
                    f"| {moved[-1]:.4f} | {turned} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
