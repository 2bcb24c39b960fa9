#!/usr/bin/env python3
"""Thinker and its peers side by side on one machine: PyTorch, transformers, TRL, llama.cpp (`make bench-peers`).

Makes a virtual environment of its own, installs the peers from PyPI there, and measures each row of the table in turns:
ours, the peer, ours, the peer. Every measurement is a process of its own with the same number of threads, warms up
before it counts, and reports its best repetition and its own peak memory. Texts are random ids of the same lengths on
both sides. A peer that cannot be installed is a skip, counted. Writes OUT.json and OUT.md; rows measured by an earlier
call with --only stay in OUT.json.

With --device cuda it has rows of its own: models of four shapes (shapes/) with random weights, in bf16, beside PyTorch
and transformers. With --python no environment is made: that interpreter's packages are the peers.

The peers' code is in peers_work.py, one function a piece of work.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ["torch", "transformers", "trl", "llama-cpp-python", "matplotlib"]


@dataclass
class Row:
    """ours: what Bench.ours understands; for a figure of thinker bench its options and a part of the row's name."""
    name: str
    ours: object
    peer: str  # a function of peers_work.py with its arguments; {shape}: layers and width that ours has told
    target: str = ""
    note: str = ""
    shape: str = ""  # a file of shapes/ in place of the model


DPO, SFT = "DPO step, batch 4", "SFT step, 8 x 512"
SAMPLE = "generate, 64 rows, K = 8 of 8 prompts, 128 new"
CHAT = "weights file: 1 row, 256 new tokens"
SCORE = "score 64 completions of 32"
F32, BF16 = ["--dtype", "f32"], ["--dtype", "bf16"]
HAS_BF16 = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
PROMPT = ((BF16, "weights full: a prompt of 512 tokens") if HAS_BF16 else
          (F32, "weights file: a prompt of 512 tokens"))

ROWS = [
    Row("DPO step, fp32", (F32, DPO), "trl_dpo fp32", "4.5", "pairs/s; reference log-probs beforehand"),
    Row("DPO step, bf16", (BF16, DPO), "trl_dpo bf16", "4", "ours: products in bf16, weights fp32; TRL: autocast"),
    Row("DPO step, bf16, against weights in bf16", (BF16, DPO), "trl_dpo bf16-weights", "4",
        "TRL: weights and optimizer in bf16 too"),
    Row("SFT step, fp32", (F32, SFT), "torch_sft_fp32", "2", "SDPA, fused AdamW"),
    Row("sampling, bf16, against fp32", (BF16, SAMPLE), "hf_sample fp32", "6", "one batch of 64"),
    Row("sampling, both in fp32", (F32, SAMPLE), "hf_sample fp32"),
    Row("sampling, bf16", (BF16, SAMPLE), "hf_sample bf16", "4", "transformers: weights in bf16"),
    Row("sampling, best precisions", (BF16, SAMPLE), "llama_parallel best", "4",
        "llama.cpp: 64 parallel sequences, tokens given to it (no sampling to pay)"),
    Row("prompt of 512 tokens", PROMPT, "llama_prompt", "3",
        "ours: " + ("bf16 products" if HAS_BF16 else "Q4_1") + "; llama.cpp: Q4_1"),
    Row("chat from the Q4_1 file", (F32, CHAT), "llama_chat", "2", "256 new tokens, the same file"),
    Row("scoring 64 x 32 tokens on a prompt of 512", (F32, SCORE), "hf_score fp32", "8",
        "transformers: each row with its prompt, logits of the completions only"),
    Row("start to first token of a chat", "first_token", "llama_first_token", "1",
        "seconds, warm file cache; llama.cpp: without the start of Python"),
    Row("peak memory of the DPO step, fp32", "memory", "DPO step, fp32", "1/2", "GB, as measured with its speed"),
    Row("demo's model: training its seed", (F32, "seed training, batch 64"), "torch_demo_train {shape}", "3",
        "texts of 24 to 72 symbols; PyTorch: padded, SDPA, fused AdamW"),
    Row("demo's model: sampling", (F32, "K = 8 of 32 prompts"), "torch_demo_sample {shape}", "3",
        "40 new symbols; PyTorch: a batch of 256 with its cache"),
]

LORA = ["--lora-rank", "16"]
GPU_ROWS = [
    Row("8B, adapters: SFT step, 4 x 2048", (BF16 + LORA, "SFT step, 4 x 2048 tokens"), "torch_sft 4 2048 adapters",
        "0.9", "asked of the machine: 55 %; PyTorch: compiled, flash attention, PEFT", "llama-3-8b"),
    Row("8B, adapters: DPO step, prompts of 1024", (BF16 + LORA, "DPO step, batch 2, prompts 1024"),
        "torch_dpo 2 1024 1024 1024 adapters", "1.2", "pairs/s; completions of 1024, reference log-probs beforehand",
        "llama-3-8b"),
    Row("1B: SFT step, 4 x 2048", (BF16, "SFT step, 4 x 2048 tokens"), "torch_sft 4 2048", "",
        "asked of the machine: 50 %; PyTorch: autocast, fp32 weights", "llama-3.2-1b"),
    Row("3B: SFT step, 4 x 2048", (BF16, "SFT step, 4 x 2048 tokens"), "torch_sft 4 2048", "",
        "asked of the machine: 50 %; PyTorch: autocast, fp32 weights", "llama-3.2-3b"),
    Row("SmolLM2: DPO step, batch 64", (BF16 + ["--micro-tokens", "16384"], "DPO step, batch 64"),
        "torch_dpo 64 128 96 224", "3",
        "pairs/s; PyTorch: autocast, compiled, padded, logits of the completions only", "smollm2-135m"),
    Row("SmolLM2: sampling, 256 rows", (BF16, "generate, 256 rows, K = 8 of 32 prompts, 256 new"),
        "hf_sample bf16 32 256", "5", "asked: 60,000 tokens/s; transformers: cache of fixed size, compiled",
        "smollm2-135m"),
    Row("8B: sampling, 64 rows", (BF16, "generate, 64 rows, K = 8 of 8 prompts, 256 new"), "hf_sample bf16 8 256", "",
        "asked of the memory's bandwidth: 60 %", "llama-3-8b"),
]


def environment(folder):
    """The environment's Python, made and filled where it is missing; packages that fail are left out."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for package in PACKAGES:
        module = package.replace("-python", "").replace("-", "_")
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
            continue
        print(f"installing {package} into {folder}", file=sys.stderr)
        subprocess.run([*pip, package])
    return python


def shape_file(row):
    return HERE / "shapes" / f"{row.shape}.json"


class Bench:
    def __init__(self, args, python):
        self.args, self.python, self.shape, self.device = args, python, "", args.device
        self.env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), TOKENIZERS_PARALLELISM="false")

    def thinker(self, options, row, model):
        """(value, peak GB, share of the machine) of a row of `thinker bench`: NAME  VALUE UNIT  SHARE % of WHAT."""
        command = [self.args.thinker, "bench", *model, "--repeat", "2", "--only", row, "--device", self.args.device,
                   *options]
        out = self.printed(command)
        self.device = out.splitlines()[0]
        value = re.search(rf"^.*{re.escape(row)}.*?  +([\d.]+) \S+(?: +([\d.]+ % of .*))?$", out, re.M)
        if not value:
            raise RuntimeError(f"thinker bench has no row \"{row}\"")
        shape = re.search(r"(\d+) layers, width (\d+)", out)
        self.shape = " ".join(shape.groups()) if shape else ""
        memory = re.search(r"^peak memory of this process +([\d.]+) GB", out, re.M)
        return float(value[1]), memory and float(memory[1]), value[2] or ""

    def ours(self, row):
        if row.ours == "first_token":
            return self.first_token(), None, ""
        return self.thinker(*row.ours, ["--config", shape_file(row)] if row.shape else [self.args.model])

    def first_token(self):
        """Seconds from the start of `thinker chat` to the first character of its answer; the best of five."""
        best = 1e9
        for _ in range(5):
            start = time.time()
            chat = subprocess.Popen([self.args.thinker, "chat", self.args.model, "--greedy", *self.args.chat.split()],
                                    env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL)
            chat.stdin.write(b"What is the capital of France?\n")
            chat.stdin.flush()
            chat.stdout.read(1)
            best = min(best, time.time() - start)
            chat.kill()
            chat.wait()
        return best

    def peer(self, row):
        """What the peer's process printed."""
        words = row.peer.format(shape=self.shape).split()
        model = ["--shape", shape_file(row)] if row.shape else ["--gguf", self.args.model, "--folder", self.args.folder]
        command = [self.python, HERE / "peers_work.py", *words, *model, "--device", self.args.device,
                   "--threads", str(self.args.threads), "--cache", self.args.cache]
        out = self.printed(command).strip()
        try:
            return json.loads(out.splitlines()[-1])
        except (ValueError, IndexError):
            raise RuntimeError(f"the peer printed no figure: {out[-80:]!r}") from None

    def printed(self, command):
        done = subprocess.run([str(c) for c in command], env=self.env, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip()
                               else f"ended with status {done.returncode}")
        return done.stdout

    def run(self, row, results):
        """The better of `rounds` turns on each side."""
        if row.ours == "memory":
            if row.peer not in results:
                raise RuntimeError(f"needs the row \"{row.peer}\"")
            ours, peers = [[results[row.peer][side]] for side in ("ours_gb", "peer_gb")]
            share, peaks, what = "", [None, None], ""
        else:
            ours, peers = [], []
            for _ in range(self.args.rounds):
                value, memory, share = self.ours(row)
                ours.append(value)
                other = self.peer(row)
                peers.append(other["value"])
            peaks, what = [memory, other["peak_gb"]], other.get("what", "")
        lower = row.name.startswith(("start", "peak"))
        best = min if lower else max
        a, b = best(ours), best(peers)
        return {"row": row.name, "ours": a, "peer": b, "ratio": b / a if lower else a / b, "target": row.target,
                "of_machine": share, "note": row.note + (f"; {what}" if what else ""), "ours_gb": peaks[0],
                "peer_gb": peaks[1], "all_ours": ours, "all_peer": peers}


def versions(python):
    code = ("import importlib.metadata as m\n"
            "for p in ('torch', 'transformers', 'peft', 'trl', 'llama_cpp_python'):\n"
            "  try: print(p, m.version(p))\n"
            "  except m.PackageNotFoundError: pass")
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.replace("\n", ", ").strip(", ")


def processor():
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)[1]
    flags = re.search(r"flags\s*: (.*)", text)[1].split()
    vectors = [f for f in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if f in flags]
    return f"{name}, {' '.join(vectors)}"


def instructions(python):
    """Which vector instructions each peer says it uses."""
    code = ("import torch\nprint('PyTorch', torch.backends.cpu.get_cpu_capability())\n"
            "import llama_cpp\nprint('llama.cpp', llama_cpp.llama_print_system_info().decode())")
    out = subprocess.run([python, "-c", code], capture_output=True, text=True).stdout
    return [line for line in out.splitlines() if line.startswith(("PyTorch", "llama.cpp"))]


def markdown(results, skips, about):
    lines = ["| work | Thinker | of the machine | peer | ratio | target | |", "|---|---|---|---|---|---|---|"]
    for r in results:
        lines.append(f"| {r['row']} | {r['ours']:.4g} | {r['of_machine']} | {r['peer']:.4g} | {r['ratio']:.2f} × | "
                     f"{r['target'] and r['target'] + ' ×'} | {r['note']} |")
    lines += ["", *about, f"{len(skips)} skipped" + (": " + "; ".join(skips) if skips else "") + "."]
    return "\n".join(lines) + "\n"


def write(args, bench, peers, rows, skips):
    """peers: lines on their versions and instructions."""
    device = processor() if args.device == "cpu" else bench.device
    about = [f"{args.threads} threads each; {device}. {peers[0]}.", *peers[1:]]
    Path(args.out + ".json").write_text(json.dumps({"rows": rows, "skipped": skips, "about": about}, indent=1) + "\n")
    Path(args.out + ".md").write_text(markdown(rows, skips, about))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--thinker", default="build/thinker")
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--venv", default=".venv-peers", help="the peers' virtual environment")
    parser.add_argument("--python", help="an interpreter that has the peers, in place of that environment")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--chat", default="", help="options of thinker chat for the first token")
    parser.add_argument("--out", default="build/bench-peers", help="OUT.json and OUT.md are written")
    args = parser.parse_args()
    python = args.python or environment(Path(args.venv))
    args.cache = Path(args.out).parent / "peers-cache"
    args.cache.mkdir(parents=True, exist_ok=True)
    args.folder = args.cache / "model"
    rows = GPU_ROWS if args.device == "cuda" else ROWS
    if args.device == "cpu" and not (args.folder / "model.safetensors").exists():
        subprocess.run([args.thinker, "convert", args.model, args.folder], check=True)
    bench, path = Bench(args, python), Path(args.out + ".json")
    kept = json.loads(path.read_text())["rows"] if args.only and path.exists() else []
    results, skips = {r["row"]: r for r in kept}, []
    peers = [versions(python), *instructions(python)]
    for row in rows:
        if args.only not in row.name:
            continue
        try:
            result = bench.run(row, results)
        except RuntimeError as e:
            skips.append(f"{row.name} ({e})")
            print(f"SKIP: {row.name}: {e}", file=sys.stderr)
            continue
        results[row.name] = result
        write(args, bench, peers, [results[r.name] for r in rows if r.name in results], skips)
        print(f"{row.name:<48} {result['ours']:9.4g} {result['peer']:9.4g} {result['ratio']:6.2f} x "
              f"(target {row.target or 'none'}) {result['of_machine']}", flush=True)
    write(args, bench, peers, [results[r.name] for r in rows if r.name in results], skips)
    print(f"{len(results)} rows, {len(skips)} skipped; wrote {path} and {args.out}.md")


if __name__ == "__main__":
    main()
