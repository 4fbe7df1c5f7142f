#!/usr/bin/env python3
"""partgate beside its peers: same frame, same bank, same number of threads, in one run.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install onnxruntime==1.31.1 onnx==1.23.2 torch==2.15.0 numpy pillow anomalib
    cargo build --release --workspace
    /tmp/peers/bin/python benches/peers.py PRODUCT.pgp --threads 1
    /tmp/peers/bin/python benches/peers.py --fit PHOTOS --sizes 224,256,384,512,768 --banks 1000,4000,16000,50000

The peers:
  partgate             the whole inspection, from the frame in memory to the verdict (`partgate bench`)
  partgate: network    the backbone in it
  ONNX Runtime f32     the network alone
  ONNX Runtime int8    the network alone, the product's own file
  PyTorch PatchCore    the whole inspection, written in PyTorch as usual, f32, with the product's bank
  anomalib PatchCore   anomalib's own model, on the same network with random weights and a random bank of the same size

What is not installed is left out, and the script says so. In every round each peer runs once, in turn, so a machine that slows
down slows all of them. A round gives one median for each peer. The tables have the median, p10 and p90 of the rounds. A
ratio is taken inside a round, and the table has the median of the rounds.

Writes peers.md, peers.svg and peers.json into --out.
"""
import argparse
import dataclasses
import io
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = ("partgate", "onnxruntime", "pytorch", "anomalib")
BASELINE = "PyTorch PatchCore"


# ---- products ----------------------------------------------------------------------------------------------------------


class Product:
    """What the peers need of a bundle: `partgate inspect` says where everything is in the file."""

    def __init__(self, program, path):
        import numpy
        from PIL import Image

        done = subprocess.run([program, "inspect", path, "--json"], check=True, stdout=subprocess.PIPE)
        self.path, self.about = path, json.loads(done.stdout)
        data = pathlib.Path(path).read_bytes()

        def section(kind):
            found = [s for s in self.about["sections"] if s["kind"] == kind and s["member"] == 0]
            return found[0], data[found[0]["offset"] :][: found[0]["length"]]

        self.network = section("backbone")[1]
        place, values = section("bank")
        self.bank = numpy.frombuffer(values, "<f4").reshape(place["shape"])
        golden = Image.open(io.BytesIO(section("golden-image")[1])).convert("RGB")
        self.frame = numpy.array(golden)
        self.side, self.sigma = self.about["input"]["crop"], self.about["method"]["sigma"]
        self.threshold = self.about["thresholds"]["unknown"]["threshold"]
        # The PyTorch pipeline is the plain bank. Other rules are more work.
        method = self.about["method"]
        self.is_plain = method["rule"] == "patchcore" and not (method["density"] or method["refinement"])

    @property
    def rows(self):
        return len(self.bank)

    def f32(self, folder):
        """The f32 file of the same network, and its input: shipped, or in `folder`, where `models/export.py` made both files."""
        name = self.about["backbone"]["name"].replace("int8", "f32") + ".onnx"
        for path in (ROOT / "models" / name, folder / name):
            if path.exists():
                described = path.with_name(path.name + ".json")
                about = json.loads(described.read_text()) if described.exists() else self.about["backbone"]
                return path, about["input"]
        raise FileNotFoundError(f"{name}: neither shipped nor in {folder}")


def fit(args, size, rows):
    """A product with the plain bank of `rows` rows at `size` pixels. It is made once and kept in --out."""
    path = args.out / f"{args.backbone_name}-{size}-{rows}.pgp"
    if path.exists():
        return path
    # A bank of n rows needs more than n cells to choose from. More images than that only cost time.
    count = max(16, math.ceil(1.3 * rows / (size // 8) ** 2))
    images = sorted(p for p in args.fit.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    if len(images) < count:
        raise SystemExit(f"--fit {args.fit}: {len(images)} images, but a bank of {rows} rows at {size} pixels needs {count}")
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        for number, image in enumerate(images[:count]):
            shutil.copy(image, pathlib.Path(folder, f"{number:05}{image.suffix}"))
        command = [args.trainer, "fit", folder, "-o", path, "--size", size, "--method", "patchcore", "--folds", 2, "--bank-ratio", 1,
                   "--min-bank", rows, "--max-bank", rows, "--backbone", args.backbone]
        print("fitting", path.name, flush=True)
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return path


# ---- peers -------------------------------------------------------------------------------------------------------------


class Timed:
    """A peer inside this process: `run` inspects the frame once."""

    def __init__(self, name, run):
        self.name, self.run, self.runs = name, run, 1

    def warm_up(self, seconds):
        self.run()
        start = time.perf_counter()
        self.run()
        self.runs = repetitions(1000 * (time.perf_counter() - start), seconds)

    def round(self):
        """{name: median, ms} of this round."""
        times = []
        for _ in range(self.runs + 1):
            start = time.perf_counter()
            self.run()
            times.append(1000 * (time.perf_counter() - start))
        return {self.name: statistics.median(times[1:])}  # the caches were another peer's before the first one


class Partgate:
    """partgate measures itself, stage by stage, in a process of its own."""

    name = "partgate"

    def __init__(self, args, product):
        self.args, self.product, self.runs, self.report = args, product, 3, None

    def warm_up(self, seconds):
        self.runs = repetitions(self.round()["partgate"], seconds)

    def round(self):
        command = [self.args.partgate, "bench", self.product.path, "--json", "--threads", self.args.threads, "--runs", self.runs, "--warmup", 2]
        done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
        self.report = json.loads(done.stdout)
        stages = {name: stage["p50_ms"] for name, stage in self.report["stages"].items()}
        found = {"partgate": self.report["total"]["p50_ms"], "partgate: network": stages.pop("backbone")}
        return found | {f"partgate: {name}": value for name, value in stages.items()}


def repetitions(milliseconds, seconds):
    """How often a peer runs in a round: slow peers at least three times."""
    return min(100, max(3, round(1000 * seconds / max(milliseconds, 0.01))))


def onnxruntime_peers(args, product):
    import numpy
    import onnxruntime

    image = numpy.random.default_rng(0).normal(size=(1, 3, product.side, product.side)).astype(numpy.float32)
    files = {product.about["backbone"]["precision"]: product.network}
    try:
        files["f32"] = product.f32(args.networks)[0].read_bytes()
    except FileNotFoundError as error:
        print(f"ONNX Runtime f32 is left out: {error}", flush=True)
    for precision, data in sorted(files.items()):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: image}
        yield Timed(f"ONNX Runtime {precision}", lambda session=session, feed=feed: session.run(None, feed))


def torch_network(path):
    """The f32 file as a PyTorch module: the same weights, batch norm folded. -> module, both taps."""
    import onnx
    import torch
    from onnx import helper, numpy_helper
    from torch.nn import functional

    graph = onnx.load(path).graph
    constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}

    def layer(node):
        a = {k.name: helper.get_attribute_value(k) for k in node.attribute}
        if node.op_type in ("Conv", "MaxPool"):
            top, left, bottom, right = a["pads"]
            # PyTorch pads both sides alike. TensorFlow's SAME needs a step of its own.
            apart = (left, right, top, bottom) if (top, left) != (bottom, right) else None
            inside = 0 if apart else (top, left)
        if node.op_type == "Conv":
            w, b = (constants[name] for name in node.input[1:])

            def conv(x):
                x = functional.pad(x, apart) if apart else x
                return functional.conv2d(x, w, b, a["strides"], inside, 1, a["group"])

            return conv
        if node.op_type == "MaxPool" and not apart:
            return lambda x: functional.max_pool2d(x, a["kernel_shape"], a["strides"], inside)
        simple = {"Clip": functional.relu6, "Relu": functional.relu, "Add": torch.add}
        if node.op_type in simple:
            return simple[node.op_type]
        raise SystemExit(f"{path}: node {node.name}: {node.op_type} is not known here")

    steps = [(layer(n), [name for name in n.input if name not in constants], n.output[0]) for n in graph.node]
    taps = [o.name for o in graph.output]

    class Network(torch.nn.Module):
        def forward(self, image):
            values = {"image": image}
            for run, inputs, output in steps:
                values[output] = run(*(values[name] for name in inputs))
            return [values[tap] for tap in taps]

    return Network().eval()


def pytorch_peers(args, product):
    """PatchCore as it is usually written: no rounding, nothing fused by hand."""
    import torch
    from torch.nn import functional

    path, description = product.f32(args.networks)
    network, side = torch_network(path), product.side
    mean, std = (torch.tensor(description[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    bank = torch.from_numpy(product.bank.copy())
    turned, squares = bank.T.contiguous(), (bank * bank).sum(1)
    grid, radius = side // 8, int(4 * product.sigma + 0.5)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / product.sigma) ** 2)
    kernel = kernel / kernel.sum()
    chunk = max(64, (16 << 20) // product.rows)  # cells whose distances take 64 MiB

    @torch.inference_mode()
    def inspect():
        image = torch.from_numpy(product.frame).permute(2, 0, 1)[None].float()
        image = functional.interpolate(image, (side, side), mode="bilinear", antialias=True)
        fine, coarse = network((image - mean) / std)
        fine, coarse = (functional.avg_pool2d(tap, 3, 1, 1) for tap in (fine, coarse))
        coarse = functional.interpolate(coarse, (grid, grid), mode="bilinear")
        cells = torch.cat([fine, coarse], 1).flatten(2)[0].T
        # |x - c|^2 = |x|^2 + |c|^2 - 2 x.c; torch.cdist does the same and takes a root of every distance.
        nearest = torch.cat([torch.addmm(squares, part, turned, alpha=-2).min(1)[0] for part in cells.split(chunk)])
        scores = (nearest + (cells * cells).sum(1)).clamp(min=0).sqrt().view(1, 1, grid, grid)
        scores = functional.interpolate(scores, (side, side), mode="bilinear")
        scores = functional.pad(scores, [radius] * 4, mode="reflect")
        scores = functional.conv2d(functional.conv2d(scores, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
        score = float(scores.max())
        return score, "OK" if score <= product.threshold else "not OK"

    @torch.inference_mode()
    def alone(image=torch.zeros(1, 3, side, side)):
        return network(image)

    product.about["pytorch_score"] = inspect()[0]
    yield Timed(BASELINE, inspect)
    yield Timed("PyTorch network", alone)


def anomalib_peers(args, product):
    """anomalib's model with the same network and bank size. Weights and bank are random: they do not change the time."""
    import torch
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from torch.nn import functional

    name = product.about["backbone"]["name"]
    known = {"efficientnet-lite": ("tf_efficientnet_lite{}", ["blocks.2", "blocks.4"]), "mobilenet-v": ("mobilenetv2_100", ["blocks.2", "blocks.4"]),
             "resnet": ("resnet50", ["layer2", "layer3"])}
    found = [(timm.format(name[len(start) :][:1]), layers) for start, (timm, layers) in known.items() if name.startswith(start)]
    if not found:
        raise ImportError(f"no such network as {name} in anomalib")
    timm, layers = found[0]
    model = PatchcoreModel(backbone=timm, layers=layers, pre_trained=False).eval()
    side = product.side
    with torch.inference_mode():
        length = model.generate_embedding(model.feature_extractor(torch.zeros(1, 3, side, side))).shape[1]
    model.memory_bank = torch.rand(product.rows, length)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    @torch.inference_mode()
    def inspect():
        image = torch.from_numpy(product.frame).permute(2, 0, 1)[None].float() / 255
        image = functional.interpolate(image, (side, side), mode="bilinear", antialias=True)
        return float(model((image - mean) / std).pred_score)

    yield Timed("anomalib PatchCore", inspect)


# ---- measurement -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    """One product's figures: for each name the medians of the rounds, ms."""
    side: int
    rows: int
    dimensions: int
    rule: str
    scores: dict
    rounds: dict

    def quantile(self, name, share):
        ordered = sorted(self.rounds[name])
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def median(self, name):
        return statistics.median(self.rounds[name])

    def ratio(self, name, baseline):
        return statistics.median(a / b for a, b in zip(self.rounds[name], self.rounds[baseline]))


def measure(args, product):
    makers = {"partgate": lambda args, product: [Partgate(args, product)], "onnxruntime": onnxruntime_peers, "pytorch": pytorch_peers,
              "anomalib": anomalib_peers}
    peers = []
    for name in args.peers:
        try:
            peers += makers[name](args, product)
        except Exception as error:  # a peer that does not run here must not stop the others
            print(f"{name} is left out: {type(error).__name__}: {error}", flush=True)
    if "pytorch" in args.peers or "anomalib" in args.peers:
        try:
            import torch
            torch.set_num_threads(args.threads)
        except ImportError:
            pass
    for peer in peers:
        peer.warm_up(args.seconds)
    rounds = {}
    for number in range(args.rounds):
        # Another peer begins each time, so that none always follows the same one.
        shift = number % len(peers)
        for peer in peers[shift:] + peers[:shift]:
            for name, value in peer.round().items():
                rounds.setdefault(name, []).append(value)
    scores = {"the same frame": product.about["goldens"][0]["score"], "in PyTorch": product.about.get("pytorch_score")}
    return Point(product.side, product.rows, product.bank.shape[1], product.about["method"]["rule"] if product.is_plain else "other", scores, rounds)


# ---- output ------------------------------------------------------------------------------------------------------------


def machine():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def versions():
    found = []
    for name in ("onnxruntime", "torch", "anomalib"):
        try:
            found.append(f"{name} {__import__(name).__version__}")
        except ImportError:
            found.append(f"no {name}")
    return ", ".join(found)


def markdown(args, points):
    load = os.getloadavg()[0]
    lines = [f"{machine()}, load {load:.1f}; {args.threads} thread(s); {args.rounds} rounds; {versions()}", ""]
    for point in points:
        baseline = args.baseline if args.baseline in point.rounds else next(iter(point.rounds))
        lines += [f"{point.side} pixels, bank of {point.rows} rows of {point.dimensions} values", "",
                  f"| | median, ms | p10 | p90 | / {baseline} |", "|---|---:|---:|---:|---:|"]
        for name in point.rounds:
            low, high = point.quantile(name, 0.1), point.quantile(name, 0.9)
            lines.append(f"| {name} | {point.median(name):.2f} | {low:.2f} | {high:.2f} | {point.ratio(name, baseline):.2f} |")
        partgate, other = point.scores.values()
        if other is not None:
            reason = "" if point.rule == "patchcore" else "; the product has more than the plain bank"
            lines += ["", f"Score of the frame: {partgate:.3f} in partgate, {other:.3f} in PyTorch{reason}."]
        lines.append("")
    return "\n".join(lines)


def svg(points):
    """Cost over the input side and over the bank, both axes logarithmic. Written by hand, to need nothing."""
    panels = [("input side, pixels", "side", "rows"), ("bank, rows", "rows", "side")]
    shown = [n for n in points[0].rounds if not n.startswith("partgate: ") or n == "partgate: network"]
    colours = dict(zip(shown, ("#c1121f", "#e9888f", "#3a5a98", "#7fa3d8", "#2a7f4f", "#8cc5a3", "#8a5a9e")))
    curves = []
    for title, along, fixed in panels:
        # The curve is drawn for the value of the other axis that most products share.
        values = [getattr(p, fixed) for p in points]
        kept = max(set(values), key=lambda v: (len({getattr(p, along) for p in points if getattr(p, fixed) == v}), -v))
        curve = sorted((p for p in points if getattr(p, fixed) == kept), key=lambda p: getattr(p, along))
        curves.append((title, along, f"{kept} {'rows' if fixed == 'rows' else 'pixels'}", curve))
    every = [p.median(n) for *_, curve in curves for p in curve for n in shown if n in p.rounds]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    high += low == high
    width, height, left, top = 380, 320, 60, 40
    parts = []

    def text(x, y, words, anchor="middle", extra=""):
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{words}</text>')

    def line(x1, y1, x2, y2, colour):
        parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    for number, (title, along, kept, curve) in enumerate(curves):
        x0 = left + number * (width + left)
        first, last = (math.log(getattr(curve[i], along)) for i in (0, -1))

        def across(value):
            return x0 + width * ((math.log(value) - first) / (last - first) if last > first else 0.5)

        def up(value):
            return top + height * (1 - (math.log10(value) - low) / (high - low))

        for power in range(low, high + 1):
            line(x0, up(10.0**power), x0 + width, up(10.0**power), "#ddd")
            text(x0 - 6, up(10.0**power) + 4, f"{10.0 ** power:g}", "end")
        for point in curve:
            line(across(getattr(point, along)), top, across(getattr(point, along)), top + height, "#eee")
            text(across(getattr(point, along)), top + height + 16, getattr(point, along))
        text(x0 + width / 2, top + height + 36, f"{title} ({kept})")
        for name in shown:
            found = [(across(getattr(p, along)), up(p.median(name))) for p in curve if name in p.rounds]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in found)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[name]}"/>' for x, y in found]
    text(left - 6, top - 16, "ms", "end")
    for number, name in enumerate(shown):
        x, y = left + (number % 4) * 210, top + height + 62 + 18 * (number // 4)
        parts.append(f'<rect x="{x}" y="{y - 9}" width="12" height="10" fill="{colours[name]}"/>')
        text(x + 18, y, name, "start")
    total = 2 * (width + left) + 20, top + height + 62 + 18 * ((len(shown) + 3) // 4)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]} {total[1]}" width="{total[0]}" height="{total[1]}"'
    return "\n".join([head + ' font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def numbers(text):
    return [int(word) for word in text.split(",")]


def names(text):
    wrong = set(text.split(",")) - set(NAMES)
    if wrong:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(wrong))}: the peers are {', '.join(NAMES)}")
    return text.split(",")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", nargs="*", type=pathlib.Path, metavar="PRODUCT.pgp", help="products to measure with")
    parser.add_argument("--fit", type=pathlib.Path, metavar="FOLDER", help="fit products on these good images, at --sizes and --banks")
    parser.add_argument("--sizes", type=numbers, default=[224, 256, 384, 512, 768], metavar="N,N", help="input sides, all with --at-bank rows")
    parser.add_argument("--banks", type=numbers, default=[1000, 4000, 16000, 50000], metavar="N,N", help="bank rows, all at --at-size pixels")
    parser.add_argument("--at-size", type=int, default=256, metavar="N", help="input side of the curve over banks (default: %(default)s)")
    parser.add_argument("--at-bank", type=int, default=4000, metavar="N", help="rows of the curve over sizes (default: %(default)s)")
    parser.add_argument("--backbone", default="efficientnet-lite0-int8", help="as partgate-train fit takes it (default: %(default)s)")
    parser.add_argument("--networks", type=pathlib.Path, metavar="FOLDER", help="where the f32 file of the backbone is (default: that of --backbone)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every peer (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="alternating rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a peer runs in a round, at least 3 runs (default: %(default)s)")
    parser.add_argument("--peers", type=names, default=list(NAMES), metavar="NAME,NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--baseline", default=BASELINE, metavar="ROW", help="ratios are to this row of the tables (default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("peers"), metavar="FOLDER",
                        help="results and products (default: %(default)s)")
    parser.add_argument("--partgate", type=pathlib.Path, default=ROOT / "target" / "release" / "partgate", metavar="PROGRAM")
    parser.add_argument("--trainer", type=pathlib.Path, metavar="PROGRAM", help="(default: partgate-train beside --partgate)")
    args = parser.parse_args()
    args.trainer = args.trainer or args.partgate.with_name("partgate-train")
    args.networks = args.networks or pathlib.Path(args.backbone).parent
    args.backbone_name = pathlib.Path(args.backbone).stem
    if not args.products and not args.fit:
        parser.error("name a PRODUCT.pgp, or good images with --fit")
    return args


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    paths = list(args.products)
    if args.fit:
        pairs = [(size, args.at_bank) for size in args.sizes] + [(args.at_size, rows) for rows in args.banks]
        paths += [fit(args, *pair) for pair in dict.fromkeys(pairs)]
    points = []
    for path in paths:
        print(f"measuring {path.name}", flush=True)
        points.append(measure(args, Product(args.partgate, path)))
        (args.out / "peers.json").write_text(json.dumps([dataclasses.asdict(p) for p in points], indent=1) + "\n")
    page = markdown(args, points)
    (args.out / "peers.md").write_text(page)
    (args.out / "peers.svg").write_text(svg(points))
    print(page)


if __name__ == "__main__":
    main()
