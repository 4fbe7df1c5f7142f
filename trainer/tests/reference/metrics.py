"""Writes metrics.json, the reference for trainer/src/metrics and trainer/src/fit/thresholds.rs.

    python -m venv venv && venv/bin/pip install <the versions below>
    venv/bin/python metrics.py          # writes metrics.json beside this file

Requirements (Python 3.11):
    numpy==2.4.6
    scipy==1.17.1
    scikit-learn==1.9.1

Everything here is written by definition or taken from scikit-learn and scipy; nothing shares code
or an algorithm with the Rust side.
"""

import json
import math
import pathlib

import numpy as np
from scipy import ndimage, stats
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

rng = np.random.default_rng(20260801)


def f32(values, digits=3):
    """Short decimals that Rust reads back as the same f32."""
    return np.round(np.asarray(values, dtype=np.float64), digits).astype(np.float32)


def decimals(values, digits=3):
    return [round(float(v), digits) for v in values]


def delong(scores, defective):
    """DeLong et al. 1988 with the full matrix of pairs."""
    x = scores[defective].astype(np.float64)[:, None]
    y = scores[~defective].astype(np.float64)[None, :]
    psi = (x > y) + 0.5 * (x == y)
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    variance = v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)
    return psi.mean(), math.sqrt(variance)


def f1_max(scores, defective):
    precision, recall, _ = precision_recall_curve(defective, scores)
    total = precision + recall
    return float(np.max(np.where(total > 0, 2 * precision * recall / np.maximum(total, 1e-300), 0)))


def image_case(name, scores, defective):
    auroc, error = delong(scores, defective)
    assert abs(auroc - roc_auc_score(defective, scores)) < 1e-12
    fpr, tpr, _ = roc_curve(defective, scores, drop_intermediate=False)
    z = stats.norm.ppf(0.975)
    return {
        "name": name,
        "scores": decimals(scores),
        "defective": [bool(d) for d in defective],
        "auroc": float(roc_auc_score(defective, scores)),
        "f1": f1_max(scores, defective),
        "false_reject_rate_at_full_recall": float(fpr[np.argmax(tpr >= 1.0)]),
        "standard_error": error,
        "low": max(0.0, auroc - z * error),
        "high": min(1.0, auroc + z * error),
    }


def image_cases():
    cases = []
    for name, goods, defects, shift, digits in [
        ("separable to a degree", 60, 40, 2.0, 3),
        ("weak", 150, 30, 0.4, 3),
        ("ties", 80, 50, 1.0, 0),
        ("tiny", 3, 2, 0.5, 1),
        ("inverted", 40, 40, -1.0, 2),
        ("unbalanced", 400, 5, 1.5, 3),
    ]:
        scores = f32(np.concatenate([rng.normal(5, 1, goods), rng.normal(5 + shift, 1.3, defects)]), digits)
        defective = np.concatenate([np.zeros(goods, bool), np.ones(defects, bool)])
        order = rng.permutation(goods + defects)
        cases.append(image_case(name, scores[order], defective[order]))
    return cases


def aupro(maps, masks, limit=0.3):
    """By definition: all distinct values as thresholds, one region after the other."""
    eight = np.ones((3, 3), int)
    regions = []
    for m, mask in zip(maps, masks):
        labels, count = ndimage.label(mask, structure=eight)
        regions += [m[labels == k] for k in range(1, count + 1)]
    good = np.concatenate([m[~mask] for m, mask in zip(maps, masks)])
    fprs, pros = [0.0], [0.0]
    for t in np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]:
        fprs.append(float(np.mean(good >= t)))
        pros.append(float(np.mean([np.mean(r >= t) for r in regions])))
    fprs, pros = np.array(fprs), np.array(pros)
    # The curve as it is up to the limit, then its straight piece up to the limit.
    inside = fprs < limit
    first = int(np.argmin(inside))
    x0, x1, y0, y1 = fprs[first - 1], fprs[first], pros[first - 1], pros[first]
    x = np.append(fprs[inside], limit)
    y = np.append(pros[inside], y0 + (y1 - y0) * (limit - x0) / (x1 - x0))
    return float(np.trapezoid(y, x) / limit), len(regions)


def blobs(height, width, count, good_share=0.0):
    mask = np.zeros((height, width), bool)
    if rng.random() < good_share:
        return mask
    for _ in range(count):
        h, w = rng.integers(1, max(2, height // 3 + 1)), rng.integers(1, max(2, width // 3 + 1))
        r, c = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        mask[r : r + h, c : c + w] |= rng.random((h, w)) < 0.8
    return mask


def pixel_case(name, shapes, blob_count, shift, digits, good_share=0.0):
    masks = [blobs(h, w, blob_count, good_share) for h, w in shapes]
    if not any(m.any() for m in masks):
        masks[0][0, 0] = True
    maps = [f32(np.abs(rng.normal(2, 1, m.shape) + shift * m), digits) for m in masks]
    scores = np.concatenate([m.ravel() for m in maps])
    defective = np.concatenate([m.ravel() for m in masks])
    value, regions = aupro(maps, masks)
    return {
        "name": name,
        "images": [
            {
                "width": int(m.shape[1]),
                "height": int(m.shape[0]),
                "map": decimals(m.ravel()),
                "mask": [int(v) for v in mask.ravel()],
            }
            for m, mask in zip(maps, masks)
        ],
        "components": regions,
        "auroc": float(roc_auc_score(defective, scores)),
        "f1": f1_max(scores, defective),
        "aupro": value,
    }


def pixel_cases():
    return [
        pixel_case("one image", [(24, 32)], 4, 1.5, 3),
        pixel_case("ties", [(16, 16)] * 4, 3, 1.0, 0, 0.3),
        pixel_case("half steps", [(16, 20)] * 3, 3, 1.0, 1),
        pixel_case("tiny maps", [(1, 3), (2, 2), (3, 1), (1, 1)], 1, 0.5, 1),
        pixel_case("mixed sizes, some good", [(20, 12), (9, 31), (14, 14), (14, 14)], 5, 2.0, 2, 0.4),
        pixel_case("good detector", [(20, 20)] * 4, 3, 6.0, 3, 0.25),
        pixel_case("blind detector", [(20, 20)] * 3, 4, -0.5, 2),
        pixel_case("two values", [(12, 12)] * 3, 3, 0.0, 0),
    ]


def order_statistic(n, rate, confidence):
    """Smallest k with P(Binomial(n, 1 - rate) <= k - 1) >= confidence."""
    k = int(stats.binom.ppf(confidence, n, 1 - rate)) + 1
    while k > 1 and stats.binom.cdf(k - 2, n, 1 - rate) >= confidence:
        k -= 1
    while k <= n and stats.binom.cdf(k - 1, n, 1 - rate) < confidence:
        k += 1
    return k if k <= n else 0  # 0: not even the maximum suffices


def main():
    proportions = [(0, 1), (1, 1), (0, 50), (50, 50), (3, 100), (97, 100), (1, 761), (250, 1000), (12, 1_000_000), (400_000, 1_000_000)]
    reference = {
        "image": image_cases(),
        "pixel": pixel_cases(),
        "clopper_pearson": [
            {
                "count": k,
                "of": n,
                "low": 0.0 if k == 0 else float(stats.beta.ppf(0.025, k, n - k + 1)),
                "high": 1.0 if k == n else float(stats.beta.ppf(0.975, k + 1, n - k)),
                "upper": 1.0 if k == n else float(stats.beta.ppf(0.95, k + 1, n - k)),
            }
            for k, n in proportions
        ],
        "binomial_cdf": [
            {"k": k, "n": n, "p": p, "value": float(stats.binom.cdf(k, n, p))}
            for k, n, p in [
                (0, 10, 0.1), (9, 10, 0.999), (3, 20, 0.3), (2994, 2995, 0.999), (4736, 4742, 0.999),
                (999_000, 1_000_000, 0.999), (998_900, 1_000_000, 0.999), (500_200, 1_000_000, 0.5),
                (700, 1_000_000, 0.001), (1100, 1_000_000, 0.001),
            ]
        ],
        "order_statistic": [
            {"n": n, "rate": rate, "confidence": confidence, "k": order_statistic(n, rate, confidence)}
            for rate in [0.1, 0.01, 0.001, 0.0001]
            for confidence in [0.5, 0.9, 0.95, 0.99]
            for n in [5, 28, 29, 50, 298, 299, 300, 473, 1000, 2994, 2995, 2996, 4742, 5000, 29956, 100_000, 1_000_000]
        ],
        "normal_upper_quantile": [
            {"probability": p, "value": float(stats.norm.isf(p))}
            for p in [0.9, 0.5, 0.1, 0.05, 0.025, 0.01, 0.0014, 0.001, 1e-4, 1e-6, 1e-12]
        ],
        "tolerance_factor": [
            {
                "n": n,
                "rate": rate,
                "confidence": confidence,
                "value": float(
                    stats.nct.ppf(confidence, n - 1, stats.norm.isf(rate) * math.sqrt(n)) / math.sqrt(n)
                ),
            }
            for n in [8, 10, 20, 50, 99, 300]
            for rate in [0.1, 0.01, 0.001, 0.00001]
            for confidence in [0.5, 0.9, 0.95, 0.99]
        ],
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(reference, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
