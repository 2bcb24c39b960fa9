#!/usr/bin/env python3
"""Draws what `thinker bench --scaling` printed: plot_scaling.py IN.jsonl OUT.svg (`make scaling`).

Runs in the environment of bench_peers.py, which has matplotlib. Prints how far memory is from a straight line.
"""
import json
import os
import sys
from pathlib import Path

VENV = Path(os.environ.get("THINKER_VENV", ".venv-peers")) / "bin" / "python"


def log_axis(axis, values, title, x, y, y_scale="linear"):
    axis.set_yscale(y_scale)
    axis.set_xscale("log", base=2)
    axis.set_xticks(values, [f"{v:g}" for v in values], fontsize=7)
    axis.minorticks_off()
    if y_scale == "linear":
        axis.set_ylim(bottom=0)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(alpha=0.3)


def column(lines, key, scale=1.0):
    return [line[key] * scale for line in lines]


def straight_line(x, y):
    """Slope and intercept through the first and the last point, and the greatest distance from it, relative."""
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    start = y[0] - slope * x[0]
    return slope, start, max(abs(b - (start + slope * a)) / b for a, b in zip(x, y))


def main():
    try:
        import matplotlib
    except ImportError:
        if not VENV.exists() or Path(sys.prefix) == VENV.parent.parent.resolve():
            sys.exit("matplotlib is missing: run `make bench-peers` once, or pip install matplotlib")
        os.execv(VENV, [str(VENV), *sys.argv])
    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "thinker"
    import matplotlib.pyplot as plt

    plots = {}
    for line in Path(sys.argv[1]).read_text().splitlines():
        entry = json.loads(line)
        plots.setdefault(entry["plot"], []).append(entry)
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 5.6))
    length, batch, width = plots["length"], plots["batch"], plots["width"]
    tokens = column(length, "tokens")
    (time, memory), (decode, step) = axes
    for name, style in (("train", "o-"), ("score", "s--")):
        label = {"train": "a training step", "score": "scoring"}[name]
        time.plot(tokens, column(length, name + "_us_per_token"), style, ms=4, label=label)
        memory.plot(tokens, column(length, name + "_bytes", 1e-6), style, ms=4, label=label)
        slope, start, off = straight_line(tokens, column(length, name + "_bytes"))
        print(f"{label}: {slope / 1e3:.1f} kB a token + {start / 1e6:.1f} MB; at most {100 * off:.1f} % off that line")
    log_axis(time, tokens, "time per token, one sequence", "tokens in the sequence", "µs")
    log_axis(memory, tokens, "memory of activations and their gradients", "tokens in the sequence", "MB", "log")
    rows = column(batch, "rows")
    decode.plot(rows, column(batch, "tokens_per_s"), "o-", ms=4)
    log_axis(decode, rows, "sampling, SmolLM2-135M's shape", "rows decoded together", "tokens/s")
    widths = column(width, "width")
    step.plot(widths, column(width, "step_s"), "o-", ms=4)
    log_axis(step, widths, "training step of 8 x 256 tokens, 8 layers", "model width", "s", "log")
    for axis in (time, memory):
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(sys.argv[2], metadata={"Date": None})
    text = Path(sys.argv[2]).read_text()  # without trailing spaces, which git complains about
    Path(sys.argv[2]).write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


if __name__ == "__main__":
    main()
