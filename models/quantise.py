"""Rounds an f32 network to int8 (QDQ): ranges, equalisation, weights with error feedback. `export.py` calls it.

README.md says what the int8 file contains and how well it does.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphs import Graph, tap_list

# An int8 file takes (v - 127) / 128 with scale 1/128 and zero point 127: the quantised value is the camera's byte, without rounding.
BYTE_MEAN, BYTE_STD = [127] * 3, [128] * 3

def load_image(path, size=None):
    """1 x 3 x height x width, 0..255."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    if size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).transpose(2, 0, 1)[None]


def normalised(image, mean, std):
    """Whole numbers 0..255 as the network sees them."""
    mean, std = (np.float32(v).reshape(1, 3, 1, 1) for v in (mean, std))
    return np.ascontiguousarray((np.clip(np.rint(image), 0, 255) - mean) / std, np.float32)


def images_in(folder):
    found = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    if not found:
        raise SystemExit(f"{folder}: no images")
    return found


def calibration_inputs(folder):
    """Each image as it is, darker and brighter: what lamps and exposures do to the same part."""
    for path in images_in(folder):
        image = load_image(path)
        for variant in (image, image[..., ::-1] * 0.35, 255 - (255 - image) * 0.35):
            yield normalised(variant, BYTE_MEAN, BYTE_STD)


def session(model):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3  # one thread: the same sums in the same order
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def constants_of(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def from_bytes(model, mean, std):
    """`model`, which takes (v - mean) / std, as one that takes (v - 127) / 128: the first convolution absorbs the difference. What it pads with
    is then v = 127 instead of v = mean, which is the only thing that changes, at the outermost cells."""
    first = next(n for n in model.graph.node if "image" in n.input)
    out, values = onnx.ModelProto(), constants_of(model)
    out.CopyFrom(model)
    mean, std, byte_mean, byte_std = (np.float64(v)[None, :, None, None] for v in (mean, std, BYTE_MEAN, BYTE_STD))
    w, b = (values[name].astype(np.float64) for name in first.input[1:])
    put(out, {first.input[1]: w * byte_std / std, first.input[2]: b + (w * (byte_mean - mean) / std).sum((1, 2, 3))})
    return out


def put(model, values):
    """Replaces constants, rounded to f32."""
    for t in model.graph.initializer:
        if t.name in values:
            t.CopyFrom(numpy_helper.from_array(values[t.name].astype(np.float32), t.name))


def observe(model, inputs, measured, positions=256):
    """What calibration needs to know of the float network: per convolution the second moments of its inputs (with a one appended for
    the bias), and of each of the `measured` tensors a sample of its values, channels first. At most `positions` places of each map count."""
    convs = [n for n in model.graph.node if n.op_type == "Conv"]
    names = sorted(({n.input[0] for n in convs} | set(measured)) - {"image"})
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {o.name for o in probe.graph.output}
    probe.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in known)
    run, moments, samples, count = session(probe), {}, {name: [] for name in measured}, 0
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
        for name in measured:
            v = tensors[name][0].reshape(tensors[name].shape[1], -1)
            samples[name].append(v[:, :: max(1, v.shape[1] // 128) | 1])
    return {k: v / count for k, v in moments.items()}, {k: np.concatenate(v, 1) for k, v in samples.items()}


def measured_tensors(model, relu6):
    """Tensors whose range is not known: all but what comes before a ReLU, what a maximum passes on and, unless `relu6`, a ReLU6's."""
    limited, known = set(limits(model)), ("MaxPool",) if relu6 else ("MaxPool", "Clip")
    return [n.output[0] for n in model.graph.node if n.op_type not in known and n.output[0] not in limited]


def limits(model):
    """What is limited -> what comes out: ReLU6 and ReLU."""
    return {n.input[0]: n.output[0] for n in model.graph.node if n.op_type in ("Clip", "Relu")}


def equalise(model, samples, power=1.0):
    """Scales the channels of the measured tensors to a like range, by the convolutions before and after: exact, as what lies between (additions,
    ReLU, maxima) scales along. A measured ReLU6 cuts a channel at what that channel reached instead of 6. -> the model and, for each
    output, the factors that give the true values back. All tensors that such nodes tie together share their factors."""
    group = {}
    for n in model.graph.node:
        if n.op_type in ("Add", "Relu", "MaxPool") or (n.op_type == "Clip" and n.output[0] in samples):
            inputs = n.input[:1] if n.op_type == "Clip" else n.input
            tied = {t for name in (*inputs, n.output[0]) for t in group.get(name, {name})}
            group.update({t: tied for t in tied})
    factors = {}
    for name, values in samples.items():
        if name not in factors:
            tied = sorted(group.get(name, {name}))
            reach = np.max([np.quantile(np.abs(samples[t]), 0.9999, axis=1) for t in tied if t in samples], axis=0).astype(np.float64)
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
                by_input = [[1, -1, 1, 1], [-1, 1, 1, 1]][w.shape[1] == 1]  # depthwise: the input's channels are the output's
                w = w * factors[n.input[0]].reshape(by_input)
            put(out, {n.input[1]: w, n.input[2]: b})
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


def quantise(model, inputs, power=1.0, relu6=False):
    """Static QDQ: int8 weights per output channel, uint8 activations, int32 biases, every node; a Clip or Relu becomes the saturation of
    the QuantizeLinear behind it. The scale of the picture is fixed, the others are measured on `inputs`. A ReLU6's is fixed at
    6/255, unless `relu6`: then it is measured and equalised too, for networks whose channels stay far below 6."""
    inputs, measured = list(inputs), measured_tensors(model, relu6)
    _, samples = observe(model, inputs[::3], measured)
    model, factors = equalise(model, samples, power)
    moments, samples = observe(model, inputs, measured)
    values, g = constants_of(model), Graph(f"{model.graph.name}-int8")
    levels = {"image": (np.float32(1 / 128), 127)}
    levels.update({name: activation_scale(sample) for name, sample in samples.items()})
    limited = limits(model)
    for n in model.graph.node:
        if n.op_type == "Clip" and not relu6:
            levels[n.output[0]] = np.float32(6 / 255), 0
        elif n.op_type == "MaxPool":  # makes no new values
            levels[n.output[0]] = levels[n.input[0]]

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
        if n.op_type in ("Clip", "Relu"):
            continue
        name, real = limited.get(n.output[0], n.output[0]), f"{n.name}_real"
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
    # The last narrow tensor feeds nothing but its output.
    used = {name for node in g.nodes for name in node.input} | set(factors)
    g.nodes = [node for node in g.nodes if node.output[0] in used]
    return g.model(tap_list(model))
