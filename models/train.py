"""Trains the shipped models: a small target and its smaller draft, over one tokenizer.

    python models/train.py --out models --minutes 55

Writes OUT/target and OUT/draft as Hugging Face directories and OUT/heldout.txt. The learning
rate follows the time budget, so a slower machine takes fewer steps and still ends annealed; a
checkpoint is written every few minutes, so an interrupted run leaves usable models.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

# Threads that sleep at a barrier: on cores shared with other work, spinning costs far more.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from safetensors.torch import load_file, save
from transformers import LlamaConfig, LlamaForCausalLM

import corpus

CONTEXT = 768  # longer than nearly every story
SHORT_CONTEXT = 192  # where asked for: more openings, and the requests they answer, per token
MAX_POSITIONS = 1024
BATCH_TOKENS = 2304
DOCUMENTS = 48_000
HELDOUT_STORIES = 48
TARGET_SHARE = 0.83  # of the time budget; the draft takes the rest
CHECKPOINT_SECONDS = 240
SHAPES = {
    "target": dict(hidden_size=256, num_hidden_layers=4, intermediate_size=640,
                   num_attention_heads=4, num_key_value_heads=2),
    "draft": dict(hidden_size=128, num_hidden_layers=2, intermediate_size=384,
                  num_attention_heads=2, num_key_value_heads=1),
}


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are orthogonalised, which takes fewer steps than Adam here.

    Method and coefficients: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
    networks".
    """

    def __init__(self, matrices, lr):
        shapes = sorted({weight.shape for weight in matrices})
        # One group per shape: equal shapes are orthogonalised together, as one batched product.
        groups = [{"params": [w for w in matrices if w.shape == shape]} for shape in shapes]
        super().__init__(groups, dict(lr=lr, momentum=0.95))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            weights = group["params"]
            gradient = torch.stack([weight.grad for weight in weights])
            momentum = self.state[weights[0]].setdefault("m", torch.zeros_like(gradient))
            momentum.lerp_(gradient, 1 - group["momentum"])
            updates = orthogonalise(gradient.lerp_(momentum, group["momentum"]))
            rows, columns = weights[0].shape
            rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for weight, update in zip(weights, updates):
                weight.mul_(1 - 0.1 * group["lr"]).add_(update, alpha=-rate)


def orthogonalise(matrices):
    """Five Newton-Schulz steps of the quintic that pushes singular values towards one."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    return (x.mT if tall else x).float()


def build_model(name, tokenizer):
    config = LlamaConfig(
        vocab_size=corpus.VOCABULARY, head_dim=64, max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, use_cache=False,
        bos_token_id=tokenizer.token_to_id(corpus.BEGIN),
        eos_token_id=tokenizer.token_to_id(corpus.END), **SHAPES[name])
    return LlamaForCausalLM(config)


def draw_batch(stream, starts, rng, context):
    """Most windows begin with a document, the others anywhere, so that both are known."""
    count, limit = BATCH_TOKENS // context, len(stream) - context - 1
    fitting = starts[: np.searchsorted(starts, limit)]
    offsets = np.concatenate((rng.choice(fitting, count - count // 3),
                              rng.integers(0, limit, count // 3)))
    windows = np.stack([stream[offset:offset + context + 1] for offset in offsets])
    windows = torch.from_numpy(windows)
    return windows[:, :-1], windows[:, 1:]


def learning_rate(progress, step):
    """Warm up over 60 steps, hold, and fall linearly over the last half of the budget."""
    return min(1.0, (step + 1) / 60) * min(1.0, max(0.0, (1 - progress) / 0.5))


def loss_of(model, inputs, targets):
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=inputs, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def make_optimizers(model):
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [Muon(matrices, lr=0.02),
            torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0)]


def train(name, tokenizer, stream, starts, seconds, args):
    """Trains one model for a time budget and leaves it in OUT/name."""
    torch.manual_seed(1 if name == "target" else 2)
    rng = np.random.default_rng(1 if name == "target" else 2)
    model = build_model(name, tokenizer)
    if args.resume:
        rng = np.random.default_rng()  # other windows than the run that is gone on with
        model.load_state_dict(load_file(str(args.out / name / "model.safetensors")), strict=False)
    model.train()
    optimizers = make_optimizers(model)
    peaks = [optimizer.param_groups[0]["lr"] * (0.6 if args.resume else 1.0)
             for optimizer in optimizers]
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    began, saved, step, mean = time.monotonic(), time.monotonic(), 0, None
    while (elapsed := time.monotonic() - began) < seconds:
        factor = learning_rate(elapsed / seconds, step)
        for optimizer, peak in zip(optimizers, peaks):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
        context = SHORT_CONTEXT if elapsed < args.short_share * seconds else CONTEXT
        loss = loss_of(model, *draw_batch(stream, starts, rng, context))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        step += 1
        if step % 50 == 0:
            rate = step * BATCH_TOKENS / (time.monotonic() - began)
            print(f"{name} step {step} {elapsed:.0f} s loss {mean:.4f} {rate:.0f} tok/s",
                  flush=True)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            write_model(model, tokenizer, args.out / name)
            saved = time.monotonic()
    write_model(model, tokenizer, args.out / name)
    print(f"{name}: {step} steps, {step * BATCH_TOKENS:,} tokens, {elapsed / 60:.1f} minutes",
          flush=True)


def write_model(model, tokenizer, directory):
    """config.json, generation_config.json, model.safetensors in bf16 and the tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    source = model.config
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": corpus.VOCABULARY,
        **{key: getattr(source, key) for key in SHAPES["target"]},
        "head_dim": source.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": source.rms_norm_eps,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": source.bos_token_id,
        "eos_token_id": source.eos_token_id,
        "torch_dtype": "bfloat16",
    }
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id")}
    for name, content in (("config.json", config), ("generation_config.json", ids)):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    weights = {name: tensor.detach().to(torch.bfloat16).contiguous()
               for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    (directory / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    corpus.write_tokenizer(tokenizer, directory, MAX_POSITIONS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--minutes", type=float, default=55.0, help="for both models together")
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--short-share", type=float, default=0.0,
                        help="the share of the budget, at its start, spent on short windows")
    parser.add_argument("--only", choices=list(SHAPES), help="train just this one")
    parser.add_argument("--resume", action="store_true", help="go on from the weights in OUT")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    heldout = "\n\n".join(corpus.heldout_stories(0, HELDOUT_STORIES)) + "\n"
    (args.out / "heldout.txt").write_text(heldout, encoding="utf-8")
    documents = corpus.training_documents(0, args.documents)
    tokenizer = corpus.train_tokenizer(documents[:8000])
    stream, starts = corpus.token_stream(tokenizer, documents)
    print(f"corpus: {len(documents):,} documents, {len(stream):,} tokens", flush=True)
    shares = {"target": TARGET_SHARE, "draft": 1 - TARGET_SHARE}
    for name, share in ({args.only: 1.0} if args.only else shares).items():
        train(name, tokenizer, stream, starts, 60 * args.minutes * share, args)


if __name__ == "__main__":
    main()
