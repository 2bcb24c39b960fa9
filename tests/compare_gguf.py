"""Compares what thinker computes with a GGUF model against transformers with the same dequantised weights, in fp32.

    thinker score MODEL.gguf < tests/goldens/smollm2/score.jsonl > /tmp/score.jsonl
    thinker generate MODEL.gguf --greedy --max-new 48 < tests/goldens/smollm2/prompts.jsonl > /tmp/generate.jsonl
    python tests/compare_gguf.py MODEL.gguf --score /tmp/score.jsonl --generate /tmp/generate.jsonl

--score       lines printed by `thinker score`: {"ids", "logprobs", "sum_logprob"}; --score-input: the lines given to it,
              {"messages", "completion"} (default tests/goldens/smollm2/score.jsonl)
--generate    lines printed by `thinker generate --greedy`: {"ids", "logprobs", "stop"}, one a prompt; --generate-input: the lines
              given to it, {"messages"} (default tests/goldens/smollm2/prompts.jsonl); --max-new: as given to it (48)

Log-probs must agree within 1e-3 a token. Greedy ids must be equal; the stop must be "end" exactly when the last id is an end
token, and "length" only at --max-new ids. A step where the model's two best logits are less than 1e-3 apart may go either way:
it is printed as a near-tie and the rest of its line is not judged (the default prompts have none). Exit 1: something differs;
77: skipped, torch or gguf is missing. For "smollm" files the digit step that transformers loses is put back.
"""
import argparse
import pathlib
import sys

from compare_checkpoint import HERE, SCORE_INPUT, TOLERANCE, common, compare_scores, paired, read_jsonl, torch, worst_difference

try:
    import gguf  # transformers needs it to read such files
except ImportError:
    print("skipped: gguf is not installed")
    sys.exit(77)


def end_ids(model, tokenizer):
    ends = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id} | set(ends if isinstance(ends, list) else [ends]) - {None}


def check_greedy(model, prompt, out, ends, max_new):
    """What is wrong with one line of greedy output ("" if nothing): one forward over its ids shows the best id of every step."""
    ids = out["ids"]
    if not ids or len(ids) > max_new or any(i in ends for i in ids[:-1]):
        return f"{len(ids)} ids, or ids after an end token"
    if (out["stop"] == "end") != (ids[-1] in ends) or (out["stop"] != "end" and len(ids) != max_new):
        return f"stop is {out['stop']!r} after {len(ids)} ids, the last of them {ids[-1]}"
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + ids]), use_cache=False).logits[0, len(prompt) - 1:-1]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).squeeze(-1).tolist()
    judged = len(ids)
    for step, row in enumerate(logits):
        best = row.topk(2)
        if int(best.indices[0]) != ids[step]:
            gap = float(best.values[0] - row[ids[step]])
            if not gap <= TOLERANCE:
                return f"step {step}: id {ids[step]}, transformers has {int(best.indices[0])}, {gap:.2g} above it"
            print(f"  near-tie at step {step}, the rest is not judged")
            judged = step + 1
            break
    worst = worst_difference(out["logprobs"], expected) if judged == len(ids) else \
        worst_difference(out["logprobs"][:judged], expected[:judged])
    return "" if worst <= TOLERANCE else f"log-probs differ by {worst:.2g}"


def compare_greedy(model, tokenizer, inputs, outputs, max_new):
    """Number of lines of `thinker generate --greedy` that differ from transformers."""
    failed, ends = 0, end_ids(model, tokenizer)
    for i, (line, out) in enumerate(paired(inputs, outputs, "generate"), 1):
        reason = check_greedy(model, common.prompt_ids(tokenizer, line["messages"]), out, ends, max_new)
        failed += reason != ""
        print(f"generate line {i}: {len(out['ids'])} ids, {'FAILED: ' + reason if reason else 'equal'}")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("--score", type=pathlib.Path)
    parser.add_argument("--score-input", type=pathlib.Path, default=SCORE_INPUT)
    parser.add_argument("--generate", type=pathlib.Path)
    parser.add_argument("--generate-input", type=pathlib.Path, default=HERE / "goldens/smollm2/prompts.jsonl")
    parser.add_argument("--max-new", type=int, default=48)
    args = parser.parse_args()
    if not args.score and not args.generate:
        parser.error("give --score, --generate or both")
    model, tokenizer = common.load_gguf_model(args.model), common.load_gguf_tokenizer(args.model)
    failed = 0
    if args.score:
        failed += compare_scores(model, tokenizer, read_jsonl(args.score_input), read_jsonl(args.score))
    if args.generate:
        failed += compare_greedy(model, tokenizer, read_jsonl(args.generate_input), read_jsonl(args.generate), args.max_new)
    print(f"FAILED: {failed} lines" if failed else "equal")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
