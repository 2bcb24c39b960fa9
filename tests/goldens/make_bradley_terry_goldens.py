"""Bradley-Terry scores with a quadratic penalty, for tests/tpo/bradley_terry.cpp:

    python tests/goldens/make_bradley_terry_goldens.py > tests/goldens/bradley_terry.json

argmax_e sum_{m,n} B_mn log sigma(e_m - e_n) - lambda/2 |e|^2, found by scipy's trust-region minimiser on the plain formula, polished until the gradient is below 1e-11. Fields of a case: name, lambda,
wins (rows: winner), scores. Cases: the K = 8 of the paper with random verdicts, an undefeated and a beaten sample, two groups
that never met, a chain, ties only, one game, lopsided counts.
"""
import json

import numpy as np
import scipy.optimize
from scipy.special import expit, log_expit


def fit(wins, lam):
    k = len(wins)

    def value(e):
        d = e[:, None] - e[None, :]
        return lam / 2 * e @ e - (wins * log_expit(d)).sum()

    def gradient(e):
        lost = wins * expit(e[None, :] - e[:, None])
        return lam * e - lost.sum(1) + lost.sum(0)

    def hessian(e):
        d = e[:, None] - e[None, :]
        w = wins * expit(d) * expit(-d)
        w = w + w.T
        return lam * np.eye(k) + np.diag(w.sum(1)) - w

    e = scipy.optimize.minimize(value, np.zeros(k), jac=gradient, hess=hessian, method="trust-exact",
                                options={"gtol": 1e-9, "maxiter": 10000}).x
    for _ in range(20):
        e = e - np.linalg.solve(hessian(e), gradient(e))
    assert np.abs(gradient(e)).max() < 1e-11, np.abs(gradient(e)).max()
    numeric = scipy.optimize.approx_fprime(e + 0.1, value, 1e-7)  # the analytic gradient is that of the formula
    assert np.abs(numeric - gradient(e + 0.1)).max() < 1e-4
    return e


def main():
    rng = np.random.default_rng(8)
    cases = []

    def add(name, wins, lam=0.01):
        wins = np.array(wins, dtype=float)
        cases.append({"name": name, "lambda": lam, "wins": wins.tolist(), "scores": fit(wins, lam).tolist()})

    paper = np.zeros((8, 8))
    for m in range(8):
        for n in range(8):
            if m != n:
                r = rng.choice([1, 0, -1], p=[0.45, 0.2, 0.35])  # each order a game of its own
                if r:
                    paper[(m, n) if r == 1 else (n, m)] += 1
    add("the paper's eight samples, random verdicts", paper)
    undefeated = [[0, 2, 2, 2], [0, 0, 1, 2], [0, 1, 0, 1], [0, 0, 1, 0]]
    add("one undefeated, none beaten by it twice", undefeated)
    add("the same, stronger penalty", undefeated, 1.0)
    add("two groups that never met", [[0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    add("a chain: each always beats the next", np.diag([2, 2, 2, 2, 2], 1))
    add("ties only", np.zeros((5, 5)))
    add("a circle", [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    add("one game", [[0, 1], [0, 0]])
    add("lopsided", [[0, 500, 3], [1, 0, 400], [0, 2, 0]])
    add("nobody to play", [[0]])
    made_with = f"numpy {np.__version__}, scipy {scipy.__version__}"
    print('{"made_with": "' + made_with + '", "cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}")


if __name__ == "__main__":
    main()
