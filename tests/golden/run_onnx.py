"""Runs FOLDER/model.onnx in ONNX Runtime on FOLDER/INPUT.f32 (one raw little-endian file an input) and writes the outputs,
one after the other, as raw f32 to standard output. For tests/onnx.rs; needs numpy and onnxruntime."""

import json
import pathlib
import sys

import numpy as np
import onnxruntime

folder = pathlib.Path(sys.argv[1])
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
inputs = {}
for declared in session.get_inputs():
    values = np.fromfile(folder / f"{declared.name}.f32", dtype="<f4")
    batch, *shape = declared.shape
    assert batch == "batch" and declared.type == "tensor(float)", declared
    inputs[declared.name] = values.reshape(-1, *shape)
meta = session.get_modelmeta()
assert json.loads(meta.custom_metadata_map["grnet"])["format"] == "grnet.model/1", meta.custom_metadata_map
names = ["logits_fused", "logits_spatial", "logits_residual"]
assert [output.name for output in session.get_outputs()] == names
for logits in session.run(names, inputs):
    sys.stdout.buffer.write(logits.astype("<f4").tobytes())
