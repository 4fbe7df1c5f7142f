"""Reference values of rule glancing, for the trainer's tests: the definition of docs/method.md written
out with numpy in float64, cell by cell, with weights that it draws.

    python3 trainer/tests/reference/glancing.py > trainer/tests/reference/glancing.json
"""

import json

import numpy as np

HEIGHT, WIDTH, D, WINDOW, HOLE = 6, 5, 4, 5, 3
CHANNELS = NARROW, HIDDEN, CODE, JUDGE = 3, 6, 4, 5
WEIGHT, RANGE, FINER = 0.8, 8.0, 4
rng = np.random.default_rng(20210619)


def drawn(*shape):
    """As the program reads them: what float32 holds of six digits."""
    values = np.round(rng.normal(size=shape) * 0.7, 6)
    return values.astype(np.float32).astype(np.float64)


weights = {
    "shift": drawn(D),
    "scale": np.abs(drawn(D)) + 0.5,
    "local_wide": drawn(D, HIDDEN),
    "local_wide_bias": drawn(HIDDEN),
    "local_code": drawn(HIDDEN, CODE),
    "local_code_bias": drawn(CODE),
    "local_back": drawn(CODE, D),
    "local_back_bias": drawn(D),
    "global_narrow": drawn(D, NARROW),
    "global_narrow_bias": drawn(NARROW),
    "global_ring": drawn(HIDDEN, NARROW, WINDOW, WINDOW),
    "global_ring_bias": drawn(HIDDEN),
    "global_code": drawn(HIDDEN, CODE),
    "global_code_bias": drawn(CODE),
    "global_judge": drawn(2 * CODE, JUDGE),
    "global_judge_bias": drawn(JUDGE),
    "global_verdict": drawn(JUDGE, 1),
    "global_verdict_bias": drawn(1),
}
w = weights
features = drawn(HEIGHT, WIDTH, D) * 3
features[1, 2, 0] = 40.0  # Beyond what is cut off.
unit = np.clip((features - w["shift"]) * w["scale"], -RANGE, RANGE)


def relu(x):
    return np.maximum(x, 0.0)


def local(vector):
    wide = relu(vector @ w["local_wide"] + w["local_wide_bias"])
    return wide @ w["local_code"] + w["local_code_bias"]


narrow = relu(unit @ w["global_narrow"] + w["global_narrow_bias"])


def told(y, x):
    """The partial convolution: a sum over the cells that count, by how many of them there are."""
    total, counted = np.zeros(HIDDEN), 0
    half, patch = WINDOW // 2, HOLE // 2
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            inside = 0 <= y + dy < HEIGHT and 0 <= x + dx < WIDTH
            if not inside or (abs(dy) <= patch and abs(dx) <= patch):
                continue
            counted += 1
            total += w["global_ring"][:, :, dy + half, dx + half] @ narrow[y + dy, x + dx]
    around = relu(total * WINDOW * WINDOW / counted + w["global_ring_bias"])
    return around @ w["global_code"] + w["global_code_bias"]


inconsistent, distorted = [], []
for y in range(HEIGHT):
    for x in range(WIDTH):
        own, other = local(unit[y, x]), told(y, x)
        inconsistent.append(((own - other) ** 2).mean())
        hidden = relu(np.concatenate([own, other]) @ w["global_judge"] + w["global_judge_bias"])
        logit = (hidden @ w["global_verdict"] + w["global_verdict_bias"])[0]
        distorted.append(1.0 - 1.0 / (1.0 + np.exp(-logit)))
scores = WEIGHT * np.array(inconsistent) + (1.0 - WEIGHT) * np.array(distorted)


def interpolated(cells):
    """Inverse distances to the four cells around."""
    out = np.zeros((HEIGHT * FINER, WIDTH * FINER))
    for j in range(HEIGHT * FINER):
        for i in range(WIDTH * FINER):
            y = min(max((j + 0.5) / FINER - 0.5, 0.0), HEIGHT - 1)
            x = min(max((i + 0.5) / FINER - 0.5, 0.0), WIDTH - 1)
            value = weight = 0.0
            for row in [int(y), min(int(y) + 1, HEIGHT - 1)]:
                for column in [int(x), min(int(x) + 1, WIDTH - 1)]:
                    distance = np.hypot(y - row, x - column)
                    if distance == 0.0:
                        value, weight = cells[row, column], np.inf
                    elif weight != np.inf:
                        value += cells[row, column] / distance
                        weight += 1.0 / distance
            out[j, i] = value if weight == np.inf else value / weight
    return out


def local_loss():
    vectors = unit.reshape(-1, D)
    codes = local(vectors)
    back = codes @ w["local_back"] + w["local_back_bias"]
    spread = np.sqrt(codes.var(axis=0) + 1e-6)
    units = (codes - codes.mean(axis=0)) / spread
    correlations = units.T @ units / len(vectors)
    different = correlations[~np.eye(CODE, dtype=bool)]
    return ((back - vectors) ** 2).mean() + (different**2).mean()


print(
    json.dumps(
        {
            "height": HEIGHT,
            "width": WIDTH,
            "dimensions": D,
            "window": WINDOW,
            "hole": HOLE,
            "channels": CHANNELS,
            "features": features.tolist(),
            "standardised": unit.tolist(),
            "inconsistent": inconsistent,
            "distorted": distorted,
            "scores": scores.tolist(),
            "map": interpolated(scores.reshape(HEIGHT, WIDTH)).tolist(),
            "local_loss": local_loss(),
        }
        | {name: values.tolist() for name, values in weights.items()}
    )
)
