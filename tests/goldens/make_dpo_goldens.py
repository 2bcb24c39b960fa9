"""Makes dpo.json: preference losses and their gradients from PyTorch, in float64, written from the papers' formulas.

    python tests/goldens/make_dpo_goldens.py > tests/goldens/dpo.json
"""
import json

import torch
import torch.nn.functional as F


def loss_of(kind, beta, e, nll, pc, pr, rc, rr, tc, tr):
    margin = (pc - rc) - (pr - rr)
    if kind == "sigmoid":
        loss = -F.logsigmoid(beta * margin)
    elif kind == "cdpo":
        loss = -(1 - e) * F.logsigmoid(beta * margin) - e * F.logsigmoid(-beta * margin)
    elif kind == "robust":
        loss = (-(1 - e) * F.logsigmoid(beta * margin) + e * F.logsigmoid(-beta * margin)) / (1 - 2 * e)
    else:
        loss = ((pc - rc) / tc - (pr - rr) / tr - 1 / (2 * beta)) ** 2
    return loss - nll * pc / tc


def main():
    torch.manual_seed(3)
    cases = []
    for kind, e in [("sigmoid", 0.0), ("ipo", 0.0), ("cdpo", 0.1), ("cdpo", 0.3), ("robust", 0.1), ("robust", 0.3)]:
        for beta in (0.1, 0.5):
            for nll in (0.0, 1.5):
                for scale in (1.0, 40.0):
                    tc, tr = (int(x) for x in torch.randint(1, 60, (2,)))
                    ref = -torch.rand(2, dtype=torch.float64) * 100
                    policy = ref + torch.randn(2, dtype=torch.float64) * scale
                    policy.requires_grad_(True)
                    loss = loss_of(kind, beta, e, nll, policy[0], policy[1], ref[0], ref[1], tc, tr)
                    loss.backward()
                    cases.append({
                        "loss_type": kind, "beta": beta, "label_smoothing": e, "nll": nll,
                        "policy": policy.tolist(), "reference": ref.tolist(), "tokens": [tc, tr],
                        "loss": loss.item(), "gradient": policy.grad.tolist()})
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
