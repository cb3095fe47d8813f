"""The corpus of the shipped models: documents, tokenizer, token stream and held-out text."""

import json
import random

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from story_grammar import make_chat, make_story

VOCABULARY = 1024
BEGIN, END, USER, ASSISTANT, SYSTEM = SPECIALS = (
    "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")

# One rendering serves training and every reader of tokenizer_config.json.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

CHAT_SHARE, FRAGMENT_SHARE = 0.4, 0.08


def render_chat(messages):
    """What CHAT_TEMPLATE renders, without a template engine."""
    text = BEGIN
    for message in messages:
        text += f"<|{message['role']}|>{message['content']}"
        text += END if message["role"] == "assistant" else ""
    return text


def make_document(rng):
    """One training document with its special tokens spelled out."""
    draw = rng.random()
    if draw < CHAT_SHARE:
        return render_chat(make_chat(rng))
    story = make_story(rng)[0]
    if draw < CHAT_SHARE + FRAGMENT_SHARE:
        # A prompt may start anywhere: some documents start in the middle of a story.
        starts = [i + 2 for i in range(len(story) - 2) if story[i] == "." and story[i + 1] == " "]
        story = story[rng.choice(starts[: len(starts) // 2]):]
    return BEGIN + story + END


def training_documents(seed, count):
    return [make_document(random.Random(f"train-{seed}-{index}")) for index in range(count)]


def heldout_stories(seed, count):
    """Stories under seeds that no training document has."""
    return [make_story(random.Random(f"heldout-{seed}-{index}"))[0] for index in range(count)]


def train_tokenizer(documents):
    """A byte-level BPE of VOCABULARY tokens; a text is encoded with <|begin|> before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    plain = documents
    for special in SPECIALS:
        plain = [document.replace(special, "\n") for document in plain]
    tokenizer.train_from_iterator(plain, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B",
        special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))])
    return tokenizer


def token_stream(tokenizer, documents):
    """All documents one after the other, and where each begins."""
    encoded = tokenizer.encode_batch(documents, add_special_tokens=False)
    lengths = [len(one.ids) for one in encoded]
    stream = np.fromiter((i for one in encoded for i in one.ids), np.int64, sum(lengths))
    return stream, np.concatenate(([0], np.cumsum(lengths)[:-1]))


def write_tokenizer(tokenizer, directory, max_length):
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": [USER, ASSISTANT, SYSTEM],
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(config, indent=2) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
