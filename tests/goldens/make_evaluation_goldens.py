"""Writes evaluation.json: length-controlled win rates by scikit-learn's logistic regression, and measures of agreement
by scipy and scikit-learn. Fields: lambda; lengths: wins, differences, theta, phi, win_rate (at equal lengths); agreements: x, y, pearson,
spearman, kendall_tau, labels, others, kappa. Nothing here shares code with tpo/win_rate.cpp or tpo/correlation.cpp.

A soft label y is two rows of weights y and 1 - y, as AlpacaEval does it. scikit-learn minimises |w|²/2 + C · the sum of
losses, so C = 1/lambda.

    python tests/goldens/make_evaluation_goldens.py > tests/goldens/evaluation.json
"""

import json
import warnings

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

LAMBDA = 0.01


def length_controlled(wins, differences):
    wins, differences = np.array(wins, float), np.array(differences, float)
    terms = np.tanh(differences / differences.std(ddof=1)) if np.ptp(differences) > 0 else np.zeros(len(wins))
    rows = np.column_stack([np.ones(len(wins)), terms])
    model = LogisticRegression(C=1 / LAMBDA, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=10000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the line search stops at rounding, short of the tolerance
        model.fit(
            np.concatenate([rows, rows]),
            np.concatenate([np.ones(len(wins)), np.zeros(len(wins))]),
            sample_weight=np.concatenate([wins, 1 - wins]),
        )
    theta, phi = model.coef_[0]
    return {
        "wins": wins.tolist(),
        "differences": differences.tolist(),
        "theta": float(theta),
        "phi": float(phi),
        "win_rate": float(model.predict_proba([[1.0, 0.0]])[0, 1]),
    }


def biased(rng, n, theta, phi, shift):
    """Games of a judge that likes length: win, tie or loss."""
    differences = np.round(rng.normal(shift, 300, n))
    p = 1 / (1 + np.exp(-(theta + phi * np.tanh(differences / 300))))
    wins = (rng.random(n) < p).astype(float)
    wins[rng.random(n) < 0.2] = 0.5
    return length_controlled(wins, differences)


def agreement(rng, n):
    x = rng.integers(0, 6, n).astype(float)
    y = np.round(x + rng.normal(0, 2, n))
    labels = rng.integers(-1, 2, n)
    others = np.where(rng.random(n) < 0.6, labels, rng.integers(-1, 2, n))
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "pearson": float(stats.pearsonr(x, y).statistic),
        "spearman": float(stats.spearmanr(x, y).statistic),
        "kendall_tau": float(stats.kendalltau(x, y, variant="b").statistic),
        "labels": labels.tolist(),
        "others": others.tolist(),
        "kappa": float(cohen_kappa_score(labels, others)),
    }


def main():
    rng = np.random.default_rng(4)
    lengths = [
        biased(rng, 200, 0.0, 1.5, 150),  # no better, only longer
        biased(rng, 200, 1.0, -0.5, -80),
        biased(rng, 23, -0.7, 2.0, 40),
        length_controlled([1, 1, 1, 1], [10, -20, 30, 5]),  # never beaten
        length_controlled([0, 0, 0], [1, 2, 3]),
        length_controlled([1, 0, 1, 0.5, 1], [7, 7, 7, 7, 7]),  # lengths tell nothing
        length_controlled([0.5, 0.5, 0.5], [100, -50, 0]),
        length_controlled([0.25, 0.75, 1, 0, 0.5, 0.75], [5, 900, -3, -1200, 0, 44]),
        length_controlled([1], [100]),
        length_controlled([1, 1, 0, 0], [50, 400, -300, -10]),  # length tells all
    ]
    agreements = [agreement(rng, n) for n in (5, 12, 60)]
    one_a_line = lambda cases: ",\n  ".join(json.dumps(c) for c in cases)
    print(f'{{"lambda": {LAMBDA},\n "lengths": [\n  {one_a_line(lengths)}],\n "agreements": [\n  {one_a_line(agreements)}]}}')


if __name__ == "__main__":
    main()
