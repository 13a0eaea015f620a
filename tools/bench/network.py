"""GRnet in PyTorch, for a comparison of speed: the shipped weights, the graph of design.md, one input for each stream."""

import json
import struct

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


class Block(nn.Module):
    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + skip)


class Trunk(nn.Module):
    """ResNet-18 up to its last maps."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        width_in = 64
        for stage, width in enumerate((64, 128, 256, 512), 1):
            blocks = [Block(width_in, width, 1 if stage == 1 else 2), Block(width, width, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            width_in = width

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def attended(maps, gamma):
    """Channel attention as the official code of DANet has it, and the mean over all places."""
    flat = maps.flatten(2)
    energy = flat @ flat.transpose(1, 2)
    attention = (energy.max(-1, keepdim=True).values - energy).softmax(-1)
    return (gamma * (attention @ flat) + flat).mean(2)


class GRnet(nn.Module):
    def __init__(self, w_spatial, w_residual):
        super().__init__()
        self.spatial, self.residual = Trunk(), Trunk()
        self.gamma_s, self.gamma_r = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.fc_s, self.fc_r, self.fc = nn.Linear(512, 2), nn.Linear(512, 2), nn.Linear(512, 2)
        self.w_spatial, self.w_residual = w_spatial, w_residual

    def forward(self, picture, traces):
        s, r = self.spatial(picture), self.residual(traces)
        fused = self.w_spatial * attended(s, self.gamma_s) + self.w_residual * attended(r, self.gamma_r)
        return self.fc(fused), self.fc_s(s.mean((2, 3))), self.fc_r(r.mean((2, 3)))


def meta_of(path):
    """The metadata of a model file of grnet's."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["grnet"])


def load(path):
    """A model file of grnet's, int8 with a scale for each output channel or floating point."""
    stored, tensors = load_file(path), {}
    for name, value in stored.items():
        if name.endswith(".scale"):
            continue
        if value.dtype == torch.int8:
            value = value.float() * stored[f"{name}.scale"].view(-1, *[1] * (value.dim() - 1))
        tensors[name] = value.float()
    settings = meta_of(path)["network"]
    network = GRnet(settings["w_spatial"], settings.get("w_residual", settings["w_spatial"]))
    problems = network.load_state_dict(tensors, strict=False)
    wrong = [name for name in problems.missing_keys if "num_batches" not in name] + problems.unexpected_keys
    if wrong:
        raise SystemExit(f"{path}: expected the tensors of GRnet, found others: {wrong[:5]}")
    return network.eval()
