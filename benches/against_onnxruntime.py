#!/usr/bin/env python3
"""partgate's stages beside ONNX Runtime on the same backbone, in the same run.

    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install onnxruntime==1.31.1 numpy
    cargo build --release
    /tmp/bench/bin/python benches/against_onnxruntime.py PRODUCT.pgp --threads 2

Rounds alternate between the programs, so that a machine that slows down slows both. What is
quoted is the median over all rounds and the ratio of medians.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time

import numpy
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parent.parent


def onnx_runtime(path, side, threads, runs):
    """Milliseconds of `runs` inferences after ten for warm-up."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    image = numpy.random.default_rng(0).normal(size=(1, 3, side, side))
    feed = {session.get_inputs()[0].name: image.astype(numpy.float32)}
    times = []
    for run in range(runs + 10):
        start = time.perf_counter()
        session.run(None, feed)
        if run >= 10:
            times.append(1000 * (time.perf_counter() - start))
    return times


def partgate(program, bundle, threads, runs):
    """The bench command's JSON."""
    done = subprocess.run(
        [program, "bench", bundle, "--json", "--threads", str(threads), "--runs", str(runs)],
        check=True,
        capture_output=True,
    )
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--partgate", default=str(ROOT / "target" / "release" / "partgate"))
    args = parser.parse_args()

    stages, reference = {}, {"f32": [], "int8": []}
    for _ in range(args.rounds):
        report = partgate(args.partgate, args.bundle, args.threads, args.runs)
        for name, figures in report["stages"].items():
            stages.setdefault(name, []).append(figures["p50_ms"])
        stages.setdefault("total", []).append(report["total"]["p50_ms"])
        for precision, times in reference.items():
            path = ROOT / "models" / f"efficientnet-lite0-{precision}.onnx"
            times.extend(onnx_runtime(path, report["side"], args.threads, args.runs))

    medians = {name: statistics.median(values) for name, values in stages.items()}
    around = medians["total"] - medians["backbone"]
    onnx = {precision: statistics.median(times) for precision, times in reference.items()}
    print(json.dumps({
        "side": report["side"],
        "bank_rows": report["bank_rows"],
        "threads": args.threads,
        "precision": report["kernels"]["backbone"]["precision"],
        "partgate_p50_ms": medians,
        "around_the_backbone_ms": around,
        "onnxruntime": onnxruntime.__version__,
        "onnxruntime_p50_ms": onnx,
        "backbone_over_onnxruntime": {p: medians["backbone"] / t for p, t in onnx.items()},
        "around_over_backbone": around / medians["backbone"],
    }, indent=1))


if __name__ == "__main__":
    main()
