#!/usr/bin/env python3
"""The outputs of ONNX Runtime for the shipped backbones, for tests/onnxruntime.rs.

    pip install numpy==2.4.6 onnxruntime==1.31.1
    python tests/reference/expected_taps.py

Writes tap8 then tap16 of each file for one drawn 64 x 64 picture, little-endian f32.
"""

import pathlib

import numpy
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
SIDE = 64


def picture():
    """The same integers as in tests/onnxruntime.rs."""
    c, y, x = numpy.mgrid[0:3, 0:SIDE, 0:SIDE]
    value = (7 * x + 13 * y + 50 * c + (x * y) % 31) % 256
    return ((value - 127) / 128).astype(numpy.float32)[None]


for precision in ["f32", "int8"]:
    model = HERE.parent.parent / "models" / f"efficientnet-lite0-{precision}.onnx"
    options = onnxruntime.SessionOptions()
    # As the file states: optimisations can round differently.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    taps = session.run(["tap8", "tap16"], {"image": picture()})
    data = b"".join(t.astype("<f4").tobytes() for t in taps)
    (HERE / f"efficientnet-lite0-{precision}.f32le").write_bytes(data)
    print(precision, [t.shape for t in taps], len(data))
