"""Measures the shipped models on held-out text: perplexity, n-gram marks, acceptance, samples.

    python models/evaluate.py            # every figure of models/README.md
    python models/evaluate.py --samples  # only the sample outputs

Weights are read from the bf16 files and computed with in f32. Perplexity is exp of the mean
negative log-likelihood per token:
  stories  each story as <|begin|> story <|end|>; every token after <|begin|> is scored
  windows  the file's tokens, no special tokens, cut into runs of 512; each run's first token is
           context only
  windows+ the same runs with <|begin|> put before each, so that every token is scored
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import corpus
from ngram import KneserNey
from train import DOCUMENTS

WINDOW = 512
CHATS = (
    "Tell me a story about a fox and a lantern.",
    "Write a short story about a lighthouse keeper called Nora.",
    "Tell me a story about a dragon and a turtle.",
    "Can you tell me a sad story about a baker?",
    "Tell me a story about a fox and a computer.",
)
PROMPTS = ("Once", "The", "Mara", "It was raining, and the fox could not find his hat.",
           '"Have you seen my kite?" asked Otto.')


def sequences_of(text, tokenizer):
    """The held-out text in the three ways it is scored."""
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    stories = [tokenizer.encode(story, add_special_tokens=False)
               for story in text.rstrip("\n").split("\n\n")]
    tokens = tokenizer.encode(text, add_special_tokens=False)
    windows = [tokens[at:at + WINDOW] for at in range(0, len(tokens), WINDOW)]
    return {
        "stories": [[begin, *story, end] for story in stories],
        "windows": [window for window in windows if len(window) > 1],
        "windows+": [[begin, *window] for window in windows],
    }


@torch.no_grad()
def log_softmax(model, ids):
    """ln p over the vocabulary at every position that has a next token."""
    logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0]
    return torch.log_softmax(logits.double(), -1)


def perplexity(model, sequences):
    total, count = 0.0, 0
    for ids in sequences:
        picked = log_softmax(model, ids).gather(1, torch.tensor(ids[1:])[:, None])
        total, count = total - picked.sum().item(), count + len(picked)
    return float(np.exp(total / count)), count


def acceptance(target, draft, sequences):
    """The mean of 1 - total variation, the chance that a draft token is kept at temperature 1,
    and how often the two agree on the likeliest token; both along the held-out text."""
    kept, agreed = [], []
    for ids in sequences:
        p, q = log_softmax(target, ids).exp(), log_softmax(draft, ids).exp()
        kept.append(torch.minimum(p, q).sum(-1))
        agreed.append(p.argmax(-1) == q.argmax(-1))
    return torch.cat(kept).mean().item(), torch.cat(agreed).double().mean().item()


def ngram_perplexities(tokenizer, sequences, orders):
    """Kneser-Ney models counted on the very documents the models were trained on."""
    documents = corpus.training_documents(0, DOCUMENTS)
    stream, _ = corpus.token_stream(tokenizer.backend_tokenizer, documents)
    for order in orders:
        model = KneserNey(stream, order, corpus.VOCABULARY)
        # <|end|> tokens pad the context that a story's first tokens lack.
        pad = [tokenizer.eos_token_id] * (order - 2)
        scores = [model.log_probabilities(np.array(pad + ids)) for ids in sequences]
        yield order, float(np.exp(-np.concatenate(scores).mean()))


def generate(model, tokenizer, ids, temperature, limit=700):
    """The continuation's text and whether it ended by itself."""
    torch.manual_seed(0)
    options = dict(do_sample=True, temperature=temperature) if temperature else {}
    prompt = torch.tensor([ids])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=limit,
                         pad_token_id=tokenizer.eos_token_id, **options)[0, len(ids):].tolist()
    return tokenizer.decode(out, skip_special_tokens=True), out[-1] == tokenizer.eos_token_id


def print_samples(model, tokenizer):
    for temperature in (0.0, 0.8):
        for prompt in CHATS:
            message = [{"role": "user", "content": prompt}]
            rendered = tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True)
            assert rendered == corpus.render_chat(message) + corpus.ASSISTANT
            ids = tokenizer.encode(rendered, add_special_tokens=False)
            text, ended = generate(model, tokenizer, ids, temperature)
            print(f"--- chat, temperature {temperature}, ended {ended}\nuser: {prompt}\n{text}\n")
        for prompt in PROMPTS:
            ids = tokenizer.encode(prompt)
            text, ended = generate(model, tokenizer, ids, temperature)
            print(f"--- text, temperature {temperature}, ended {ended}\n[{prompt}]{text}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=Path, default=Path(__file__).parent)
    parser.add_argument("--samples", action="store_true", help="print only sample outputs")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.models / "target")
    models = {name: AutoModelForCausalLM.from_pretrained(args.models / name, dtype=torch.float32)
              for name in ("target", "draft")}
    if args.samples:
        print_samples(models["target"], tokenizer)
        return
    text = (args.models / "heldout.txt").read_text(encoding="utf-8")
    scored = sequences_of(text, tokenizer)
    for name, model in models.items():
        for how, sequences in scored.items():
            value, count = perplexity(model, sequences)
            print(json.dumps({"model": name, "how": how, "tokens": count,
                              "perplexity": round(value, 4)}), flush=True)
    kept, agreed = acceptance(models["target"], models["draft"], scored["stories"])
    print(json.dumps({"acceptance": round(kept, 4), "same_argmax": round(agreed, 4),
                      "tokens_per_step_depth_4": round(sum(kept ** i for i in range(5)), 3)}))
    for order, value in ngram_perplexities(tokenizer, scored["stories"], (3, 5)):
        print(json.dumps({"model": f"Kneser-Ney {order}-gram", "how": "stories",
                          "perplexity": round(value, 4)}), flush=True)


if __name__ == "__main__":
    main()
