"""Writes the *.pth files beside it, which tests/start.rs reads: small state dicts in both forms of torch.save, and files
that must be refused. Made with torch 2.9.1; values are simple enough for the test to restate them."""

import collections
import io
import os
import pathlib
import zipfile

import torch

here = pathlib.Path(__file__).parent
base = torch.arange(6, dtype=torch.float32)
state = collections.OrderedDict(
    float=torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1) / 8,
    half=torch.tensor([1.5, -65504.0], dtype=torch.float16),
    bfloat=torch.tensor([[3.140625], [-2.0]], dtype=torch.bfloat16),
    double=torch.tensor([0.1], dtype=torch.float64),
    parameter=torch.nn.Parameter(torch.tensor([7.0])),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 3),
    base=base,
    every_second=base[1::2],
    counter=torch.tensor(12),
)
state._metadata = collections.OrderedDict([("", {"version": 1})])


class Evil:
    def __reduce__(self):
        return os.system, ("touch a-pickle-was-run",)


def save(name, value, old=False):
    torch.save(value, here / f"{name}.pth", _use_new_zipfile_serialization=not old)


save("state", state)
save("state_old", state, old=True)
save("evil", {"conv1.weight": Evil()})
save("evil_old", {"conv1.weight": Evil()}, old=True)
save("checkpoint", {"epoch": 3, "state_dict": state})
save("repeated", {"conv1.weight": torch.ones(1).expand(1_000_000)})
save("integers", {"conv1.weight": torch.ones(2, dtype=torch.int32)})

plain = io.BytesIO()
torch.save({"conv1.weight": torch.ones(2)}, plain)
with zipfile.ZipFile(plain) as source, zipfile.ZipFile(here / "compressed.pth", "w", zipfile.ZIP_DEFLATED) as target:
    for name in source.namelist():
        target.writestr(name, source.read(name))
