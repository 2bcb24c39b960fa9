"""Compares a training log of `thinker dpo` with the five steps that PyTorch computed. Needs nothing but Python.

    thinker dpo models/SmolLM2-135M-Instruct.Q4_1.gguf --pairs tests/goldens/smollm2/pairs.jsonl --batch 4 --epochs 5 \\
        --no-shuffle --lr 1e-5 --schedule constant --out /tmp/dpo --log /tmp/dpo.jsonl
    python tests/compare_dpo.py /tmp/dpo.jsonl [tests/goldens/smollm2/dpo.json]

Losses must agree within 1e-3 and gradient norms (before clipping) within 1 %. Because the first loss is ln 2 whatever the model
computes, margins (1e-2) and mean log-prob sums (3e-2: 1e-3 a token, about 30 tokens) are checked as well. Exit 1: something differs.
"""
import argparse
import json
import pathlib
import sys

GOLDEN = pathlib.Path(__file__).parent / "goldens/smollm2/dpo.json"
LIMITS = {"loss": 1e-3, "margin": 1e-2, "logp_chosen": 3e-2, "logp_rejected": 3e-2}
GRAD_NORM_LIMIT = 0.01  # relative


def differences(line, expected):
    """(key, difference, limit) for each number of a step that is judged."""
    rows = [(key, abs(line[key] - expected[key]), limit) for key, limit in LIMITS.items()]
    return rows + [("grad_norm", abs(line["grad_norm"] / expected["grad_norm"] - 1), GRAD_NORM_LIMIT)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("golden", type=pathlib.Path, nargs="?", default=GOLDEN)
    args = parser.parse_args()
    expected = json.loads(args.golden.read_text(encoding="utf-8"))["log"]
    log = [json.loads(line) for line in args.log.read_text(encoding="utf-8").splitlines() if line.strip()]
    if [line.get("step") for line in log] != [line["step"] for line in expected]:
        sys.exit(f"{args.log}: steps {[line.get('step') for line in log]}, expected {len(expected)} of them from 1")
    failed = 0
    for line, golden in zip(log, expected):
        bad = [f"{key} off by {d:.3g}" for key, d, limit in differences(line, golden) if not d <= limit]
        failed += len(bad)
        print(f"step {line['step']}: loss {line['loss']:.6f} ({golden['loss']:.6f}), grad_norm {line['grad_norm']:.4f} "
              f"({golden['grad_norm']:.4f}) {'FAILED: ' + ', '.join(bad) if bad else 'ok'}")
    print("FAILED" if failed else "equal")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
