"""Checks a low-rank adapter written by thinker: does PEFT load it, and is the model with it the checkpoint beside it?

    thinker sft MODEL_DIR --data F --lora-rank 8 --out OUT          (or thinker dpo, or a checkpoint of thinker train)
    thinker score OUT < tests/goldens/smollm2/score.jsonl > /tmp/score.jsonl
    python tests/compare_lora.py MODEL_DIR OUT --score /tmp/score.jsonl [--input tests/goldens/smollm2/score.jsonl]

MODEL_DIR is the folder that training began from (a .gguf file: make it one with `thinker convert`), OUT/adapter the adapter.
Fails (exit 1) where PEFT leaves a tensor of the adapter out or finds one missing, where the logits of MODEL_DIR with the adapter
differ from those of the checkpoint OUT by more than 1e-3 (fp32) or from its own merged ones, or where log-probs that
`thinker score` printed differ from PEFT's. Exit 77: skipped, torch or peft is missing.
"""
import argparse
import pathlib
import sys

try:
    import peft
    import torch
    from safetensors.torch import load_file
except ImportError:
    print("skipped: torch or peft is not installed")
    sys.exit(77)

from compare_checkpoint import SCORE_INPUT, TOLERANCE, compare_scores, load_checkpoint, read_jsonl
import common


def load_adapted(base, folder):
    """The base model with the adapter, all of whose tensors were used: PEFT's own state is what the file holds."""
    model, tokenizer = load_checkpoint(base)
    adapted = peft.PeftModel.from_pretrained(model, folder).eval()
    file = load_file(folder / "adapter_model.safetensors")
    state = peft.get_peft_model_state_dict(adapted)
    if set(state) != set(file):
        sys.exit(f"{folder}: PEFT and the file differ in {sorted(set(state) ^ set(file))[:4]}")
    if any(not torch.equal(state[name], file[name]) for name in file):
        sys.exit(f"{folder}: PEFT has other values than the file")
    print(f"{folder}: PEFT loads {len(file)} tensors, rank {adapted.peft_config['default'].r}")
    return adapted, tokenizer


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT")
    parser.add_argument("--score", type=pathlib.Path)
    parser.add_argument("--input", type=pathlib.Path, default=SCORE_INPUT)
    args = parser.parse_args()
    inputs = read_jsonl(args.input)
    adapted, tokenizer = load_adapted(args.base, args.out / "adapter")
    prompts = [common.prompt_ids(tokenizer, line["messages"]) for line in inputs]
    found = [logits(adapted, ids) for ids in prompts]
    with adapted.disable_adapter():
        moved = max(float((logits(adapted, ids) - x).abs().max()) for ids, x in zip(prompts, found))
    failed = compare_scores(adapted, tokenizer, inputs, read_jsonl(args.score)) if args.score else 0
    checkpoint, _ = load_checkpoint(args.out)
    merged = adapted.merge_and_unload()
    worst = {}
    for name, other in (("the checkpoint's", checkpoint), ("those merged by PEFT", merged)):
        worst[name] = max(float((logits(other, ids) - x).abs().max()) for ids, x in zip(prompts, found))
    weights = dict(merged.named_parameters())
    apart = max(float((p - weights[name]).detach().abs().max()) for name, p in checkpoint.named_parameters())
    for name, off in worst.items():
        ok = off <= TOLERANCE
        failed += not ok
        print(f"largest difference of a logit from {name}: {off:.2g}{'' if ok else ' FAILED'}")
    print(f"largest difference of a weight from PEFT's merged one: {apart:.2g}; the adapter moves logits by up to {moved:.2g}")
    if not moved > 10 * TOLERANCE:
        print("FAILED: an adapter that does nothing shows nothing")
        failed += 1
    print("FAILED" if failed else "equal")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
