"""Makes tests/goldens/lora/: a low-rank adapter for tiny-llama that PEFT wrote, and what PEFT computes with it.

Run from the project's folder: python tests/goldens/make_lora_goldens.py     (fp32 on the CPU, one thread, seconds; needs peft)

  adapter_config.json, adapter_model.safetensors   as PEFT saves them: rank 5, alpha 7, all seven linear layers, B not zero
  values.safetensors    logits (rows, vocabulary) of `sequence`, and the gradient of the loss for every A and B by the
                        name that PEFT gives it in its file
  golden.json           sequence; score: {prompt_ids, completion_ids, logprobs}; loss: minus the mean log-prob of all
                        completion tokens of score; merged: largest change of a logit when PEFT merges the adapter;
                        rounding: largest difference of the same numbers computed in f64
"""
import pathlib
import tempfile

import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import common

HERE = pathlib.Path(__file__).parent
BASE = "tests/goldens/tiny-llama"
FOLDER = HERE / "lora"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base(dtype):
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=dtype, attn_implementation="eager").eval()


def write_adapter():
    """B is drawn too: with zeros the adapter would do nothing, and A would have no gradient."""
    config = peft.LoraConfig(r=5, lora_alpha=7, target_modules=TARGETS, lora_dropout=0.0, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base(torch.float32), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            (FOLDER / file).write_bytes((pathlib.Path(folder) / file).read_bytes())


def data():
    generator = torch.Generator().manual_seed(4)
    ids = lambda n: torch.randint(0, 95, (n,), generator=generator).tolist()
    return ids(7), [(ids(1), ids(5)), (ids(9), ids(1)), (ids(13), ids(8) + [96])]


def compute(dtype):
    """(numbers, tensors) of the adapted model."""
    sequence, pairs = data()
    model = peft.PeftModel.from_pretrained(base(dtype), FOLDER, is_trainable=True).to(dtype).eval()
    logits = model(input_ids=torch.tensor([sequence])).logits[0].detach()
    logprobs = [common.completion_logprobs(model, p, c) for p, c in pairs]
    loss = -torch.cat(logprobs).mean()
    loss.backward()
    grads = {name.replace(".default", ""): p.grad for name, p in model.named_parameters() if p.requires_grad}
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None]
    assert not frozen and set(grads) == set(load_file(FOLDER / "adapter_model.safetensors")), frozen
    assert all(g.abs().max() > 0 for g in grads.values())
    merged = model.merge_and_unload()(input_ids=torch.tensor([sequence])).logits[0].detach()
    plain = base(dtype)(input_ids=torch.tensor([sequence])).logits[0].detach()
    assert (logits - plain).abs().max() > 0.5
    score = [{"prompt_ids": p, "completion_ids": c, "logprobs": lp.tolist()} for (p, c), lp in zip(pairs, logprobs)]
    numbers = {"sequence": sequence, "score": score, "loss": loss.item(), "merged": float((merged - logits).abs().max())}
    return numbers, {"logits": logits, **grads}


def main():
    FOLDER.mkdir(exist_ok=True)
    write_adapter()
    numbers, tensors = compute(torch.float32)
    exact, exact_tensors = compute(torch.float64)
    flat = lambda n: torch.tensor([x for row in n["score"] for x in row["logprobs"]] + [n["loss"]], dtype=torch.float64)
    rounding = {"score": float((flat(numbers) - flat(exact)).abs().max())}
    for label, names in (("logits", ["logits"]), ("grads", [n for n in tensors if n != "logits"])):
        rounding[label] = max(float((tensors[n].double() - exact_tensors[n]).abs().max()) for n in names)
    save_file({n: t.contiguous() for n, t in tensors.items()}, FOLDER / "values.safetensors", metadata={"format": "pt"})
    versions = {**common.versions(), "peft": peft.__version__}
    common.write_json(FOLDER / "golden.json", {"versions": versions, "rounding": rounding, **numbers})
    print("rounding:", rounding, "merged:", numbers["merged"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    main()
