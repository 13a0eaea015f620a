"""Whether faces that are turned away or tilted are judged worse, and whether levelling them would help.

    python -m venv .bench && .bench/bin/pip install numpy pillow scikit-learn
    .bench/bin/python tools/bench/pose.py faces.csv --grnet target/release/grnet --level 560

The table is one of `grnet prepare`; the pictures are its validation rows of which the face is to be found. Turned away: how far
the tip of the nose lies from the line between the middles of eyes and mouth, as a share of its length (0 seen from the front,
about .3 where the far eye begins to hide). Levelling: pictures are turned twice, which softens all sets alike: nearly upright ones
by 30 and -30 degrees (upright again) or by 15 and 15 (tilted by 30); tilted ones by half their tilt, there and back or level.
Prints what MODEL_CARD.md says of it.
"""

import argparse
import csv
import json
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

DRAWS = 500


def judged(grnet, folder):
    """{number: the largest face that was judged} of pictures called NUMBER.ending."""
    out = folder / "reports.jsonl"
    subprocess.run([grnet, "detect", folder, "--out", out, "--device", "cpu"], stderr=subprocess.DEVNULL)
    faces = {}
    for report in map(json.loads, out.read_text().splitlines()):
        seen = [face for face in report["faces"] if face["p_fake"] is not None and face.get("points")]
        if seen:
            number = int(Path(report["file"]["name"]).stem)
            faces[number] = max(seen, key=lambda face: face["box"]["width"] * face["box"]["height"])
    return faces


def turned_away(face):
    points = np.array(face["points"])
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    nose = points[2] - (eyes + mouth) / 2
    return abs(nose[0] * down[1] - nose[1] * down[0]) / (down @ down)


def auc(labels, scores):
    """With the middle 95 % of the bootstrap, where there are both classes."""
    labels, scores = np.array(labels), np.array(scores)
    if len(set(labels)) < 2:
        return "-"
    draws = np.random.default_rng(0)
    each = []
    for _ in range(DRAWS):
        drawn = draws.integers(len(labels), size=len(labels))
        if len(set(labels[drawn])) == 2:
            each.append(roc_auc_score(labels[drawn], scores[drawn]))
    low, high = np.percentile(each, [2.5, 97.5])
    return f"{roc_auc_score(labels, scores):.3f} ({low:.2f} to {high:.2f})"


def flagged(faces):
    return f"{100 * np.mean([face['band'] == 'likely_fake' for face in faces]):.0f} %" if faces else "-"


def figures(faces, labels, numbers):
    """AUC, untouched ones flagged and fakes found of some of the faces, as cells of a table; how many of either there are."""
    reals, fakes = ([faces[number] for number in numbers if labels[number] == label] for label in (0, 1))
    of = auc([labels[number] for number in numbers], [faces[number]["p_fake"] for number in numbers])
    return f"{of} | {flagged(reals)} | {flagged(fakes)}", f"{len(reals)} + {len(fakes)}"


def print_bins(title, faces, labels, measure, edges):
    print(f"\n| {title} | untouched + fake | AUC | untouched flagged | fakes found |\n|---|---|---|---|---|")
    for low, high in zip(edges, edges[1:]):
        inside = [number for number, face in faces.items() if low <= measure(face) < high]
        cells, counts = figures(faces, labels, inside)
        print(f"| {low} to {high} | {counts} | {cells} |")


def turned_twice(picture, box, angles):
    """The surroundings of a face, mirrored outward where the picture ends, turned by one angle after the other."""
    side = 1.35 * max(box["width"], box["height"])
    pixels = np.asarray(picture)
    margin = min(int(1.5 * side) + 2, min(pixels.shape[:2]))
    pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    x, y = box["x"] + box["width"] / 2 + margin, box["y"] + box["height"] / 2 + margin
    reach = 1.45 * side
    area = Image.fromarray(pixels).crop([int(v) for v in (x - reach, y - reach, x + reach, y + reach)])
    for angle in angles:
        area = area.rotate(angle, Image.BICUBIC)
    cut = int(reach - side)
    return area.crop((cut, cut, area.width - cut, area.height - cut))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--grnet", default="target/release/grnet")
    parser.add_argument("--level", type=int, default=0, metavar="FACES", help="also try what levelling does, with so many")
    args = parser.parse_args()
    with open(args.table) as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val" and row["crop"] == "find"]
    labels = [int(row["label"]) for row in rows]
    pictures = [(args.table.parent / row["path"]).resolve() for row in rows]

    def compare(title, numbers, ways):
        """Judges the same faces turned in different ways, each twice."""
        sets = {}
        for name, angles in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                for number in numbers:
                    picture = Image.open(pictures[number]).convert("RGB")
                    face = faces[number]
                    turned = turned_twice(picture, face["box"], angles(face["tilt_degrees"]))
                    turned.save(Path(folder) / f"{number}.png")
                sets[name] = judged(args.grnet, Path(folder))
        both = sorted(set.intersection(*(set(found) for found in sets.values())))
        print(f"\n| {title}: {len(both)} | AUC | untouched flagged | fakes found |\n|---|---|---|---|")
        for name, found in sets.items():
            print(f"| {name} | {figures(found, labels, both)[0]} |")

    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(pictures):
            (Path(folder) / f"{number}{path.suffix}").symlink_to(path)
        faces = judged(args.grnet, Path(folder))
    print(f"{len(faces)} faces of {len(rows)} validation pictures")
    print_bins("turned away", faces, labels, turned_away, [0, 0.05, 0.1, 0.15, 0.3, 2])
    print_bins("tilted, degrees", faces, labels, lambda face: abs(face["tilt_degrees"]), [0, 5, 10, 20, 180])
    if not args.level:
        return
    tilts = {number: face["tilt_degrees"] for number, face in faces.items()}
    upright = [number for number, tilt in tilts.items() if abs(tilt) < 10]
    random.Random(1).shuffle(upright)
    ways = {"upright": lambda tilt: (30, -30), "tilted by 30": lambda tilt: (15, 15)}
    compare("pictures turned by hand", upright[: args.level], ways)
    tilted = [number for number, tilt in tilts.items() if 10 <= abs(tilt) < 45]
    ways = {"as they are": lambda tilt: (tilt / 2, -tilt / 2), "levelled": lambda tilt: (tilt / 2, tilt / 2)}
    compare("heads tilted by 10 to 45 degrees", tilted, ways)


if __name__ == "__main__":
    main()
