"""Reference values of rule n-pad and of the means over rows and pixels, for the trainer's tests: the
definitions of docs/method.md written out with numpy in float64, by inverse and determinant where the
program has a Cholesky factor.

    python3 trainer/tests/reference/n_pad.py > trainer/tests/reference/n_pad.json
"""

import json

import numpy as np

IMAGES, HEIGHT, WIDTH, D, ROWS = 9, 4, 5, 6, 7
FLOOR = 0.01
rng = np.random.default_rng(20221016)


def rounded(values):
    """As the program reads them: what float32 holds of six digits."""
    return np.round(values, 6).astype(np.float32).astype(np.float64)


# Places differ, neighbouring ones less; values depend on each other.
base = rng.normal(size=(HEIGHT, WIDTH, D)).cumsum(axis=0).cumsum(axis=1)
mix = rng.normal(size=(HEIGHT, WIDTH, D, D)) * 0.3 + np.eye(D)
good = rounded(
    base + np.einsum("yxij,nyxj->nyxi", mix, rng.normal(size=(IMAGES, HEIGHT, WIDTH, D)))
)
query = rounded(base + 2 * rng.normal(size=(HEIGHT, WIDTH, D)))
bank = rounded(rng.normal(size=(ROWS, D)) * 3)


def window(y, x, side):
    half = side // 2
    return [
        (j, i)
        for j in range(max(0, y - half), min(HEIGHT, y + half + 1))
        for i in range(max(0, x - half), min(WIDTH, x + half + 1))
    ]


mean = good.mean(axis=0)
deviation = good - mean
covariance = np.einsum("nyxi,nyxj->yxij", deviation, deviation) / IMAGES
floor = FLOOR * np.trace(covariance, axis1=2, axis2=3).mean() / D
spread = covariance + floor * np.eye(D)


def bhattacharyya(a, b):
    middle = (spread[a] + spread[b]) / 2
    apart = mean[a] - mean[b]
    determinants = np.linalg.det(spread[a]) * np.linalg.det(spread[b])
    return apart @ np.linalg.inv(middle) @ apart / 8 + 0.5 * np.log(
        np.linalg.det(middle) / np.sqrt(determinants)
    )


def distribution(y, x, side, weights):
    places = window(y, x, side)
    if weights == "equal":
        # The samples of all places together.
        samples = np.concatenate([good[:, j, i] for j, i in places])
        centre = samples.mean(axis=0)
        return centre, (samples - centre).T @ (samples - centre) / len(samples) + floor * np.eye(D)
    w = np.array([np.exp(-bhattacharyya((y, x), place) / D) for place in places])
    w /= w.sum()
    centre = sum(w * mean[place] for w, place in zip(w, places))
    second = sum(
        w * (covariance[p] + np.outer(mean[p], mean[p])) for w, p in zip(w, places)
    )
    return centre, second - np.outer(centre, centre) + floor * np.eye(D)


def to_bank(vector):
    return np.sqrt(((bank - vector) ** 2).sum(axis=1))


def case(side, reach, weights):
    made = [[distribution(y, x, side, weights) for x in range(WIDTH)] for y in range(HEIGHT)]

    def distance(y, x):
        found = []
        for j, i in window(y, x, reach):
            centre, spread = made[j][i]
            apart = query[y, x] - centre
            found.append(np.sqrt(apart @ np.linalg.solve(spread, apart)))
        return min(found)

    cells = [(y, x) for y in range(HEIGHT) for x in range(WIDTH)]
    distances = [distance(*cell) for cell in cells]
    return {
        "window": side,
        "reach": reach,
        "weights": weights,
        "mean": [made[y][x][0].tolist() for y, x in cells],
        "distances": distances,
        "scores": [
            np.sqrt(d * to_bank(query[cell]).min()) for d, cell in zip(distances, cells)
        ],
    }


def k_means(vectors, start, rounds=20):
    centroids = vectors[start].copy()
    for _ in range(rounds):
        nearest = ((vectors[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
        before = centroids.copy()
        for row in range(len(centroids)):
            if (nearest == row).any():
                centroids[row] = vectors[nearest == row].mean(axis=0)
        if (before == centroids).all():
            break
    return centroids


def row_means(neighbours):
    """Mean distance to the nearest row and to its nearest rows in the bank."""
    between = np.sqrt(((bank[:, None] - bank[None]) ** 2).sum(axis=2))
    out = []
    for vector in query.reshape(-1, D):
        distances = to_bank(vector)
        row = distances.argmin()
        around = np.argsort(between[row], kind="stable")[:neighbours]
        assert around[0] == row
        out.append(distances[around].mean())
    return out


start = rng.permutation(IMAGES * HEIGHT * WIDTH)[:8].tolist()
print(
    json.dumps(
        {
            "images": IMAGES,
            "height": HEIGHT,
            "width": WIDTH,
            "features": good.tolist(),
            "query": query.tolist(),
            "bank": bank.tolist(),
            "cases": [
                case(side, reach, weights)
                for weights in ["equal", "bhattacharyya"]
                for side, reach in [(1, 1), (3, 1), (3, 3)]
            ],
            "k_means_start": start,
            "k_means": k_means(good.reshape(-1, D), start).tolist(),
            "row_means": {str(n): row_means(n) for n in [1, 3, 5]},
        }
    )
)
