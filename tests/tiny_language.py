"""A small language model of made-up weights, with a byte-level tokenizer and a chat template, and dialogues for it."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from tlkit.formats import hub_module
from tlkit.zoo import smollm2_135m as smollm

SIZES = smollm.Sizes(blocks=3, heads=4, key_heads=2, depth=8)
WIDTH, WIDE = 32, 48
SPECIAL = ("<|start|>", "<|end|>")
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role[0] }} {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>a {% endif %}"
)
COLOURS = ("red", "green", "blue", "black", "white", "pink")
THINGS = ("sky", "sea", "sun", "car", "hat", "dog", "cup", "tree")


def letters():
    """The characters that byte-level BPE writes bytes as."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def tokenizer():
    """A tokenizer.json: a token a byte, and two special ones."""
    vocabulary = {letter: byte for byte, letter in sorted(letters().items())}
    says = {
        "tokenizer.ggml.tokens": [*sorted(vocabulary, key=vocabulary.get), *SPECIAL],
        "tokenizer.ggml.token_type": np.array([1] * 256 + [smollm.CONTROL] * 2),
        "tokenizer.ggml.merges": [],
    }
    return smollm.tokenizer(says)


def arrays(seed=0, words=258):
    """Weights by the names of the zoo's builder, matrices (in, out)."""
    rng = np.random.default_rng(seed)
    keys = SIZES.key_heads * SIZES.depth
    shapes = {"token_embd": (words, WIDTH), "output_norm": (WIDTH,)}
    for n in range(SIZES.blocks):
        of_block = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (WIDTH, keys),
            "attn_v": (WIDTH, keys),
            "attn_output": (WIDTH, WIDTH),
        }
        of_block |= {"ffn_gate": (WIDTH, WIDE), "ffn_up": (WIDTH, WIDE), "ffn_down": (WIDE, WIDTH)}
        of_block |= {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_output": (WIDTH, WIDTH)}
        shapes |= {f"blk.{n}.{name}": shape for name, shape in of_block.items()}
    values = {name: rng.normal(0, shape[0] ** -0.5, shape).astype("f4") for name, shape in shapes.items()}
    return {name: np.ones_like(value) if value.ndim == 1 else value for name, value in values.items()}


def module(folder, *, known=True, chat=True):
    """Folder of the module; whether its keys and values are `known`, and whether it has a chat template."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: name.replace("blk.", "layer_").replace(".", "/") for name in arrays()}
    weights = {name: tf.Variable(value, name=names[name]) for name, value in arrays().items()}
    settings = {"bos_token": None, "eos_token": SPECIAL[1], "pad_token": SPECIAL[1]}
    settings["chat_template"] = TEMPLATE if chat else ""
    for name, content in (("tokenizer.json", tokenizer()), ("tokenizer_config.json", settings)):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    every = list(weights.values())
    decoder = {"kind": "llama", "blocks": SIZES.blocks, "heads": 4, "key_heads": 2, "depth": 8}
    return hub_module.write_module(
        lambda ids, training: {"default": smollm.states(weights, ids, SIZES)},
        every,
        every,
        tf.TensorSpec((None, None), tf.int32, name="ids"),
        folder / "module",
        card={"name": "tiny", **({"decoder": decoder} if known else {})},
        attachments={
            "tokenizer_file": tf.saved_model.Asset(str(folder / "tokenizer.json")),
            "tokenizer_config": tf.saved_model.Asset(str(folder / "tokenizer_config.json")),
        },
    )


def dialogues(file, count=48):
    """Lines of prompt and answer: what colour a thing has."""
    lines = [
        {"prompt": f"{colour} {thing}", "answer": f"{thing} is {colour}"} for thing in THINGS for colour in COLOURS
    ]
    order = np.random.default_rng(3).permutation(len(lines))[:count]
    Path(file).write_text("\n".join(json.dumps(lines[i]) for i in order))
    return file


GENERAL = ("the tree is tall", "we saw a dog and a car", "the sun was red", "a cup of tea for me", "he had a hat")
