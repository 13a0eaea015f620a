"""Trains the network of the face finder (`src/picture/face/network.rs`) and writes `weights/face.safetensors`.

    python tools/train_face.py --teacher yunet_n_320_320.onnx --pictures ../shared/data --faceless FOLDER --minutes 30

Needs torch, opencv-python-headless, numpy, onnx and safetensors. One thread, no GPU.

The network starts from YuNet's numbers (Wei Wu, Hanyang Peng, Shiqi Yu: "YuNet: A Tiny Millisecond-level Face Detector",
repository ShiqiYu/libfacedetection.train, Apache-2.0), whose BatchNorm lies folded in the ONNX file, and learns what
YuNet cannot: faces turned by any angle, masked, dark, compressed, small, many to a picture. The teacher looks at the
clean upright picture; the student sees that picture turned and spoilt, and is told the teacher's box and points, turned
likewise. `--pictures` has a `faces.csv` with the columns path, source, split and crop; only rows of the split `train` are
used, and of them those that must be found. `--faceless` holds pictures without any face.

Box of a face of width w and height h turned by t: centre turned, width `sqrt((w cos t)^2 + (h sin t)^2)`, height
`sqrt((w sin t)^2 + (h cos t)^2)`. For an upright face that is the teacher's box.
"""
import argparse
import collections
import copy
import csv
import hashlib
import json
import math
import pathlib
import time

import cv2
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

STRIDES = (8, 16, 32)
# Widths of faces (times .9 of the box's geometric mean) that a map must find, and those at which it may.
MUST = ((0, 52), (28, 112), (84, 1e9))
MAY = ((0, 64), (9, 132), (64, 1e9))


class Unit(nn.Module):
    def __init__(self, channels_in, channels_out, relu=True):
        super().__init__()
        self.point = nn.Conv2d(channels_in, channels_out, 1)
        self.depth = nn.Conv2d(channels_out, channels_out, 3, padding=1, groups=channels_out)
        self.relu = relu

    def forward(self, x):
        x = self.depth(self.point(x))
        return F.relu(x) if self.relu else x


class Finder(nn.Module):
    """YuNet's graph. A cell's 16 numbers: class, object, centre, log size, five points."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.stem_unit = Unit(16, 16)
        wide = [nn.ModuleList([Unit(64, 64), Unit(64, 64)]) for _ in range(4)]
        self.stages = nn.ModuleList([nn.ModuleList([Unit(16, 16), Unit(16, 64)])] + wide)
        self.neck = nn.ModuleList([Unit(64, 64) for _ in range(3)])
        self.shared = nn.ModuleList([Unit(64, 64) for _ in range(3)])
        self.heads = nn.ModuleList([Unit(64, 16, False) for _ in range(3)])

    def stage(self, index, x):
        for unit in self.stages[index]:
            x = unit(x)
        return x

    def forward(self, x):
        x = F.max_pool2d(self.stem_unit(F.relu(self.stem(x))), 2)
        at_8 = self.stage(2, F.max_pool2d(self.stage(1, self.stage(0, x)), 2))
        at_16 = self.stage(3, F.max_pool2d(at_8, 2))
        at_32 = self.stage(4, F.max_pool2d(at_16, 2))
        low = self.neck[2](at_32)
        middle = self.neck[1](at_16 + F.interpolate(low, scale_factor=2, mode="nearest"))
        high = self.neck[0](at_8 + F.interpolate(middle, scale_factor=2, mode="nearest"))
        return [self.heads[level](self.shared[level](x)) for level, x in enumerate((high, middle, low))]


def teacher(path):
    """YuNet's numbers in a `Finder`. Input: BGR, 0..255. The file lists its convolutions in the order of its graph."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    values = {value.name: torch.tensor(numpy_helper.to_array(value).copy()) for value in graph.initializer}
    convolutions = iter([(values[n.input[1]], values[n.input[2]]) for n in graph.node if n.op_type == "Conv"])
    net = Finder()

    def put(layer, pair):
        layer.weight.data.copy_(pair[0])
        layer.bias.data.copy_(pair[1])

    def unit(target):
        put(target.point, next(convolutions))
        put(target.depth, next(convolutions))

    put(net.stem, next(convolutions))
    unit(net.stem_unit)
    for stage in net.stages:
        for target in stage:
            unit(target)
    for level in (2, 1, 0):
        unit(net.neck[level])
    for target in net.shared:
        unit(target)
    # Each of class, box, object and points for all three maps in turn; ours are class, object, box, points in one.
    heads = [[(next(convolutions), next(convolutions)) for _ in STRIDES] for _ in range(4)]
    for level in range(3):
        parts = [heads[kind][level] for kind in (0, 2, 1, 3)]
        for at, layer in enumerate((net.heads[level].point, net.heads[level].depth)):
            put(layer, [torch.cat([part[at][which] for part in parts]) for which in (0, 1)])
    assert next(convolutions, None) is None, "expected YuNet's graph, found more convolutions"
    return net.eval()


def decode(outputs):
    """[N, cells, 15]: score, centre, width, height, points, in pixels of the network's input."""
    rows = []
    for out, stride in zip(outputs, STRIDES):
        count, _, height, width = out.shape
        y, x = torch.meshgrid(torch.arange(height) * float(stride), torch.arange(width) * float(stride), indexing="ij")
        score = torch.sqrt(torch.sigmoid(out[:, 0]) * torch.sigmoid(out[:, 1]))
        place = [x + out[:, 2] * stride, y + out[:, 3] * stride]
        size = [torch.exp(out[:, 4]) * stride, torch.exp(out[:, 5]) * stride]
        points = [(y if at % 2 else x) + out[:, 6 + at] * stride for at in range(10)]
        rows.append(torch.stack([score, *place, *size, *points], -1).reshape(count, height * width, 15))
    return torch.cat(rows, 1)


def merge(rows, least):
    """Non-maximum suppression; each face is the mean of the cells that agree with its surest one."""
    rows = rows[rows[:, 0] > least]
    rows = rows[np.argsort(-rows[:, 0])]
    faces = []
    while len(rows):
        best = rows[0]
        low = np.maximum(best[1:3] - best[3:5] / 2, rows[:, 1:3] - rows[:, 3:5] / 2)
        high = np.minimum(best[1:3] + best[3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2)
        shared = np.prod(np.clip(high - low, 0, None), 1)
        union = shared / (best[3] * best[4] + rows[:, 3] * rows[:, 4] - shared)
        weight = rows[:, 0] ** 2 * (union > 0.5)
        face = (rows * weight[:, None]).sum(0) / weight.sum()
        face[0] = best[0]
        faces.append(face)
        rows = rows[union <= 0.3]
    return np.array(faces).reshape(-1, 15)


def look(net, picture):
    """The teacher's faces on a clean upright picture: the mean over three placings, so that its own jitter goes."""
    found = []
    shrink = min(1.0, 256 / max(picture.shape[:2]))
    for scale, x, y in ((1.0, 32, 32), (0.9, 41, 35), (0.8, 52, 59)):
        scale *= shrink
        move = np.float32([[scale, 0, x + scale / 2 - 0.5], [0, scale, y + scale / 2 - 0.5]])
        canvas = cv2.warpAffine(picture, move, (320, 320), flags=cv2.INTER_LINEAR, borderValue=(110, 110, 110))
        with torch.no_grad():
            pixels = torch.from_numpy(canvas).permute(2, 0, 1)[None].float()
            faces = merge(decode(net(pixels.to(memory_format=torch.channels_last)))[0].numpy(), 0.3)
        for at in (1, 5, 7, 9, 11, 13):
            faces[:, at : at + 2] = (faces[:, at : at + 2] - move[:, 2]) / scale
        faces[:, 3:5] /= scale
        found.append(faces)
    means = []
    for face in found[0]:
        same = [face]
        for faces in found[1:]:
            if len(faces):
                distance = np.hypot(faces[:, 1] - face[1], faces[:, 2] - face[2])
                if distance.min() < 0.2 * face[3]:
                    same.append(faces[distance.argmin()])
        mean = np.mean(same, 0)
        mean[0] = sum(row[0] for row in same) / len(found)
        means.append(mean)
    return np.array(means, np.float32).reshape(-1, 15)


def mirrored(picture, faces):
    faces = faces.copy()
    last = picture.shape[1] - 1
    faces[:, 1] = last - faces[:, 1]
    points = faces[:, 5:].reshape(-1, 5, 2)
    points[:, :, 0] = last - points[:, :, 0]
    faces[:, 5:] = points[:, [1, 0, 2, 4, 3]].reshape(-1, 10)
    return np.ascontiguousarray(picture[:, ::-1]), faces


def masked(picture, face, rng):
    """A mask over nose and mouth, drawn along the face's own axes."""
    points = face[5:].reshape(5, 2)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across = (points[1] - points[0]) / (np.linalg.norm(points[1] - points[0]) + 1e-3)
    length = np.linalg.norm(mouth - eyes) + 1e-3
    down = (mouth - eyes) / length
    top = eyes + down * length * rng.uniform(0.35, 0.6)
    half = face[3] * rng.uniform(0.42, 0.55)
    side = top - down * length * rng.uniform(-0.05, 0.2)
    cheek = mouth + down * length * 0.15
    chin = mouth + down * length * rng.uniform(0.5, 0.75)
    upper = [side - across * half, top - across * half * 0.3, top + across * half * 0.3, side + across * half]
    lower = [cheek + across * half * 0.85, chin + across * half * 0.35, chin - across * half * 0.35, cheek - across * half * 0.85]
    colour = [(235, 235, 235), (230, 190, 150), (40, 40, 40), tuple(rng.integers(0, 256, 3).tolist())][rng.choice(4)]
    cv2.fillPoly(picture, [np.int32(np.array(upper + lower) * 16)], colour, lineType=cv2.LINE_AA, shift=4)


def angle(rng):
    kind = rng.random()
    if kind < 0.35:
        return rng.normal(0, 12)
    if kind < 0.65:
        return rng.choice([90, 180, 270]) + rng.normal(0, 8)
    return rng.uniform(-180, 180)


class Maker:
    """Makes training pictures: one face on its own picture, grids of turned faces, and pictures without a face."""

    def __init__(self, rows, faceless, rng):
        self.faceless, self.rng, self.size = faceless, rng, 256
        self.by_source = collections.defaultdict(list)
        for row in rows:
            self.by_source[row[0]].append(row)
        self.sources = list(self.by_source)
        weights = np.array([len(self.by_source[source]) ** 0.5 for source in self.sources])
        self.weights = weights / weights.sum()

    def put(self, canvas, faces, unsure, cell, width, degrees, spread):
        """Warps a picture into `cell` = (x, y, w, h), so that its largest face is `width` wide and turned."""
        rng = self.rng
        rows = self.by_source[self.sources[rng.choice(len(self.sources), p=self.weights)]]
        _, data, found = rows[rng.integers(len(rows))]
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if rng.random() < 0.5:
            picture, found = mirrored(picture, found)
        sure = found[found[:, 0] > 0.8]
        main = sure[np.argmax(sure[:, 3])]
        if rng.random() < 0.16:
            masked(picture, main, rng)
        elif rng.random() < 0.06:
            centre, radius = main[1:3] + rng.normal(0, 0.35, 2) * main[3], main[3] * rng.uniform(0.1, 0.3)
            axes = (int(radius), int(radius * rng.uniform(0.4, 2)))
            colour = rng.integers(0, 256, 3).tolist()
            cv2.ellipse(picture, tuple(int(v) for v in centre), axes, rng.uniform(0, 180), 0, 360, colour, -1)
        scale, turn = width / main[3], math.radians(degrees)
        linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        x, y, w, h = cell
        room = np.maximum(0, np.array([w, h]) / 2 - 0.62 * width)
        shift = np.array([x + w / 2, y + h / 2]) + rng.uniform(-1, 1, 2) * room * spread - linear @ main[1:3]
        # Halved before the warp, which samples points, as often as needed; pixel centres stay where they are.
        small, left = picture, scale
        while left < 0.55:
            small = cv2.resize(small, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            left *= 2
        ratio = np.array([picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0]])
        warp = np.concatenate([linear * ratio, (shift + linear @ ((ratio - 1) / 2))[:, None]], 1)
        x0, y0 = int(x), int(y)
        target = canvas[y0 : int(y + h), x0 : int(x + w)]
        warp[:, 2] -= (x0, y0)
        size = (target.shape[1], target.shape[0])
        if rng.random() < 0.3:
            target[:] = cv2.warpAffine(small, warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        else:
            alpha = cv2.warpAffine(np.ones(small.shape[:2], np.float32), warp, size, flags=cv2.INTER_LINEAR)[..., None]
            target[:] = (target * (1 - alpha) + cv2.warpAffine(small, warp, size, flags=cv2.INTER_LINEAR) * alpha).astype(np.uint8)
        cos, sin = math.cos(turn) ** 2, math.sin(turn) ** 2
        for face in found:
            moved = face.copy()
            moved[1:3] = linear @ face[1:3] + shift
            moved[3] = scale * math.sqrt(face[3] ** 2 * cos + face[4] ** 2 * sin)
            moved[4] = scale * math.sqrt(face[3] ** 2 * sin + face[4] ** 2 * cos)
            moved[5:] = (face[5:].reshape(5, 2) @ linear.T + shift).reshape(-1)
            low = np.maximum(moved[1:3] - moved[3:5] / 2, (x, y))
            high = np.minimum(moved[1:3] + moved[3:5] / 2, (x + w, y + h))
            inside = np.prod(np.clip(high - low, 0, None)) / (moved[3] * moved[4])
            if inside > 0.25:
                (faces if face[0] > 0.8 and inside > 0.8 else unsure).append(moved)

    def background(self):
        rng, size = self.rng, self.size
        kind = rng.random()
        if kind < 0.25 or not self.faceless:
            return np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
        if kind < 0.4:
            noise = rng.integers(0, 256, (rng.choice([2, 4, 16, 64]), rng.choice([2, 4, 16, 64]), 3)).astype(np.uint8)
            smooth = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
            return cv2.resize(noise, (size, size), interpolation=smooth)
        picture = self.faceless[rng.integers(len(self.faceless))]
        side = int(min(min(picture.shape[:2]), size * rng.uniform(0.4, 2.0)))
        y, x = rng.integers(picture.shape[0] - side + 1), rng.integers(picture.shape[1] - side + 1)
        part = np.rot90(picture[y : y + side, x : x + side], rng.integers(4))
        return np.ascontiguousarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA))

    def spoil(self, canvas):
        rng = self.rng
        if rng.random() < 0.2:
            canvas = np.clip(canvas * rng.uniform(0.15, 0.6), 0, 255).astype(np.uint8)
        elif rng.random() < 0.2:
            canvas = np.clip((canvas - 128.0) * rng.uniform(0.5, 1.5) + 128 + rng.uniform(-50, 50), 0, 255).astype(np.uint8)
        if rng.random() < 0.12:
            canvas = cv2.cvtColor(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if rng.random() < 0.12:
            canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 1.8))
        if rng.random() < 0.15:
            canvas = np.clip(canvas + rng.normal(0, rng.uniform(2, 14), canvas.shape), 0, 255).astype(np.uint8)
        if rng.random() < 0.6:
            kind, option = (".webp", cv2.IMWRITE_WEBP_QUALITY) if rng.random() < 0.2 else (".jpg", cv2.IMWRITE_JPEG_QUALITY)
            data = cv2.imencode(kind, canvas, [option, int(rng.integers(25, 97))])[1]
            canvas = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return canvas

    def make(self):
        rng, size = self.rng, self.size
        canvas, faces, unsure = self.background(), [], []
        kind = rng.random()
        if kind < 0.5:
            width = math.exp(rng.uniform(math.log(22), math.log(size * 0.8)))
            self.put(canvas, faces, unsure, (0, 0, size, size), width, angle(rng), 0.95)
        elif kind < 0.84:
            count = rng.choice([2, 3, 3, 4, 5, 6, 7])
            side, common = size / count, angle(rng) if rng.random() < 0.4 else None
            for cell in range(count * count):
                if rng.random() < 0.08:
                    continue
                degrees = angle(rng) if common is None else common + rng.normal(0, 8)
                place = (cell % count * side, cell // count * side, side, side)
                self.put(canvas, faces, unsure, place, side / rng.uniform(1.45, 2.4), degrees, 0.5)
        return self.spoil(canvas), faces, unsure


def targets(faces, unsure, size):
    """For each map: whether a cell is a face's, what it counts, and the face."""
    maps = []
    for must, may, stride in zip(MUST, MAY, STRIDES):
        cells = size // stride
        y, x = np.mgrid[0:cells, 0:cells] * float(stride)
        is_face, counts = np.zeros((cells, cells), np.float32), np.ones((cells, cells), np.float32)
        told, nearest = np.zeros((14, cells, cells), np.float32), np.full((cells, cells), np.inf)
        for face in unsure:
            half = face[3:5] / 2 + stride
            counts[(abs(x + stride / 2 - face[1]) < half[0]) & (abs(y + stride / 2 - face[2]) < half[1])] = 0
        for face in faces:
            width = 0.9 * math.sqrt(face[3] * face[4])
            if not may[0] < width < may[1]:
                continue
            distance = np.hypot(x + 0.3 * stride - face[1], y + 0.3 * stride - face[2]) / stride
            counts[(distance < 2.6) & (is_face == 0)] = 0
            if must[0] < width < must[1]:
                own = (distance < 1.4) & (distance < nearest)
                nearest[own], is_face[own], counts[own] = distance[own], 1, 1
                told[:, own] = face[1:, None]
        maps.append((is_face, counts, told))
    return maps


def loss_of(outputs, told):
    def off(error, knee):
        return knee * (torch.sqrt(1 + (error / knee) ** 2) - 1)

    count = sum(float(level[0].sum()) for level in told) + 1
    total = 0
    for out, (is_face, counts, faces), stride in zip(outputs, told, STRIDES):
        total = total + F.binary_cross_entropy_with_logits(out[:, 1], is_face, weight=counts, reduction="sum") / count
        n, row, column = (is_face > 0).nonzero(as_tuple=True)
        if not len(n):
            continue
        cell, face = out[n, :, row, column], faces[n, :, row, column]
        corner = torch.stack([column, row], 1).float() * stride
        size = torch.sqrt(face[:, 2:3] * face[:, 3:4])
        centre = corner + cell[:, 2:4] * stride
        extent = torch.exp(cell[:, 4:6]) * stride
        points = cell[:, 6:] * stride + corner.repeat(1, 5)
        total = total + 8 * off((centre - face[:, :2]) / size, 0.02).sum() / count
        total = total + 2 * off(torch.log(extent / face[:, 2:4]), 0.04).sum() / count
        total = total + off((points - face[:, 4:]) / size, 0.04).sum() / count
        with torch.no_grad():
            low = torch.maximum(centre - extent / 2, face[:, :2] - face[:, 2:4] / 2)
            high = torch.minimum(centre + extent / 2, face[:, :2] + face[:, 2:4] / 2)
            shared = (high - low).clamp(0).prod(1)
            union = shared / (extent.prod(1) + face[:, 2:4].prod(1) - shared)
        total = total + 0.5 * F.binary_cross_entropy_with_logits(cell[:, 0], union, reduction="sum") / count
    return total


def write(net, path, about):
    """f16, for RGB of 0..255."""
    tensors = {name: value.detach().clone() for name, value in net.state_dict().items()}
    tensors["stem.weight"] = (tensors["stem.weight"] / 255).flip(1)
    save_file({name: value.half().contiguous() for name, value in tensors.items()}, path, {"grnet_face": json.dumps(about)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    parser.add_argument("--faceless", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--count", type=int, default=3600, help="pictures to draw, by the root of their source's size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="weights/face.safetensors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)

    net = teacher(options.teacher).to(memory_format=torch.channels_last)
    table = [row for row in csv.DictReader(open(options.pictures / "faces.csv")) if row["split"] == "train" and row["crop"] == "find"]
    sizes = collections.Counter(row["source"] for row in table)
    weights = np.array([sizes[row["source"]] ** -0.5 for row in table])
    drawn = rng.choice(len(table), min(options.count, len(table)), replace=False, p=weights / weights.sum())
    rows = []
    for at in drawn:
        data = (options.pictures / table[at]["path"]).read_bytes()
        faces = look(net, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        if (faces[:, 0] > 0.8).any():
            rows.append((table[at]["source"], data, faces))
    paths = sorted(options.faceless.iterdir()) if options.faceless else []
    faceless = [picture for picture in (cv2.imread(str(path)) for path in paths) if picture is not None]
    print(f"{len(rows)} pictures with faces, {len(faceless)} without")

    maker = Maker(rows, faceless, rng)
    net.train()
    net.stem.weight.data *= 255
    average = copy.deepcopy(net)
    optimiser = torch.optim.Adam(net.parameters(), betas=(0.9, 0.99))
    started, step = time.time(), 0
    while (done := (time.time() - started) / (60 * options.minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))
        maker.size = int(rng.choice([192, 256, 256, 320]))
        made = [maker.make() for _ in range(5 if maker.size == 320 else 8)]
        pixels = torch.from_numpy(np.stack([canvas for canvas, _, _ in made])).permute(0, 3, 1, 2).float().div_(255)
        maps = [targets(faces, unsure, maker.size) for _, faces, unsure in made]
        told = [[torch.from_numpy(np.stack([m[level][part] for m in maps])) for part in range(3)] for level in range(3)]
        loss = loss_of(net(pixels.to(memory_format=torch.channels_last)), told)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 4.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            for mean, value in zip(average.parameters(), net.parameters()):
                mean.lerp_(value, 1 - min(0.998, step / (step + 20)))
        if step % 50 == 0:
            print(step, round(time.time() - started), round(float(loss.detach()), 4), flush=True)
    write(
        average,
        options.out,
        {
            "format": 1,
            "name": "face-1",
            "started_from": "yunet_n_320_320.onnx, ShiqiYu/libfacedetection.train, Apache-2.0",
            "started_from_sha256": hashlib.sha256(pathlib.Path(options.teacher).read_bytes()).hexdigest(),
            "steps": step,
            "licence": "Apache-2.0 for what comes from YuNet; fine-tuned on pictures for research use (MODEL_CARD.md)",
        },
    )


if __name__ == "__main__":
    main()
