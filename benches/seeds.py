#!/usr/bin/env python3
"""Ways to fit, compared on labelled sets over several seeds: image AUROC, AUPRO, false rejects and escapes.

    cargo build --release -p partgate-train
    benches/seeds.py DATA/cookie DATA/alien                          # `auto`, --size auto and f32 against the plain bank
    benches/seeds.py DATA/mtd --variants principal --seeds 0-2
    benches/seeds.py DATA/mtd --variant "384 px=--method patchcore --size 384" --out mtd.jsonl

Each fit is of `partgate-train fit SET --seed N` with the options of its variant. The table has the mean and, in
brackets, the least and the most over the seeds. With --out every fit is a line of a file as soon as it is done, and
fits that are in the file are not made again. Published methods have a command of their own, which is faster:
`partgate-train ablate SET --published`. Needs Python only.
"""
import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLAIN = "--method patchcore"
VARIANTS = {
    "auto": {
        "plain bank": PLAIN,
        "`auto`": "--method auto",
        "`--size auto`": f"{PLAIN} --size auto",
        "plain bank, f32": f"{PLAIN} --backbone efficientnet-lite0-f32",
    },
    "principal": {
        "plain bank": PLAIN,
        "`--principal 64`": f"{PLAIN} --principal 64",
        "`--principal 96`": f"{PLAIN} --principal 96",
    },
}
BUDGETS = (0.01, 0.05)


def numbers(text):
    out = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return out


def ran(arguments):
    """Standard output of a program, or None and its last words."""
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"  {' '.join(map(str, arguments))}\n  ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        return None
    return json.loads(done.stdout)


def one(options, folder, seed, cache):
    """Figures of one fit, per cent; None if it was refused."""
    with tempfile.TemporaryDirectory() as made:
        bundle = pathlib.Path(made, "product.pgp")
        started = time.monotonic()
        fit = [options.program, "fit", folder, "-o", bundle, "--seed", str(seed), "--json", "--force"]
        fit += ["--cache", cache, *shlex.split(options.with_options), *options.arguments]
        report = ran(fit)
        if report is None:
            return None
        seconds = time.monotonic() - started
        found = ran([options.program, "validate", folder, "--bundle", bundle, "--json"])
        if found is None:
            return None
    row = {
        "image AUROC": found["image_auroc"],
        "AUPRO": found["aupro"],
        "seconds": seconds,
        "rule": report["rule"],
        "input": report.get("input"),
    }
    for figures in found["budgets"]:
        if figures["budget"] in BUDGETS:
            share = f"{100 * figures['budget']:g} %"
            row[f"escapes at {share}"] = figures["escapes"] / found["defective"]
            row[f"false rejects at {share}"] = figures["false_rejects"] / found["good"]
    return row


def cell(values):
    values = [100 * v for v in values if v is not None]
    if not values:
        return "-"
    least, mean, most = min(values), statistics.mean(values), max(values)
    if round(least, 1) == round(most, 1):
        return f"{mean:.1f}"
    return f"{mean:.1f} ({least:.1f} to {most:.1f})"


def table(rows, names):
    columns = ["image AUROC", "AUPRO"]
    columns += [f"{what} at {100 * b:g} %" for b in BUDGETS for what in ("escapes", "false rejects")]
    print("| set | variant | seeds | " + " | ".join(columns) + " | s per fit |")
    print("|---|---|---:|" + "---|" * len(columns) + "---:|")
    for name in dict.fromkeys(row["set"] for row in rows):
        for variant in names:
            of = [row for row in rows if (row["set"], row["variant"]) == (name, variant) and "image AUROC" in row]
            if of:
                cells = [cell([row.get(c) for row in of]) for c in columns]
                seconds = statistics.median(row["seconds"] for row in of)
                print(f"| {name} | {variant} | {len(of)} | {' | '.join(cells)} | {seconds:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=pathlib.Path, help="folders with train/good, test and ground_truth")
    parser.add_argument("--seeds", type=numbers, default=numbers("0-4"), metavar="0-4")
    parser.add_argument("--variants", choices=VARIANTS, help="a list of this file [default: auto]")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=OPTIONS", help="another way to fit")
    parser.add_argument("--with", dest="with_options", default="", metavar="OPTIONS", help="options of every fit")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/partgate-train")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE.jsonl")
    options = parser.parse_args()
    chosen = options.variants or ("auto" if not options.variant else None)
    variants = dict(VARIANTS.get(chosen, {}))
    variants.update(v.split("=", 1) for v in options.variant)
    rows = []
    if options.out and options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {(row["set"], row["variant"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as cache:
        for seed in options.seeds:
            for folder in options.sets:
                for variant, arguments in variants.items():
                    if (folder.name, variant, seed) in done:
                        continue
                    options.arguments = shlex.split(arguments)
                    row = one(options, folder, seed, cache) or {}
                    row = {"set": folder.name, "variant": variant, "seed": seed, **row}
                    rows.append(row)
                    if options.out:
                        with options.out.open("a") as out:
                            print(json.dumps(row), file=out)
    table(rows, variants)


if __name__ == "__main__":
    main()
