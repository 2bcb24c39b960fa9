"""Makes tests/goldens/tiny-llama/, tiny-qwen2/ and tiny-qwen3/: tiny random models and what PyTorch computes with them.

Run: python tests/goldens/make_model_goldens.py [NAME …]        (all, or those named; fp32 on the CPU, one thread, about half a minute)

Each folder holds a model in Hugging Face layout (config.json, model.safetensors) that transformers itself reads back
before anything is computed, and
  golden.json                 scores, greedy ids, losses, training steps (fields below)
  sft_grads.safetensors       gradient of the SFT loss for every parameter
  dpo_grads.safetensors       gradient of the sigmoid DPO loss for every parameter
tiny-llama: tied head, head_dim 8 (so 4 heads x 8 is wider than the model's 24), `rope_theta` as older files write it;
  config-llama3.json is the same model with Llama-3 rope scaling (all three of its branches are hit: kept, blended,
  divided), its scores are `score_llama3`. tiny-qwen2: biases, one KV head, head_dim 6 left to be derived, untied head,
  `rope_parameters` as transformers 5 writes it. tiny-qwen3: norms of each query and key head, no biases, head_dim 10 (40 of
  4 heads, wider than the model), untied head; config-tied.json is the same model with the embedding as its head, its scores are
  `score_tied`.

golden.json
  score, score_llama3, score_tied   {prompt_ids, completion_ids, logprobs, sum}
  greedy                {prompt_ids, ids, logprobs, gaps, stop}; gaps: best logit minus second best
  sft                   two sequences; loss = sum of NLL over all completion tokens / their number; grad_norm
  dpo                   beta, three pairs with the reference's sums (a perturbed copy of the model) and the policy's sums;
                        losses: sigmoid, ipo, cdpo, robust, and the same "+nll": + 0.5 * mean over pairs of the mean NLL
                        over the chosen's tokens; for each the loss, its grad_norm over all parameters, and without nll
                        d loss / d sum of log-probs of each chosen and rejected (the upstream gradients)
  sft_steps             ten AdamW steps on the sft batch: lr 1e-2, decay 0.1 on matrices, clip 1, linear schedule with
                        three warm-up steps; loss and grad_norm (before clipping) of each step, then the scores and each
                        tensor's sum and sum of absolute values after the last
  dpo_steps             ten sigmoid steps on the dpo pairs, reference = initial model: lr 1e-3, no decay, clip 1, constant
  rounding              largest difference of the same numbers computed in f64 (relative above 1): what rounding alone
                        does, per section
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

import common

HERE = pathlib.Path(__file__).parent
VOCAB = 97
END = 96
SHAPE = {"vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "hidden_act": "silu", "max_position_embeddings": 128, "bos_token_id": 95, "eos_token_id": END, "torch_dtype": "float32"}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **SHAPE, "num_key_value_heads": 2, "head_dim": 8,
         "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
         "tie_word_embeddings": True}
# Wavelengths of head_dim 8 and base 10000: 6.3 (kept), 63 (blended), 628 and 6283 (divided by the factor).
LLAMA3 = {**LLAMA, "max_position_embeddings": 1024,
          "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 128}}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **SHAPE, "num_key_value_heads": 1,
         "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
         "use_sliding_window": False, "tie_word_embeddings": False}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **SHAPE, "num_key_value_heads": 2, "head_dim": 10,
         "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "attention_bias": False,
         "use_sliding_window": False, "tie_word_embeddings": False}


def random_weights(model, generator):
    """Large enough that every part of the model matters: matrices N(0, 0.3), norms around 1, biases N(0, 0.3)."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(1 + 0.2 * noise if "norm" in name else 0.3 * noise)


def write_model(folder, config, seed):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    random_weights(model, torch.Generator().manual_seed(seed))
    tensors = {name: p.detach().contiguous() for name, p in model.named_parameters()}  # a tied head appears once
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder, dtype, config=None):
    config = AutoConfig.from_pretrained(folder / config) if config else None
    if config and config.tie_word_embeddings and (folder / "config.json").read_text().count('"tie_word_embeddings": false'):
        # Given a head of its own in the file, transformers would not tie it.
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
        state = {k: v for k, v in load_file(folder / "model.safetensors").items() if k != "lm_head.weight"}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert missing == ["lm_head.weight"] and not unexpected and model.lm_head.weight is model.model.embed_tokens.weight
        return model.eval()
    model, info = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype, attn_implementation="eager",
                                                       output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    # transformers' rotary tables and norms are always fp32; in the f64 run they keep that precision.
    return model.eval()


def data(generator):
    """Sequences of odd lengths, among them a prompt and completions of one token."""
    ids = lambda n: torch.randint(0, VOCAB - 2, (n,), generator=generator).tolist()
    sequences = [(ids(1), ids(5)), (ids(7), ids(1)), (ids(13), ids(9) + [END]), (ids(41), ids(23)), (ids(1), ids(1))]
    shared = ids(6)
    pairs = [(shared, ids(4) + [END], ids(7) + [END]), (shared, ids(3) + [END], ids(2)), (ids(9), ids(11) + [END], ids(1))]
    return sequences, pairs, [ids(1), ids(5), ids(17)]


def score(model, sequences):
    with torch.no_grad():
        rows = [(p, c, common.completion_logprobs(model, p, c).tolist()) for p, c in sequences]
    return [{"prompt_ids": p, "completion_ids": c, "logprobs": lp, "sum": sum(lp)} for p, c, lp in rows]


def sft_loss(model, sequences):
    logprobs = torch.cat([common.completion_logprobs(model, p, c) for p, c in sequences])
    return -logprobs.sum() / len(logprobs)


def both_sides(model, pairs):
    return ([common.completion_logprobs(model, p, c) for p, c, _ in pairs],
            [common.completion_logprobs(model, p, r) for p, _, r in pairs])


def sums(logprobs):
    return torch.stack([x.sum() for x in logprobs]).detach()


def gradients(model, loss):
    """Gradient of every parameter by name, and their global norm; the model's own .grad stay empty."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    grads = {name: p.grad.detach().clone() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return grads, float(torch.stack([g.norm() for g in grads.values()]).norm())


def dpo(model, pairs, reference_sums, beta=0.1, smoothing=0.1, nll=0.5):
    ref_c, ref_r = reference_sums
    losses, sigmoid_grads = {}, None
    for kind in ("sigmoid", "ipo", "cdpo", "robust"):
        e = smoothing if kind in ("cdpo", "robust") else 0.0
        for weight in (0.0, nll):
            chosen, rejected = both_sides(model, pairs)
            for side in chosen + rejected:
                side.retain_grad()
            loss = common.preference_losses(kind, chosen, rejected, ref_c, ref_r, beta, e).mean()
            loss = loss + weight * torch.stack([-c.mean() for c in chosen]).mean()
            grads, norm = gradients(model, loss)
            losses[kind + ("+nll" if weight else "")] = entry = {"loss": loss.item(), "grad_norm": norm}
            if not weight:  # a loss on sums gives every token of a side the same upstream gradient
                entry["d_chosen"] = [float(c.grad[0]) for c in chosen]
                entry["d_rejected"] = [float(r.grad[0]) for r in rejected]
            if kind == "sigmoid" and not weight:
                sigmoid_grads = grads
    chosen, rejected = both_sides(model, pairs)
    log = common.dpo_step_log(chosen, rejected, ref_c, ref_r, beta)
    rows = [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r, "ref_chosen": float(rc), "ref_rejected": float(rr),
             "logp_chosen": float(lc), "logp_rejected": float(lr), "reward_chosen": float(beta * (lc - rc)),
             "reward_rejected": float(beta * (lr - rr))}
            for (p, c, r), rc, rr, lc, lr in zip(pairs, ref_c, ref_r, sums(chosen), sums(rejected))]
    return {"beta": beta, "label_smoothing": smoothing, "nll": nll, "pairs": rows, **log, "losses": losses}, sigmoid_grads


def train(model, batch_loss, steps, lr, weight_decay, kind, warmup):
    """Lists of each step's numbers, all from before its update; batch_loss() gives (loss, dict of numbers)."""
    optimizer, log = common.adamw(model, lr, weight_decay), []
    for step in range(1, steps + 1):
        loss, numbers = batch_loss()
        loss.backward()
        rate = common.schedule(kind, lr, step, steps, warmup)
        norm = common.update(model, optimizer, rate, 1.0)
        log.append({"step": step, "loss": loss.item(), **numbers, "grad_norm": norm, "lr": rate})
    return log


def sft_steps(model, sequences, scored):
    log = train(model, lambda: (sft_loss(model, sequences), {}), 10, 1e-2, 0.1, "linear", 3)
    after = {n: p.detach().double() for n, p in model.named_parameters()}
    tensors = {n: {"sum": w.sum().item(), "abs_sum": w.abs().sum().item()} for n, w in after.items()}
    return {"lr": 1e-2, "weight_decay": 0.1, "clip": 1.0, "schedule": "linear", "warmup": 3, "log": log,
            "tensors_after": tensors, "score_after": score(model, scored)}


def dpo_steps(model, pairs, beta=0.1):
    with torch.no_grad():
        ref_c, ref_r = map(sums, both_sides(model, pairs))

    def batch_loss():
        chosen, rejected = both_sides(model, pairs)
        loss = common.preference_losses("sigmoid", chosen, rejected, ref_c, ref_r, beta).mean()
        return loss, common.dpo_step_log(chosen, rejected, ref_c, ref_r, beta)

    log = train(model, batch_loss, 10, 1e-3, 0.0, "constant", 0)
    return {"lr": 1e-3, "weight_decay": 0.0, "clip": 1.0, "schedule": "constant", "beta": beta,
            "ref_chosen": ref_c.tolist(), "ref_rejected": ref_r.tolist(), "log": log}


def compute(folder, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    sequences, pairs, prompts = data(generator)
    model, reference = load(folder, dtype), load(folder, dtype)
    with torch.no_grad():
        for p in reference.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator)
        reference_sums = [sums(side) for side in both_sides(reference, pairs)]
    out = {"score": score(model, sequences)}
    for variant in ("llama3", "tied"):
        if (folder / f"config-{variant}.json").exists():
            out[f"score_{variant}"] = score(load(folder, dtype, f"config-{variant}.json"), sequences)
    out["greedy"] = [{"prompt_ids": p, **common.greedy(model, p, 12, {END})} for p in prompts]
    batch = sequences[2:4]
    loss = sft_loss(model, batch)
    sft_grads, norm = gradients(model, loss)
    out["sft"] = {"sequences": [{"prompt_ids": p, "completion_ids": c} for p, c in batch], "loss": loss.item(), "grad_norm": norm}
    out["dpo"], dpo_grads = dpo(model, pairs, reference_sums)
    out["sft_steps"] = sft_steps(load(folder, dtype), batch, sequences)
    out["dpo_steps"] = dpo_steps(load(folder, dtype), pairs)
    return out, sft_grads, dpo_grads


def difference(a, b):
    """Largest difference of the floats in two equal structures: absolute below 1, relative above."""
    if isinstance(a, dict):
        return max((difference(a[k], b[k]) for k in a), default=0.0)
    if isinstance(a, list):
        assert len(a) == len(b)
        return max((difference(x, y) for x, y in zip(a, b)), default=0.0)
    if isinstance(a, float):
        return abs(a - b) / max(1.0, abs(b))
    assert a == b, (a, b)
    return 0.0


def check(out, sft_grads, dpo_grads, model):
    """What must hold whatever the numbers are."""
    ln2 = 0.6931471805599453
    first = out["dpo_steps"]["log"][0]
    assert abs(first["loss"] - ln2) < 1e-6 and first["margin"] == 0 and first["accuracy"] == 0.5, first
    assert out["dpo_steps"]["log"][-1]["loss"] < 0.95 * ln2 and out["sft_steps"]["log"][-1]["loss"] < out["sft"]["loss"]
    assert out["sft_steps"]["log"][0]["loss"] == out["sft"]["loss"]
    m = [p["reward_chosen"] - p["reward_rejected"] for p in out["dpo"]["pairs"]]
    sigmoid, cdpo, robust = (out["dpo"]["losses"][k]["loss"] for k in ("sigmoid", "cdpo", "robust"))
    mean_m = sum(m) / len(m)  # -log sigma(-m) = -log sigma(m) + m
    assert abs(cdpo - (sigmoid + 0.1 * mean_m)) < 1e-5 and abs(robust - (sigmoid - 0.1 * mean_m / 0.8)) < 1e-5
    assert max(abs(x) for x in m) > 0.02, m
    for grads in (sft_grads, dpo_grads):
        assert set(grads) == {n for n, _ in model.named_parameters()} and all(g.abs().max() > 0 for g in grads.values())
    for row in out["greedy"]:
        assert min(row["gaps"]) > 1e-3, row
        again = model.generate(torch.tensor([row["prompt_ids"]]), max_new_tokens=12, do_sample=False, pad_token_id=END)
        assert again[0, len(row["prompt_ids"]):].tolist() == row["ids"]


def make(name, config, seed, variants=()):
    folder = HERE / name
    write_model(folder, config, seed)
    for file, variant in variants:
        (folder / file).write_text(json.dumps(variant, indent=2) + "\n")
    out, sft_grads, dpo_grads = compute(folder, seed, torch.float32)
    exact, *exact_grads = compute(folder, seed, torch.float64)
    check(out, sft_grads, dpo_grads, load(folder, torch.float32))
    rounding = {k: difference(out[k], exact[k]) for k in out}
    for label, grads, reference in zip(("sft_grads", "dpo_grads"), (sft_grads, dpo_grads), exact_grads):
        rounding[label] = max(float((grads[k] - reference[k]).abs().max()) for k in grads)
        save_file(grads, folder / f"{label}.safetensors")
    common.write_json(folder / "golden.json", {"versions": common.versions(), "rounding": rounding, **out})
    print(name, "rounding:", {k: f"{v:.1e}" for k, v in rounding.items()})
    for section in ("sft_steps", "dpo_steps"):
        print(" ", section, [round(row["loss"], 4) for row in out[section]["log"]])


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    models = {"tiny-llama": (LLAMA, 1, [("config-llama3.json", LLAMA3)]),
              "tiny-qwen2": (QWEN2, 2),
              "tiny-qwen3": (QWEN3, 3, [("config-tied.json", {**QWEN3, "tie_word_embeddings": True})])}
    for name in sys.argv[1:] or models:
        make(name, *models[name])
