"""Are rewards the same in thinker and in transformers? Both ways: a classifier with one label that transformers made is the
model of thinker's judge, and a checkpoint that `thinker reward` wrote is loaded by transformers.

    python tests/compare_reward.py build/thinker models/SmolLM2-135M-Instruct.Q4_1.gguf

MODEL (folder or .gguf) lends its tokenizer; the models are tiny ones of both families, with random weights. Fails (exit 1)
where transformers reports missing, unexpected or misshapen tensors, or where a reward differs by more than 1e-3 (fp32), alone or
in a padded batch. Exit 77: skipped, torch is missing.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import torch
    import transformers
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
except ImportError:
    print("skipped: torch is not installed")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).parent / "goldens"))
import common

TOLERANCE = 1e-3
PROMPTS = [[{"role": "user", "content": "Name a colour."}],
           [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}],
           [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Good day."}, {"role": "user", "content": "Count to 3."}]]
RESPONSES = ["Red.", "One, two, three: that is as far as I was told to count, and so I stop here.", "naïve 你好 \n\n* a list\n* of 2"]


def write_jsonl(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def tiny_models(vocabulary):
    """A classifier and two language models; heads that are tied and not, biases, derived head sizes."""
    shape = {"vocab_size": vocabulary, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 256}
    llama = transformers.LlamaConfig(**shape, head_dim=8, tie_word_embeddings=True)
    qwen = transformers.Qwen2Config(**shape, tie_word_embeddings=False)
    one = {"num_labels": 1}
    yield "llama-classifier", transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**shape, **one))
    yield "qwen2-classifier", transformers.Qwen2ForSequenceClassification(transformers.Qwen2Config(**shape, **one))
    yield "llama", transformers.LlamaForCausalLM(llama)
    yield "qwen2", transformers.Qwen2ForCausalLM(qwen)


def load(folder):
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                                     output_loading_info=True)
    wrong = {k: sorted(map(str, info[k])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
    if wrong or model.config.num_labels != 1:
        sys.exit(f"{folder}: {wrong or 'not one label'}")
    # AutoTokenizer would give every qwen2 folder the pre-tokenizer of Qwen2, whatever its tokenizer.json says.
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)


def transformers_rewards(folder):
    """Of every prompt with every response, each alone; then all at once, padded, where the checkpoint names a pad token."""
    model, tokenizer = load(folder)
    sequences = [common.prompt_ids(tokenizer, p) + common.completion_ids(tokenizer, r) for p in PROMPTS for r in RESPONSES]
    pad = model.config.pad_token_id
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([ids])).logits[0, 0].item() for ids in sequences]
        if pad is None:
            return alone, None
        longest = max(map(len, sequences))
        rows = [ids + [pad] * (longest - len(ids)) for ids in sequences]
        mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids in sequences]
        batch = model(input_ids=torch.tensor(rows), attention_mask=torch.tensor(mask)).logits[:, 0].tolist()
    return alone, batch


def thinker_rewards(thinker, folder, work):
    write_jsonl(work / "prompts.jsonl", [{"id": i, "messages": p} for i, p in enumerate(PROMPTS)])
    write_jsonl(work / "samples.jsonl", [{"id": i, "sample": k, "prompt_ids": [1], "ids": [1], "logprobs": [0.0], "text": r,
                                          "thought": None, "response": r, "parse": "ok", "stop": "end"}
                                         for i in range(len(PROMPTS)) for k, r in enumerate(RESPONSES)])
    (work / "judge.json").write_text(json.dumps({"kind": "reward", "model": str(folder), "device": "cpu"}))
    run(thinker, "judge", "--samples", work / "samples.jsonl", "--judge", work / "judge.json", "--out", work / "judgments.jsonl")
    return [json.loads(line)["score"] for line in (work / "judgments.jsonl").read_text().splitlines()]


def compare(what, thinker, folder, work):
    ours = thinker_rewards(thinker, folder, work)
    alone, batch = transformers_rewards(folder)
    spread = max(alone) - min(alone)
    worst = max(abs(a - b) for a, b in zip(ours, alone, strict=True))
    in_batch = max(abs(a - b) for a, b in zip(ours, batch, strict=True)) if batch else 0.0
    ok = worst <= TOLERANCE and in_batch <= TOLERANCE and spread > 0.05
    print(f"{what}: {len(ours)} rewards from {min(alone):.3f} to {max(alone):.3f}, largest difference {worst:.2g}, "
          f"{f'in a padded batch {in_batch:.2g}' if batch else 'no pad token'}{'' if ok else '  FAILED'}")
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("thinker", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL")
    args = parser.parse_args()
    torch.manual_seed(4)
    work = pathlib.Path(tempfile.mkdtemp(prefix="compare-reward-"))
    run(args.thinker, "convert", args.model, work / "base", "--dtype", "bf16")
    vocabulary = json.loads((work / "base/config.json").read_text())["vocab_size"]
    write_jsonl(work / "pairs.jsonl", [{"messages": p, "chosen": RESPONSES[i], "rejected": RESPONSES[i - 1], "margin": 0.5 * i}
                                       for i, p in enumerate(PROMPTS)])
    ok = True
    for name, model in tiny_models(vocabulary):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.2 * torch.randn(p.shape))
        folder = work / name
        model.save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(work / "base" / file, folder)
        if name.endswith("classifier"):
            ok = compare(f"{name}, made by transformers", args.thinker, folder, work) and ok
        trained = work / f"{name}-trained"
        run(args.thinker, "reward", folder, "--pairs", work / "pairs.jsonl", "--held-out", "0", "--out", trained, "--lr", "1e-2",
            "--epochs", "5", "--device", "cpu")
        ok = compare(f"{name}, trained by thinker", args.thinker, trained, work) and ok
    shutil.rmtree(work)
    print("equal" if ok else "FAILED")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
