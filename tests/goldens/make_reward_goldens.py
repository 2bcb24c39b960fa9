"""Makes reward.json: rewards of pairs, the Bradley-Terry loss and its gradients, from transformers' classifiers with one label.

    python tests/goldens/make_reward_goldens.py        (needs the tiny models beside it; seconds)

For each of the three tiny models: `score`, the values of score.weight; `pairs` with ids, margin and both rewards; `center`; `loss`,
the mean over the pairs of softplus(-(r_chosen - r_rejected - margin)) + center * (r_chosen + r_rejected)^2; `grad_norm` over all
parameters; `score_gradient`, and each tensor's sum of absolute gradient values. One sequence at a time, so that nothing is padded.
"""
import pathlib

import torch
from transformers import AutoModelForSequenceClassification

import common

HERE = pathlib.Path(__file__).parent
CENTER = 0.05


def rewards(model, pair):
    sides = [torch.tensor([pair["prompt_ids"] + pair[side]]) for side in ("chosen_ids", "rejected_ids")]
    return [model(input_ids=ids).logits[0, 0] for ids in sides]


def compute(folder, seed):
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(HERE / folder, num_labels=1, dtype=torch.float32,
                                                               attn_implementation="eager").eval()
    assert model.config.pad_token_id is None, "the reward would be read before the last token"
    with torch.no_grad():
        model.score.weight.copy_(0.2 * torch.randn(model.score.weight.shape, generator=generator))
    ids = lambda n: torch.randint(0, 95, (n,), generator=generator).tolist()
    pairs = [{"prompt_ids": ids(p), "chosen_ids": ids(c) + [96], "rejected_ids": ids(r) + [96], "margin": m}
             for p, c, r, m in ((5, 7, 3, 0.0), (1, 0, 9, 0.5), (17, 4, 4, -1.25))]
    losses = []
    for pair in pairs:
        chosen, rejected = rewards(model, pair)
        losses.append(torch.nn.functional.softplus(-(chosen - rejected - pair["margin"])) + CENTER * (chosen + rejected) ** 2)
        pair["rewards"] = [chosen.item(), rejected.item()]
    loss = torch.stack(losses).mean()
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return {"score": model.score.weight[0].tolist(), "pairs": pairs, "center": CENTER, "loss": loss.item(),
            "grad_norm": torch.cat([g.flatten() for g in gradients.values()]).norm().item(),
            "score_gradient": gradients["score.weight"][0].tolist(),
            "abs_gradients": {name: g.abs().sum().item() for name, g in gradients.items()}}


if __name__ == "__main__":
    torch.set_num_threads(1)
    common.write_json(HERE / "reward.json", {"versions": common.versions(), "tiny-llama": compute("tiny-llama", 5),
                                             "tiny-qwen2": compute("tiny-qwen2", 6), "tiny-qwen3": compute("tiny-qwen3", 7)})
