"""Checks models of many shapes against transformers: log-probs, greedy tokens, and a supervised step's loss and gradient.

    python tests/compare_architectures.py [--thinker build/thinker] [--only NAME]

Random tiny models, in folders as transformers writes them: heads that share keys and values 1 to 4 times, heads wider or narrower
than an even share, tied and untied, odd widths, stretched positions, bf16 and f16 files, shards, embeddings with rows that are no
tokens. Fails (exit 1) where a log-prob is off by more than 1e-4, where another token than the most probable one is drawn (by more
than 1e-4), or where the loss or the norm of the gradient are off by more than 1e-4 of theirs. Exit 77: skipped, torch is missing.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
except ImportError:
    print("skipped: torch or transformers is not installed")
    sys.exit(77)

TOLERANCE = 1e-4
START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = ("{% for message in messages %}"
            "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
SHAPES = {  # of Llama, Qwen2 and Qwen3; what is not given is in make_model
    "llama": ("llama", {}),
    "every head its own keys, tied": ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "three heads to one": ("llama", {"num_attention_heads": 6, "head_dim": 10, "hidden_size": 42, "intermediate_size": 37}),
    "four heads to one, wide": ("llama", {"num_key_value_heads": 1, "head_dim": 34, "hidden_size": 36, "num_hidden_layers": 3}),
    "heads of 2": ("llama", {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 2, "hidden_size": 9,
                             "intermediate_size": 5}),
    "heads of 128": ("llama", {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 128, "hidden_size": 48}),
    "llama3 positions": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "rows that are no tokens": ("llama", {"vocab_size": 2000, "rms_norm_eps": 1e-3}),
    "bf16": ("llama", {"dtype": torch.bfloat16}),
    "f16 in shards": ("llama", {"dtype": torch.float16, "shards": "20KB"}),
    "qwen2": ("qwen2", {}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True, "num_attention_heads": 6, "hidden_size": 48}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3, tied, odd": ("qwen3", {"head_dim": 20, "hidden_size": 33, "num_attention_heads": 3, "num_key_value_heads": 1,
                                   "tie_word_embeddings": True}),
}
CHATS = [{"messages": [{"role": "user", "content": content}], "completion": completion}
         for content, completion in [("hello", "world"), ("", ""), ("tell me a story of a fox", "once there was a fox " * 4),
                                     ("na\u00efve caf\u00e9", " two  spaces "), ("1 + 1?", "2")]]


def make_tokenizer():
    """Every byte is a token; no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START, END])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, chat_template=TEMPLATE)


def make_model(folder, kind, settings, seed):
    """Writes a random model, and gives it back in fp32 as the files have it."""
    settings = dict(settings)
    dtype, shards = settings.pop("dtype", torch.float32), settings.pop("shards", "1GB")
    tokenizer = make_tokenizer()
    shape = {"vocab_size": len(tokenizer) + 3, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 52, "max_position_embeddings": 512, "tie_word_embeddings": False,
             "bos_token_id": None, "eos_token_id": tokenizer.convert_tokens_to_ids(END), "pad_token_id": None, **settings}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape), attn_implementation="eager")
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=random)
            p.copy_(1 + 0.2 * x if "norm" in name else 0.3 * x if p.dim() == 1 else x / math.sqrt(p.shape[1]))
    model.to(dtype).save_pretrained(folder, max_shard_size=shards)
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {**json.loads((folder / "tokenizer_config.json").read_text()), "chat_template": TEMPLATE}))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def run(thinker, *arguments, lines=()):
    """The JSON lines that a command prints."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([thinker, *map(str, arguments)], input=text, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"thinker {arguments[0]}: {done.stderr.strip()[-500:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def logprobs(model, prompt, ids):
    """Of each token, and each position's log-probs."""
    rows = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1:-1].log_softmax(-1)
    return rows.gather(-1, torch.tensor(ids)[:, None])[:, 0], rows


def off_by(model, thinker, folder):
    """The greatest differences of log-probs, of a greedy token's from the best, of the step's loss and of its gradient."""
    prompts = [line["ids"] for line in run(thinker, "tokenize", folder, lines=CHATS)]
    scores = run(thinker, "score", folder, lines=CHATS)
    greedy = run(thinker, "generate", folder, "--greedy", "--max-new", 16, lines=[{"messages": c["messages"]} for c in CHATS])
    drawable = len(make_tokenizer())
    score = choice = 0.0
    with torch.no_grad():
        for prompt, scored, drawn in zip(prompts, scores, greedy, strict=True):
            score = max(score, (logprobs(model, prompt, scored["ids"])[0] - torch.tensor(scored["logprobs"])).abs().max().item())
            taken, rows = logprobs(model, prompt, drawn["ids"])
            choice = max(choice, (rows[:, :drawable].max(-1).values - taken).max().item())
            score = max(score, (taken - torch.tensor(drawn["logprobs"])).abs().max().item())
    data, log = folder / "data.jsonl", folder / "log.jsonl"
    answered = [c["messages"] + [{"role": "assistant", "content": c["completion"]}] for c in CHATS]
    data.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in answered))
    run(thinker, "sft", folder, "--data", data, "--batch", len(CHATS), "--epochs", 1, "--out", folder / "out", "--log", log)
    step = json.loads(log.read_text().splitlines()[0])
    model.zero_grad()
    losses = [-logprobs(model, p, s["ids"])[0] for p, s in zip(prompts, scores)]
    loss = torch.cat(losses).mean()
    loss.backward()
    norm = math.sqrt(sum(float(p.grad.double().pow(2).sum()) for p in model.parameters() if p.grad is not None))
    return score, choice, abs(step["loss"] / loss.item() - 1), abs(step["grad_norm"] / norm - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinker", default="build/thinker")
    parser.add_argument("--only", default="", help="only shapes whose name holds this text")
    options = parser.parse_args()
    failed = 0
    for seed, (name, (kind, settings)) in enumerate(SHAPES.items()):
        if options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(pathlib.Path(folder), kind, settings, seed)
            differences = off_by(model, options.thinker, pathlib.Path(folder))
        bad = not all(d <= TOLERANCE for d in differences)  # NaN is bad
        failed += bad
        print(f"{name:32} log-prob {differences[0]:.1e}, greedy {differences[1]:.1e}, loss {differences[2]:.1e}, "
              f"gradient {differences[3]:.1e}{'  FAILED' if bad else ''}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
