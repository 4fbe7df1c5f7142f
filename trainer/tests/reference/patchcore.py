#!/usr/bin/env python3
"""PatchCore on this project's backbone, written out plainly with other people's libraries: Pillow
for decoding and resizing, ONNX Runtime for the network, SciPy for the blur, scikit-learn for AUROC.
It shares no code with the project; docs/figures.md sets its figures beside `validate`'s.

    pip install numpy==2.4.6 pillow==13.0.0 onnxruntime==1.31.1 scipy==1.17.1 scikit-learn==1.9.1
    python trainer/tests/reference/patchcore.py DATA/cookie --resize 256 --crop 224
"""

import argparse
import pathlib

import numpy
import onnxruntime
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

MODELS = pathlib.Path(__file__).resolve().parents[3] / "models"


def picture(path, args, mask=False):
    image = Image.open(path).convert("L" if mask else "RGB")
    if args.short_side:
        scale = args.resize / min(image.size)
        size = tuple(round(s * scale) for s in image.size)
    else:
        size = (args.resize, args.resize)
    image = image.resize(size, Image.NEAREST if mask else Image.BILINEAR)
    left, top = ((s - args.crop) // 2 for s in size)
    return numpy.asarray(image.crop((left, top, left + args.crop, top + args.crop)), numpy.float32)


def box(tap, border):
    """3 x 3 mean, zeros outside; divided by 9, or by the cells inside."""
    padded = numpy.pad(tap, ((0, 0), (1, 1), (1, 1)))
    h, w = tap.shape[1:]
    total = sum(padded[:, y : y + h, x : x + w] for y in range(3) for x in range(3))
    if border == "zero":
        return total / 9
    ones = numpy.pad(numpy.ones((h, w)), 1)
    return total / sum(ones[y : y + h, x : x + w] for y in range(3) for x in range(3))


def linear(count, source):
    """Rows of bilinear weights, half-pixel centres, edges repeated."""
    at = numpy.clip((numpy.arange(count) + 0.5) * source / count - 0.5, 0, source - 1)
    low = numpy.floor(at).astype(int)
    matrix = numpy.zeros((count, source))
    for i, (a, lo) in enumerate(zip(at, low)):
        matrix[i, lo] += 1 - (a - lo)
        matrix[i, min(lo + 1, source - 1)] += a - lo
    return matrix


def features(session, path, args):
    image = (picture(path, args) - 127) / 128
    fine, coarse = session.run(["tap8", "tap16"], {"image": image.transpose(2, 0, 1)[None]})
    fine, coarse = box(fine[0], args.border), box(coarse[0], args.border)
    up = linear(fine.shape[1], coarse.shape[1])
    coarse = numpy.einsum("yi,cij,xj->cyx", up, coarse, up)
    both = numpy.concatenate([fine, coarse])
    return both.reshape(len(both), -1).T.astype(numpy.float32), fine.shape[1]


def greedy(vectors, count, seed):
    chosen = [int(numpy.random.default_rng(seed).integers(len(vectors)))]
    near = ((vectors - vectors[chosen[0]]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(int(near.argmax()))
        near = numpy.minimum(near, ((vectors - vectors[chosen[-1]]) ** 2).sum(1))
    return vectors[chosen]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--short-side", action="store_true", help="keep the aspect")
    parser.add_argument("--border", choices=["zero", "inside"], default="zero")
    parser.add_argument("--sigma", type=float, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bank", type=int, help="rows; default 1 %% of the cells, at least 512")
    args = parser.parse_args()
    args.crop = args.crop or args.resize
    session = onnxruntime.InferenceSession(
        str(MODELS / "efficientnet-lite0-f32.onnx"), providers=["CPUExecutionProvider"]
    )
    good = sorted(p for p in (args.data / "train" / "good").iterdir())
    vectors = numpy.concatenate([features(session, p, args)[0] for p in good])
    bank = greedy(vectors, args.bank or max(512, round(0.01 * len(vectors))), args.seed)
    half = (bank**2).sum(1) / 2
    scores, labels, pixels, truth = [], [], [], []
    for path in sorted((args.data / "test").glob("*/*")):
        x, grid = features(session, path, args)
        nearest = (half[None] - x @ bank.T).argmin(1)
        cells = numpy.sqrt(((x - bank[nearest]) ** 2).sum(1)).reshape(grid, grid)
        up = linear(args.crop, grid)
        heat = gaussian_filter(up @ cells @ up.T, args.sigma)
        defective = path.parent.name != "good"
        scores.append(heat.max())
        labels.append(defective)
        mask = args.data / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        if not defective or mask.is_file():
            pixels.append(heat.ravel().astype(numpy.float32))
            marked = picture(mask, args, mask=True) > 0 if defective else numpy.zeros_like(heat)
            truth.append(marked.ravel().astype(bool))
    truth = numpy.concatenate(truth)
    pixel = roc_auc_score(truth, numpy.concatenate(pixels)) if truth.any() else float("nan")
    print(f"{args.data.name}: bank {len(bank)}, image AUROC {roc_auc_score(labels, scores):.4f}, "
          f"pixel AUROC {pixel:.4f}")


if __name__ == "__main__":
    main()
