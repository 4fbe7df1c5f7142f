#!/usr/bin/env python3
"""How lean the program is: size, memory, start and bundle, as one table.

    cargo build --release
    python3 benches/lean.py                                  # the shipped demo product
    python3 benches/lean.py lid.pgp valve.pgp                # other products
    python3 benches/lean.py --first-build                    # also builds once from nothing, as the README's first command

Needs Linux and Python only. `size` (binutils) splits the program into code and constants if it is there.
"""
import argparse
import json
import os
import pathlib
import platform
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20
FRAMES = 100
STARTS = 15


def ran(arguments, **how):
    """The output, the seconds and the peak of resident memory in bytes of a program that must end well."""
    started = time.monotonic()
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, **how)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(map(str, arguments))} ended with {child.returncode}")
    return out, time.monotonic() - started, usage.ru_maxrss * 1024


def of_program(program):
    yield "program, all bytes", f"{program.stat().st_size / 1e6:.2f} MB"
    if shutil.which("size"):
        out = subprocess.run(["size", program], check=True, capture_output=True, text=True).stdout
        text, data, _ = (int(v) for v in out.splitlines()[1].split()[:3])
        yield "of it code and constants", f"{text / 1e6:.2f} MB"
        yield "of it data with addresses", f"{data / 1e6:.2f} MB"
    demo = ROOT / "calibration/demo.pgp"
    packed = len(zlib.compress(demo.read_bytes(), 9))
    yield "of it the demo product, packed", f"{packed / 1e6:.2f} MB"
    crates = (ROOT / "tests/dependencies.txt").read_text().splitlines()
    yield "crates in it (tests/dependencies.txt)", sum(not line.startswith("#") for line in crates)


def of_bundle(program, bundle, folder):
    about = json.loads(ran([program, "inspect", bundle, "--json"])[0])
    yield f"**{bundle.name}**, all bytes", f"{bundle.stat().st_size / 1e6:.2f} MB"
    lengths = {}
    for section in about["sections"]:
        lengths[section["kind"]] = lengths.get(section["kind"], 0) + section["length"]
    for kind, length in sorted(lengths.items(), key=lambda kind: -kind[1]):
        yield f"{kind}", f"{length / 1e6:.3f} MB"
    # A picture from the bundle itself, so nothing else is needed.
    golden = next(s for s in about["sections"] if s["kind"] == "golden-image")
    picture = folder / "golden.png"
    picture.write_bytes(bundle.read_bytes()[golden["offset"] :][: golden["length"]])
    times = []
    for _ in range(STARTS):
        _, seconds, peak = ran([program, "score", bundle, picture, "--threads", "1"], stderr=subprocess.DEVNULL)
        times.append(seconds * 1e3)
    yield "start to first verdict and end, one image from a file", f"{statistics.median(times):.0f} ms (median of {STARTS})"
    yield "resident memory, one image", f"{peak / MIB:.1f} MiB"
    out, _, peak = ran([program, "bench", bundle, "--threads", "1", "--runs", str(FRAMES), "--json"], stderr=subprocess.DEVNULL)
    report = json.loads(out)
    yield f"resident memory, {FRAMES} images", f"{peak / MIB:.1f} MiB"
    yield "product opened, checked and planned", f"{report['start_ms']:.0f} ms"
    yield "one image from memory to verdict", f"{report['total']['p50_ms']:.1f} ms, {report['kernels']['backbone']['engine']}"


def of_first_build():
    subprocess.run(["cargo", "fetch", "--locked"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CARGO_TARGET_DIR": folder}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True, env=environment, stderr=subprocess.DEVNULL)
        minutes = (time.monotonic() - started) / 60
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
        size = sum(f.stat().st_size for f in pathlib.Path(folder).rglob("*") if f.is_file())
    yield "first build of `cargo run -- demo`, crates fetched", f"{minutes:.1f} min on {os.cpu_count()} processors, {spent:.1f} processor minutes"
    yield "its folder", f"{size / 1e9:.2f} GB"


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=pathlib.Path, default=[ROOT / "calibration/demo.pgp"])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/partgate")
    parser.add_argument("--first-build", action="store_true", help="builds once from nothing and states the time")
    given = parser.parse_args()
    if not given.program.exists():
        raise SystemExit(f"{given.program} is not there; build it with: cargo build --release")
    print(f"| {processor()}, {os.cpu_count()} processors | |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for what, value in of_program(given.program):
            print(f"| {what} | {value} |", flush=True)
        for bundle in given.bundles:
            for what, value in of_bundle(given.program, bundle, pathlib.Path(folder)):
                print(f"| {what} | {value} |", flush=True)
    if given.first_build:
        for what, value in of_first_build():
            print(f"| {what} | {value} |", flush=True)


if __name__ == "__main__":
    main()
