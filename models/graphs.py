"""The networks as ONNX graphs in f32, batch norm folded. `export.py` calls it."""

import onnx
import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8  # both old enough for every reader in use; nothing here needs more

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


def tap_list(model):
    """(output, channels, stride) of each."""
    dims = [(o.name, o.type.tensor_type.shape.dim) for o in model.graph.output]
    return [(name, dim[1].dim_value, int(dim[2].dim_param.split("_")[1])) for name, dim in dims]


def fold(weight, gamma, beta, mean, variance, epsilon, bias=0.0):
    """Convolution (output channels first) followed by batch norm -> weight and bias of one convolution, in double precision."""
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in (gamma, beta, mean, variance))
    factor = gamma / np.sqrt(variance + epsilon)
    return np.asarray(weight, np.float64) * factor[:, None, None, None], beta + (bias - mean) * factor


def same_pads(side, stride):
    """TensorFlow's SAME for sizes that the stride divides: the odd zero goes to the bottom and right."""
    total = side - stride if side > stride else 0
    return [total // 2, total // 2, total - total // 2, total - total // 2]


def centred_pads(side, stride):
    """PyTorch's usual padding."""
    return [side // 2] * 4


def inverted_bottlenecks(name, weights, stem, layers, stages, pads, epsilon):
    """A network of inverted bottlenecks without its head; blocks counted from 0 as the PatchCore and PNI papers do. `stem` names the first
    convolution and its norm, `layers` those of a block in order; `stages`: (repeats, stride, expansion, channels)."""
    g = Graph(name)
    low, high = g.constant("relu6.low", np.float32(0)), g.constant("relu6.high", np.float32(6))

    def conv(name, x, source, stride=1, groups=1, relu=True):
        weight, norm = source
        w = weights[f"{weight}.weight"]
        x = g.conv(name, x, *fold(w, *(weights[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")), epsilon),
                   stride, pads(w.shape[2], stride), groups)
        return g.node("Clip", f"{name}.relu6", [x, low, high]) if relu else x

    x, channels, block = conv("stem", "image", stem, stride=2), 32, 0
    taps = {2: "tap8", 4: "tap16"}  # the last block of a stage, where the next one halves the map
    for stage, (repeats, stride, expand, out) in enumerate(stages):
        for i in range(repeats):
            here, step, wide = f"block{block}", stride if i == 0 else 1, channels * expand
            *expansion, depthwise, project = layers(block)
            y = conv(f"{here}.expand", x, *expansion) if expand != 1 else x
            y = conv(f"{here}.depthwise", y, depthwise, step, wide)
            y = conv(f"{here}.project", y, project, relu=False)
            if step == 1 and channels == out:
                y = g.node("Add", f"{here}.add", [y, x], taps.get(stage) if i == repeats - 1 else None)
            x, channels, block = y, out, block + 1
    return g.model([("tap8", stages[2][3], 8), ("tap16", stages[4][3], 16)])


def lite(number, weights):
    """EfficientNet-Lite0, 1 or 2: the same but for the repeats and, in Lite2, the widths."""
    def layers(block):
        return [(f"_blocks.{block}._{kind}_conv", f"_blocks.{block}._bn{i}") for i, kind in enumerate(("expand", "depthwise", "project"))]

    repeats = (1, 2, 2, 3, 3) if number == 0 else (1, 3, 3, 4, 4)
    widths = (16, 24, 48, 88, 120) if number == 2 else (16, 24, 40, 80, 112)
    stages = list(zip(repeats, (1, 2, 2, 2, 1), (1, 6, 6, 6, 6), widths))
    return inverted_bottlenecks(f"efficientnet-lite{number}", weights, ("_conv_stem", "_bn0"), layers, stages, same_pads, 1e-3)


def mobilenet2(weights):
    def layers(block):  # a convolution, its norm, a ReLU6, and so on; the first block does not expand
        return [(f"features.{block + 1}.conv.{i}", f"features.{block + 1}.conv.{i + 1}") for i in ((0, 3) if block == 0 else (0, 3, 6))]

    stages = [(1, 1, 1, 16), (2, 2, 6, 24), (3, 2, 6, 32), (4, 2, 6, 64), (3, 1, 6, 96)]
    return inverted_bottlenecks("mobilenet-v2", weights, ("features.0.0", "features.0.1"), layers, stages, centred_pads, 1e-5)


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
