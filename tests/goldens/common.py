"""What the golden scripts and tests/compare_*.py share: GGUF loading, log-probs, preference losses, writing JSON.

Plain PyTorch on one sequence at a time, so that nothing here depends on packing, padding or masks. Not run by itself.
"""
import json

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer


def versions():
    """The libraries that made a file, for its header."""
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def load_gguf_model(path, attention="eager"):
    """The file's weights, dequantised to fp32."""
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                attn_implementation=attention).eval()


def load_gguf_tokenizer(path):
    """transformers' conversion loses the first step of "smollm", which makes every digit a token of its own: put it back."""
    import gguf
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    if gguf.GGUFReader(path).get_field("tokenizer.ggml.pre").contents() == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return tokenizer


def prompt_ids(tokenizer, messages):
    """The chat template with the generation prompt. Texts must not spell out special tokens: they would be parsed here."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


def completion_ids(tokenizer, text):
    """The text and the end of the turn, which for instruction models is the tokenizer's eos."""
    return tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id]


def completion_logprobs(model, prompt_ids, completion_ids):
    """log p(completion token | everything before it), shape (len(completion_ids),), differentiable."""
    ids = torch.tensor([prompt_ids + completion_ids])
    logits = model(input_ids=ids, use_cache=False).logits[0]
    predicting = logits[len(prompt_ids) - 1:-1]
    return predicting.log_softmax(-1).gather(-1, ids[0, len(prompt_ids):, None]).squeeze(-1)


def greedy(model, prompt_ids, max_new, end_ids):
    """Greedy ids with the gap between the two best logits at each step, by full recomputation (no cache)."""
    ids, gaps, logprobs = [], [], []
    with torch.no_grad():
        while len(ids) < max_new and not (ids and ids[-1] in end_ids):
            sequence = torch.tensor([prompt_ids + ids])
            logits = model(input_ids=sequence, use_cache=False, logits_to_keep=1).logits[0, -1]
            best = logits.topk(2)
            ids.append(int(best.indices[0]))
            gaps.append(float(best.values[0] - best.values[1]))
            logprobs.append(float(logits.log_softmax(-1)[ids[-1]]))
    return {"ids": ids, "logprobs": logprobs, "gaps": gaps, "stop": "end" if ids[-1] in end_ids else "length"}


def preference_losses(kind, chosen, rejected, ref_chosen, ref_rejected, beta, smoothing=0.0):
    """Loss of each pair from per-token log-probs (lists of tensors) and the reference's sums (tensors).

    sigmoid   DPO, Rafailov et al. 2023, eq. 7: -log sigma(m), m = beta * ((c - ref_c) - (r - ref_r)), sums over tokens
    cdpo      Mitchell 2023, eq. 3: -(1-e) log sigma(m) - e log sigma(-m)
    robust    Chowdhury et al. 2024:       (-(1-e) log sigma(m) + e log sigma(-m)) / (1 - 2e)
    ipo       Azar et al. 2023, eq. 17, on means over tokens: (h - 1/(2 beta))^2
    """
    log_sigmoid = torch.nn.functional.logsigmoid
    losses = []
    for c, r, ref_c, ref_r in zip(chosen, rejected, ref_chosen, ref_rejected):
        if kind == "ipo":
            h = (c.sum() - ref_c) / len(c) - (r.sum() - ref_r) / len(r)
            losses.append((h - 1 / (2 * beta)) ** 2)
            continue
        m = beta * ((c.sum() - ref_c) - (r.sum() - ref_r))
        sign = {"sigmoid": 0.0, "cdpo": 1.0, "robust": -1.0}[kind] * smoothing
        loss = -(1 - abs(sign)) * log_sigmoid(m) - sign * log_sigmoid(-m)
        losses.append(loss / (1 - 2 * smoothing) if kind == "robust" else loss)
    return torch.stack(losses)


def dpo_step_log(chosen, rejected, ref_chosen, ref_rejected, beta):
    """The numbers of a training-log line that depend on the batch's log-probs (docs/reference.md: `thinker dpo --log`)."""
    c, r = torch.stack([x.sum() for x in chosen]).detach(), torch.stack([x.sum() for x in rejected]).detach()
    reward_c, reward_r = beta * (c - ref_chosen), beta * (r - ref_rejected)
    accuracy = ((reward_c > reward_r).float() + 0.5 * (reward_c == reward_r).float()).mean()
    return {"margin": float((reward_c - reward_r).mean()), "reward_chosen": float(reward_c.mean()),
            "reward_rejected": float(reward_r.mean()), "logp_chosen": float(c.mean()), "logp_rejected": float(r.mean()),
            "accuracy": float(accuracy)}


def adamw(model, lr, weight_decay):
    """AdamW with betas 0.9, 0.999, eps 1e-8; decay on matrices only (embeddings included)."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), eps=1e-8)


def schedule(kind, lr, step, steps, warmup):
    """Learning rate of `step` (from 1) of `steps`."""
    if step <= warmup:
        return lr * step / warmup
    u = (step - 1 - warmup) / (steps - warmup)
    return {"constant": lr, "linear": lr * (1 - u)}[kind]


def update(model, optimizer, lr, clip):
    """One optimizer step on the gradients at hand; returns their global norm before clipping."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


def rounded(value):
    """Floats, in any nesting, to 9 significant digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def to_text(value, depth=0):
    """JSON with one line for each list of plain values, so that a changed golden reads well in a diff."""
    nested = (dict, list)
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, dict) and any(isinstance(v, nested) for v in value.values()):
        lines = [f"{inner}{json.dumps(k)}: {to_text(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{outer}}}"
    if isinstance(value, list) and any(isinstance(v, nested) for v in value):
        return "[\n" + ",\n".join(inner + to_text(v, depth + 1) for v in value) + f"\n{outer}]"
    return json.dumps(value, ensure_ascii=False)


def write_json(path, value):
    path.write_text(to_text(rounded(value)) + "\n", encoding="utf-8")


def write_jsonl(path, lines):
    path.write_text("".join(json.dumps(rounded(line), ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
