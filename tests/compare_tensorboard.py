#!/usr/bin/env python3
"""Reads a run's TensorBoard file with TensorBoard's own reader and compares every value with log.jsonl.

    compare_tensorboard.py RUN        (a folder whose recipe has "log": ["jsonl", "tensorboard"])

Needs the package tensorboard. Wanted: the same tags, steps and numbers (as 32-bit floats), in the log's order; nothing
more, nothing twice.
"""
import json
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator

PLACES = {"iteration", "step", "epoch", "select_epoch"}


def float32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def group_of(line):
    if "select_epoch" in line:
        return "select"
    place, _, name = line["stage"].rpartition("/")
    return name if not place or place.startswith("iter-") else f"{name}_{place}"


def expected(lines):
    """{tag: [(step, value), ...]} from the log alone."""
    found, steps = {}, 0
    for line in lines:
        group = group_of(line)
        steps += group == "train" and "step" in line
        step = steps if group in ("train", "select") else line.get("step", line["iteration"])
        values = {f"{group}/{k}": v for k, v in line.items() if k not in PLACES and type(v) in (int, float)}
        values |= {f"{group}/score/{k}": v["score"] for k, v in line.get("categories", {}).items()}
        for tag, value in values.items():
            found.setdefault(tag, []).append((step, float32(value)))
    return found


def main():
    run = sys.argv[1]
    with open(f"{run}/log.jsonl") as log:
        wanted = expected([json.loads(line) for line in log])
    reader = event_accumulator.EventAccumulator(f"{run}/tensorboard", size_guidance={event_accumulator.SCALARS: 0})
    reader.Reload()
    got = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    for tag in sorted(wanted.keys() | got.keys()):
        if wanted.get(tag) != got.get(tag):
            sys.exit(f"{tag}: log.jsonl has {wanted.get(tag)}, TensorBoard reads {got.get(tag)}")
    print(f"{len(got)} tags, {sum(map(len, got.values()))} values: all equal")


if __name__ == "__main__":
    main()
