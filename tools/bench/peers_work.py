"""The peers' side of peers.py: one function for each piece of work, run in a process of its own.

Each prints one JSON line: value (tokens, pairs a second, or seconds), peak_gb, and what it settled on. All of them warm
up first; short work is repeated, and the best counts.
"""
import argparse
import ctypes
import json
import logging
import os
import random
import resource
import sys
import time

PROMPT, COMPLETIONS = 128, (96, 138, 181, 224)  # of the DPO step; the rejected ones come in the other order


def ids(n, vocab=49152):
    return [random.randrange(100, vocab) for _ in range(n)]


def finish():
    """Waits for a GPU, if this process has used one."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def best_rate(amount, work, repeat=2, warm_up=None):
    (warm_up or work)()
    best = 1e9
    for _ in range(repeat):
        finish()
        start = time.perf_counter()
        work()
        finish()
        best = min(best, time.perf_counter() - start)
    return amount / best


def load(args, precision):
    """The model of --folder, or one of --shape with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.set_num_threads(args.threads)
    options = {"dtype": torch.bfloat16 if precision.startswith("bf16") else torch.float32,
               "attn_implementation": "sdpa"}
    if not args.shape:
        return AutoModelForCausalLM.from_pretrained(args.folder, **options).to(args.device)
    with open(args.shape) as file:
        config = AutoConfig.for_model(**json.load(file))
    with torch.device(args.device):
        return AutoModelForCausalLM.from_config(config, **options)


def trained(args, adapters):
    """For training in bf16 products: fp32 weights, or adapters of rank 16 on frozen bf16 weights. On a GPU each layer
    is compiled: the whole model would take minutes more, and its mask, a tensor then, would keep attention from the
    flash kernel."""
    model = base = load(args, "bf16" if adapters else "fp32").train()
    if adapters:
        from peft import LoraConfig, get_peft_model
        layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules=layers))
    if args.device == "cuda":
        for layer in base.model.layers:
            layer.compile()
    return model


def token_logps(args):
    """logits (B, T, V), targets (B, T) -> their log-probs (B, T); compiled on a GPU."""
    import torch
    from torch.nn.functional import cross_entropy

    def logps(logits, targets):
        return -cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view(targets.shape)
    return torch.compile(logps) if args.device == "cuda" else logps


def flash(args):
    """On a GPU only the fused kernels may compute attention: where none of them can, that is an error."""
    from contextlib import nullcontext
    from torch.nn.attention import SDPBackend, sdpa_kernel
    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION]
    return sdpa_kernel(fused) if args.device == "cuda" else nullcontext()


# ---- training ----

def trl_dpo(args, precision):
    """fp32; bf16: weights fp32, computed under autocast; bf16-weights: everything in bf16."""
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Clock(TrainerCallback):
        times = []

        def on_step_begin(self, *_, **__):
            self.start = time.perf_counter()

        def on_step_end(self, *_, **__):
            self.times.append(time.perf_counter() - self.start)

    steps = 3
    config = DPOConfig(output_dir=os.path.join(args.cache, "trl"), per_device_train_batch_size=4, max_steps=steps,
                       precompute_ref_log_probs=True, use_cpu=True, bf16=precision == "bf16", learning_rate=1e-9,
                       max_length=1024, gradient_checkpointing=False, report_to=[], save_strategy="no",
                       logging_steps=1000, disable_tqdm=True, dataloader_num_workers=0)
    text = Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    trainer = DPOTrainer(load(args, "bf16" if precision == "bf16-weights" else "fp32"), args=config, train_dataset=text,
                         processing_class=AutoTokenizer.from_pretrained(args.folder), callbacks=[Clock])
    n = 4 * steps
    trainer.train_dataset = Dataset.from_dict({
        "prompt_ids": [ids(PROMPT) for _ in range(n)],
        "chosen_ids": [ids(COMPLETIONS[i % 4]) for i in range(n)],
        "rejected_ids": [ids(COMPLETIONS[3 - i % 4]) for i in range(n)],
        "ref_chosen_logps": [-500.0] * n, "ref_rejected_logps": [-500.0] * n})
    trainer._get_train_sampler = lambda *_: SequentialSampler(trainer.train_dataset)  # each batch has all four lengths
    trainer.train()
    return {"value": 4 / min(Clock.times[1:])}


def training_rate(model, loss, amount, repeat=2):
    import torch
    weights = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, fused=True)

    def step():
        loss().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return best_rate(amount, step, repeat)


def sft_rate(model, batch, mask, tokens, repeat=2):
    labels = batch.masked_fill(mask == 0, -100)
    padding = mask if (mask == 0).any() else None
    return training_rate(model, lambda: model(input_ids=batch, attention_mask=padding, labels=labels).loss, tokens,
                         repeat)


def torch_sft_fp32(args):
    import torch
    batch = torch.tensor([ids(512) for _ in range(8)])
    return {"value": sft_rate(load(args, "fp32").train(), batch, torch.ones_like(batch), batch.numel(), repeat=1)}


def torch_sft(args, sequences, length, adapters=""):
    """Products in bf16."""
    import torch
    model, logps = trained(args, adapters), token_logps(args)
    batch = torch.tensor([ids(int(length), model.config.vocab_size) for _ in range(int(sequences))], device=args.device)

    def loss():
        with torch.autocast(args.device, torch.bfloat16):
            logits = model(input_ids=batch, use_cache=False).logits
        return -logps(logits[:, :-1], batch[:, 1:]).mean()
    with flash(args):
        return {"value": training_rate(model, loss, batch.numel())}


def torch_dpo(args, pairs, prompt, shortest, longest, adapters=""):
    """Products in bf16; each prompt once for the chosen and once for the rejected completion, padded on the right to
    the longest, which nobody before the padding sees: no mask. The reference's log-probs are there before."""
    import torch
    from torch.nn.functional import logsigmoid
    pairs, prompt, shortest, longest = (int(n) for n in (pairs, prompt, shortest, longest))
    model, logps = trained(args, adapters), token_logps(args)
    chosen = [shortest + (longest - shortest) * i // max(pairs - 1, 1) for i in range(pairs)]
    lengths = [prompt + n for n in chosen + chosen[::-1]]
    batch = torch.zeros(2 * pairs, prompt + longest, dtype=torch.long)
    mask = torch.zeros_like(batch)
    for row, length in enumerate(lengths):
        batch[row, :length] = torch.tensor(ids(length, model.config.vocab_size))
        mask[row, :length] = 1
    batch, completion = batch.to(args.device), mask[:, prompt:].to(args.device)

    def loss():
        with torch.autocast(args.device, torch.bfloat16):
            logits = model(input_ids=batch, use_cache=False, logits_to_keep=longest + 1).logits
        sums = (logps(logits[:, :-1], batch[:, prompt:]) * completion).sum(1)
        return -logsigmoid(0.1 * (sums[:pairs] - sums[pairs:])).mean()  # the reference's own difference: zero here
    with flash(args):
        return {"value": training_rate(model, loss, pairs)}


def demo_model(args, layers, width):
    """The demo's shape: heads of 32, feed-forward of 2.5 times the width."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.set_num_threads(args.threads)
    width = int(width)
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=width, num_hidden_layers=int(layers),
                                        num_attention_heads=width // 32, num_key_value_heads=width // 32,
                                        intermediate_size=width * 5 // 2, tie_word_embeddings=True,
                                        bos_token_id=None, eos_token_id=None, attn_implementation="sdpa"))


def torch_demo_train(args, layers, width):
    import torch
    lengths = [24 + 48 * i // 63 for i in range(64)]
    batch, mask = torch.zeros(64, max(lengths), dtype=torch.long), torch.zeros(64, max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        batch[row, :length] = torch.randint(0, 64, (length,))
        mask[row, :length] = 1
    return {"value": sft_rate(demo_model(args, layers, width).train(), batch, mask, sum(lengths), repeat=40)}


# ---- sampling and scoring ----

def top_p_draw(logits, temperature=0.8, top_p=0.95):
    import torch
    probs = torch.softmax(logits.float() / temperature, -1)
    ordered, index = probs.sort(dim=-1, descending=True)
    ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
    return index.gather(-1, torch.multinomial(ordered, 1))


def torch_demo_sample(args, layers, width):
    import torch
    model, new = demo_model(args, layers, width).eval(), 40
    prompts = torch.randint(0, 64, (32, 16)).repeat_interleave(8, 0)

    @torch.inference_mode()
    def sample():
        step, cache = prompts, None
        for _ in range(new):
            out = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, step = out.past_key_values, top_p_draw(out.logits[:, -1])
    return {"value": best_rate(256 * new, sample, repeat=5)}


def hf_sample(args, precision, prompts=8, new=128):
    """On a GPU with a cache of fixed size, for which generate() compiles the model and records its steps."""
    import torch
    gpu = args.device == "cuda"
    model, prompts, new = load(args, precision).eval(), int(prompts), int(new)
    rows, prompts = 8 * prompts, torch.tensor([ids(16, model.config.vocab_size) for _ in range(prompts)],
                                                device=args.device)

    @torch.inference_mode()
    def sample(length=new):
        model.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=0.8, top_p=0.95,
                       top_k=0, num_return_sequences=8, max_new_tokens=length, min_new_tokens=length, pad_token_id=2,
                       cache_implementation="static" if gpu else None)
    return {"value": best_rate(rows * new, sample, repeat=2 if gpu else 1, warm_up=None if gpu else lambda: sample(8))}


def hf_score(args, precision):
    """8 of the 64 completions: all rows are alike, so 64 take eight times as long."""
    import torch
    model = load(args, precision).eval()
    prompt = ids(512)
    batch = torch.tensor([prompt + ids(32) for _ in range(8)])

    @torch.inference_mode()
    def score():
        logits = model(batch, logits_to_keep=33, use_cache=False).logits[:, :-1].float()
        torch.log_softmax(logits, -1).gather(-1, batch[:, -32:, None])
    return {"value": best_rate((512 + 64 * 32) / 8, score), "what": "8 of 64 rows timed"}


# ---- llama.cpp ----

def llama(args, path, **options):
    from llama_cpp import Llama
    return Llama(path, n_threads=args.threads, n_threads_batch=args.threads, n_ctx=2048, n_batch=512, verbose=False,
                 **options)


def llama_prompt(args):
    model = llama(args, args.gguf)
    prompt = ids(512)

    def read():
        model.reset()
        model.eval(prompt)
    return {"value": best_rate(512, read)}


def llama_chat(args):
    """Drawn with the options of ours; tokens are not made into text on either side."""
    model, new = llama(args, args.gguf), 256

    def write():
        model.reset()
        drawn = model.generate(ids(16), temp=0.8, top_p=0.95, top_k=0, min_p=0.0, repeat_penalty=1.0)
        for _ in range(new):
            next(drawn)
    return {"value": best_rate(new, write)}


def llama_first_token(args):
    import llama_cpp  # loading the library counts for neither side's Python
    llama_cpp.llama_backend_init()
    best = 1e9
    for _ in range(5):
        start = time.perf_counter()
        model = llama(args, args.gguf)
        message = [{"role": "user", "content": "What is the capital of France?"}]
        for part in model.create_chat_completion(message, max_tokens=4, temperature=0, stream=True):
            if part["choices"][0]["delta"].get("content"):
                break
        best = min(best, time.perf_counter() - start)
        del model
    return {"value": best}


def quantized(args, name):
    """The model file in another of llama.cpp's formats."""
    import llama_cpp as ll
    path = os.path.join(args.cache, f"model-{name}.gguf")
    if not os.path.exists(path):
        options = ll.llama_model_quantize_default_params()
        options.ftype = {"q8_0": ll.LLAMA_FTYPE_MOSTLY_Q8_0, "bf16": ll.LLAMA_FTYPE_MOSTLY_BF16}[name]
        options.allow_requantize, options.nthread = True, args.threads
        if ll.llama_model_quantize(args.gguf.encode(), path.encode(), ctypes.byref(options)) != 0:
            raise RuntimeError(f"llama.cpp cannot write {name}")
    return path


def parallel_rate(args, path, unified, prompts=8, samples=8, prompt_tokens=16, new=128):
    """Tokens a second of `samples` sequences for each prompt, decoded in batches of all of them."""
    import llama_cpp as ll
    rows = prompts * samples
    model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
    options = ll.llama_context_default_params()
    options.n_ctx, options.n_seq_max, options.kv_unified = rows * 256, rows, unified
    options.n_batch = options.n_ubatch = 512
    options.n_threads = options.n_threads_batch = args.threads
    context = ll.llama_init_from_model(model, options)
    batch = ll.llama_batch_init(512, 0, 1)

    def put(i, token, position, sequence, logits):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
        batch.seq_id[i][0], batch.logits[i] = sequence, logits

    def decode(n):
        batch.n_tokens = n
        if ll.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")

    def run(length=new):
        memory = ll.llama_get_memory(context)
        ll.llama_memory_clear(memory, True)
        for p in range(prompts):
            for t, token in enumerate(ids(prompt_tokens)):
                put(t, token, t, p * samples, t == prompt_tokens - 1)
            decode(prompt_tokens)
            for s in range(1, samples):
                ll.llama_memory_seq_cp(memory, p * samples, p * samples + s, -1, -1)
        for step in range(length):
            for row, token in enumerate(ids(rows)):
                put(row, token, prompt_tokens + step, row, True)
            decode(rows)
    rate = best_rate(rows * new, run, repeat=1, warm_up=lambda: run(8))
    ll.llama_batch_free(batch)
    ll.llama_free(context)
    ll.llama_model_free(model)
    return rate


def llama_parallel(args, which):
    """The best of the file's own Q4_1, Q8_0 and bf16; `which` names one of them instead."""
    import llama_cpp as ll
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    rates = {}
    for name in ["q4_1", "q8_0", "bf16"] if which == "best" else [which]:
        path = args.gguf if name == "q4_1" else quantized(args, name)
        rates[name] = parallel_rate(args, path, unified=False)
    best = max(rates, key=rates.get)
    return {"value": rates[best], "what": ", ".join(f"{k} {v:.0f}" for k, v in rates.items())}


def peak_gb(device):
    if device == "cuda":
        import torch
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("arguments", nargs="*")
    for name in ("--gguf", "--folder", "--shape"):  # a model file, the same as a folder, or a shape's config.json
        parser.add_argument(name)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    random.seed(7)
    logging.disable(logging.WARNING)
    result = globals()[args.work](args, *args.arguments)
    result["peak_gb"] = peak_gb(args.device)
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
