"""Writes metrics.json: scores, labels and what scikit-learn says of them, for tests/metrics.rs.

Run: python tests/golden/metrics.py   (numpy and scikit-learn; their versions are stored in the file)
"""
import json
import pathlib

import numpy as np
import sklearn
from sklearn import metrics

SEED = 20754


def calibration_error(labels, scores, bins):
    """ECE with bins (low, high], the first also holding 0; scikit-learn has none, numpy does the same thing."""
    place = np.clip(np.ceil(scores * bins).astype(int), 1, bins)
    total = 0.0
    for index in range(1, bins + 1):
        inside = place == index
        if inside.any():
            total += inside.sum() * abs(scores[inside].mean() - labels[inside].mean())
    return total / len(scores)


def case(name, labels, scores):
    scores = scores.astype(np.float32)
    wide = scores.astype(np.float64)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    miss = 1 - tpr
    after = int(np.argmax(miss - fpr <= 0))
    gap = miss - fpr
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    matrix = metrics.confusion_matrix(labels, scores >= 0.5)
    return {
        "name": name,
        "labels": labels.tolist(),
        "scores": [float(s) for s in scores],
        "auc": metrics.roc_auc_score(labels, scores),
        "average_precision": metrics.average_precision_score(labels, scores),
        "brier": metrics.brier_score_loss(labels, wide),
        "accuracy": metrics.accuracy_score(labels, scores >= 0.5),
        "confusion": matrix.ravel().tolist(),
        "eer": float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1])),
        "tpr_at_fpr1": float(tpr[fpr <= 0.01].max()),
        "calibration_error": calibration_error(labels, wide, 15),
    }


def main():
    random = np.random.default_rng(SEED)
    cases = []
    for name, count, shift, digits in [("fine", 400, 1.0, None), ("ties", 300, 0.7, 1), ("few", 9, 2.0, None), ("bad", 120, -0.5, 2)]:
        labels = random.integers(0, 2, count)
        labels[:2] = [0, 1]
        scores = 1 / (1 + np.exp(-(random.normal(size=count) + shift * (2 * labels - 1))))
        cases.append(case(name, labels, scores if digits is None else scores.round(digits)))
    out = {"numpy": np.__version__, "scikit_learn": sklearn.__version__, "seed": SEED, "cases": cases}
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
