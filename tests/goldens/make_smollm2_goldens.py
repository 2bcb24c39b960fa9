"""Makes tests/goldens/smollm2/: what transformers computes with SmolLM2-135M-Instruct.Q4_1.gguf, dequantised to fp32.

Run: python tests/goldens/make_smollm2_goldens.py [--model models/SmolLM2-135M-Instruct.Q4_1.gguf]    (CPU, a few minutes)

Before anything is computed the query, key and value matrices of every layer are compared with the file's own blocks as the
`gguf` package dequantises them: transformers must have undone the row permutation of GGUF's q and k.

Inputs, in the formats that the thinker command reads:
  prompts.jsonl    {id, messages}                                          thinker generate --greedy --max-new 48
  score.jsonl      {id, messages, completion}                              thinker score
  pairs.jsonl      {id, messages, chosen, rejected, *_ids}                 thinker dpo --pairs
Expected values; every id list is written out, so no tokenizer is needed to use them:
  generate.json    prompt_ids, greedy ids of 48 new tokens (or up to the end token), their logprobs, and gaps: best logit
                   minus second best at each step (the smallest is above 1e-3, so rounding does not change the ids)
  score.json       prompt_ids, completion_ids (end token included), logprobs, sum_logprob
  dpo.json         five steps on the four pairs as one batch: sigmoid, beta 0.1, AdamW without decay, clip 1, constant lr
                   1e-5, reference = initial model; each line as in `thinker dpo --log` (all from before the update), and
                   the reference's sums. "rounding": the largest difference, relative above 1, of a second run with
                   another attention kernel (sdpa for eager).
One rejected completion ends without the end token, as a sample does that was cut short: ids are trained on untouched.
"""
import argparse
import pathlib
import time

import gguf
import torch

import common
import smollm2_texts as texts

OUT = pathlib.Path(__file__).parent / "smollm2"
MODEL = pathlib.Path(__file__).parents[2] / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
END = 2  # <|im_end|>


def check_weights(model, path):
    """Equal to the file's blocks, with rows of q and k moved from interleaved pairs back to halves."""
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    heads = {"q": model.config.num_attention_heads, "k": model.config.num_key_value_heads, "v": None}
    for i, layer in enumerate(model.model.layers):
        for name, h in heads.items():
            stored = tensors[f"blk.{i}.attn_{name}.weight"]
            rows = torch.from_numpy(gguf.dequantize(stored.data, stored.tensor_type))
            if h:
                rows = rows.view(h, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
            assert torch.equal(rows, getattr(layer.self_attn, name + "_proj").weight.detach()), (i, name)


def make_generate(model, tokenizer):
    rows = []
    for row in texts.PROMPTS:
        ids = common.prompt_ids(tokenizer, row["messages"])
        out = common.greedy(model, ids, 48, {END})
        cached = model.generate(torch.tensor([ids]), max_new_tokens=48, do_sample=False, pad_token_id=END)
        assert cached[0, len(ids):].tolist() == out["ids"], row["id"]
        print(f"{row['id']}: prompt {len(ids)}, new {len(out['ids'])} ({out['stop']}), smallest gap {min(out['gaps']):.2g}")
        print("   ", repr(tokenizer.decode(out["ids"])))
        assert min(out["gaps"]) > 1e-3, "choose another prompt: a near-tie"
        rows.append({"id": row["id"], "prompt_ids": ids, **out})
    common.write_jsonl(OUT / "prompts.jsonl", texts.PROMPTS)
    common.write_json(OUT / "generate.json", {"versions": common.versions(), "max_new": 48, "rows": rows})


def make_score(model, tokenizer):
    rows = []
    for row in texts.SCORED:
        prompt, completion = common.prompt_ids(tokenizer, row["messages"]), common.completion_ids(tokenizer, row["completion"])
        with torch.no_grad():
            logprobs = common.completion_logprobs(model, prompt, completion).tolist()
        rows.append({"id": row["id"], "prompt_ids": prompt, "completion_ids": completion, "logprobs": logprobs,
                     "sum_logprob": sum(logprobs)})
        print(f"{row['id']}: prompt {len(prompt)}, completion {len(completion)}, sum {sum(logprobs):.4f}")
    common.write_jsonl(OUT / "score.jsonl", texts.SCORED)
    common.write_json(OUT / "score.json", {"versions": common.versions(), "rows": rows})


def make_pairs(tokenizer):
    pairs = []
    for row in texts.PAIRS:
        chosen, rejected = (common.completion_ids(tokenizer, row[side]) for side in ("chosen", "rejected"))
        pairs.append({**row, "prompt_ids": common.prompt_ids(tokenizer, row["messages"]), "chosen_ids": chosen,
                      "rejected_ids": rejected[:-1] if row["id"] in texts.CUT_SHORT else rejected})
        print(row["id"], *(len(pairs[-1][k]) for k in ("prompt_ids", "chosen_ids", "rejected_ids")))
    common.write_jsonl(OUT / "pairs.jsonl", pairs)
    return pairs


def dpo_run(model, pairs, steps=5, lr=1e-5, beta=0.1):
    """Log lines and the reference's sums. Pairs go through backward one at a time: their mean's gradient, less memory."""
    sides = lambda row: [common.completion_logprobs(model, row["prompt_ids"], row[s]) for s in ("chosen_ids", "rejected_ids")]
    with torch.no_grad():
        reference = torch.tensor([[x.sum() for x in sides(row)] for row in pairs])
    optimizer, log = common.adamw(model, lr, 0.0), []
    for step in range(1, steps + 1):
        losses, chosen, rejected = [], [], []
        for row, (ref_c, ref_r) in zip(pairs, reference):
            c, r = sides(row)
            loss = common.preference_losses("sigmoid", [c], [r], [ref_c], [ref_r], beta)[0]
            (loss / len(pairs)).backward()
            losses.append(loss.item())
            chosen.append(c.detach())
            rejected.append(r.detach())
        numbers = common.dpo_step_log(chosen, rejected, reference[:, 0], reference[:, 1], beta)
        norm = common.update(model, optimizer, lr, 1.0)
        log.append({"step": step, "epoch": step, "loss": sum(losses) / len(losses), **numbers, "grad_norm": norm, "lr": lr,
                    "logps": [[float(c.sum()), float(r.sum())] for c, r in zip(chosen, rejected)]})
        print(f"  step {step}: loss {log[-1]['loss']:.6f} margin {numbers['margin']:.6f} grad_norm {norm:.4f}")
    return log, reference.tolist()


def difference(log, other):
    """By key, the largest difference of two logs, relative above 1."""
    keys = ("loss", "margin", "logp_chosen", "logp_rejected", "grad_norm")
    return {k: max(abs(a[k] - b[k]) / max(1.0, abs(a[k])) for a, b in zip(log, other)) for k in keys}


def make_dpo(path, model, pairs):
    log, reference = dpo_run(model, pairs)
    assert abs(log[0]["loss"] - 0.6931471805599453) < 1e-5 and abs(log[0]["margin"]) < 1e-5, log[0]
    assert log[-1]["loss"] < log[0]["loss"]
    again, _ = dpo_run(common.load_gguf_model(path, "sdpa"), pairs)
    rounding = difference(log, again)
    print("rounding", rounding)
    command = "thinker dpo MODEL --pairs pairs.jsonl --batch 4 --epochs 5 --no-shuffle --lr 1e-5 --schedule constant"
    common.write_json(OUT / "dpo.json", {"versions": common.versions(), "command": command, "beta": 0.1, "rounding": rounding,
                                         "reference": reference, "log": log})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=MODEL)
    path = parser.parse_args().model
    start = time.time()
    torch.manual_seed(0)
    OUT.mkdir(exist_ok=True)
    model, tokenizer = common.load_gguf_model(path), common.load_gguf_tokenizer(path)
    check_weights(model, path)
    make_score(model, tokenizer)
    make_generate(model, tokenizer)
    make_dpo(path, model, make_pairs(tokenizer))  # last: it trains the model
    print(f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
