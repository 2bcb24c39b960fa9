"""Checks a checkpoint written by thinker: does transformers load it, and compute the same log-probs?

    thinker score MODEL_DIR < tests/goldens/smollm2/score.jsonl > /tmp/score.jsonl
    python tests/compare_checkpoint.py MODEL_DIR --score /tmp/score.jsonl [--input tests/goldens/smollm2/score.jsonl]

--input: the lines given to `thinker score`, {"messages", "completion"}; --score: the lines that it printed, {"ids", "logprobs",
"sum_logprob"}, in the same order. Fails (exit 1) where transformers reports missing, unexpected or misshapen tensors, where
completion ids differ, or where a token's log-prob differs by more than 1e-3 (fp32). Without --score only loading and one forward
are checked. Texts must not spell out special tokens: transformers would parse them. Exit 77: skipped, torch is missing.
"""
import argparse
import json
import math
import pathlib
import sys

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError:
    print("skipped: torch is not installed")
    sys.exit(77)

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "goldens"))
import common

TOLERANCE = 1e-3
SCORE_INPUT = HERE / "goldens/smollm2/score.jsonl"


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def paired(inputs, outputs, what):
    """Input and output lines side by side; their number, order and ids must agree."""
    if not outputs or len(inputs) != len(outputs):
        sys.exit(f"{what}: {len(inputs)} lines in, {len(outputs)} lines out")
    for i, (a, b) in enumerate(zip(inputs, outputs), 1):
        if a.get("id") != b.get("id"):
            sys.exit(f"{what}: line {i} has id {b.get('id')!r}, its input {a.get('id')!r}")
    return list(zip(inputs, outputs))


def worst_difference(a, b):
    """Largest absolute difference; infinite where lengths differ or a value is not finite."""
    if len(a) != len(b) or not all(math.isfinite(x) for x in a):
        return math.inf
    return max((abs(x - y) for x, y in zip(a, b)), default=math.inf)


def compare_scores(model, tokenizer, inputs, outputs):
    """Number of lines of `thinker score` that differ from transformers."""
    failed = 0
    for i, (line, out) in enumerate(paired(inputs, outputs, "score"), 1):
        prompt = common.prompt_ids(tokenizer, line["messages"])
        completion = common.completion_ids(tokenizer, line["completion"])
        if completion != out["ids"]:
            print(f"score line {i}: ids differ:\n  transformers {completion}\n  thinker      {out['ids']}")
            failed += 1
            continue
        with torch.no_grad():
            expected = common.completion_logprobs(model, prompt, completion).tolist()
        worst = worst_difference(out["logprobs"], expected)
        sum_ok = abs(out["sum_logprob"] - sum(expected)) <= TOLERANCE * len(expected)
        ok = worst <= TOLERANCE and sum_ok
        failed += not ok
        print(f"score line {i}: {len(expected)} tokens, largest difference {worst:.2g}{'' if ok else ' FAILED'}")
    return failed


def load_checkpoint(folder):
    """Model and tokenizer of a Hugging Face folder, all of whose tensors were used."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                       output_loading_info=True)
    wrong = {k: sorted(map(str, info[k])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
    if wrong:
        sys.exit(f"{folder}: {wrong}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        sys.exit(f"{folder}: the tokenizer has no chat template or no end token")
    return model.eval(), tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("--score", type=pathlib.Path)
    parser.add_argument("--input", type=pathlib.Path, default=SCORE_INPUT)
    args = parser.parse_args()
    model, tokenizer = load_checkpoint(args.model)
    with torch.no_grad():
        ids = torch.tensor([common.prompt_ids(tokenizer, [{"role": "user", "content": "Hello"}])])
        if not torch.isfinite(model(input_ids=ids).logits).all():
            sys.exit(f"{args.model}: logits are not finite")
    print(f"{args.model}: transformers loads it, {sum(p.numel() for p in model.parameters())} parameters")
    if not args.score:
        print("log-probs not compared: no --score")
        return
    failed = compare_scores(model, tokenizer, read_jsonl(args.input), read_jsonl(args.score))
    print("FAILED" if failed else "equal")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
