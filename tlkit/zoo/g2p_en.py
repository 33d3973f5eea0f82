"""g2p-en: how English words are pronounced, letter by letter in, phoneme by phoneme out.

Sources: Park and Kim 2019, the g2p_en package (its network and weights); Cho et al. 2014, arXiv:1406.1078 (the GRU, and
an encoder's last state as a decoder's first).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card

WEIGHTS = "g2p_en/checkpoint20.npz"
PACKAGE = Package(
    name="g2p-en",
    version="2.1.0",
    sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
    files={WEIGHTS: "b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6"},
    download_mb=3.1,
)
LETTERS = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"  # with each of three stresses
OTHERS = "B CH D DH F G HH JH K L M N NG P R S SH T TH UW V W Y Z ZH"
_SPOKEN = sorted([*OTHERS.split(), *(f"{vowel}{stress}" for vowel in VOWELS.split() for stress in range(3))])
PHONEMES = ("<pad>", "<unk>", "<s>", "</s>", *_SPOKEN)
MOST_LETTERS, MOST_PHONEMES, WIDTH = 32, 24, 256
CARD = Card(
    name="g2p-en",
    summary="g2p-en, the pronunciation of English words: a GRU that reads letters and one that writes phonemes",
    modality="text",
    licence="Apache-2.0",
    credits="Weights by K. Park and J. Kim (g2p_en), trained on the CMU Pronouncing Dictionary.",
    package=PACKAGE,
    inputs=(
        "dict of int32 source (batch, 32), numbers of the lines of the asset `letters_file`, </s> last and padding "
        "behind it, and int32 ids (batch, 24), lines of `phonemes_file`, <s> first. In parts: the signature `encode` "
        "takes the letters, `decode` float32 encoded (batch, 256) and ids, `score` states of the decoder; phoneme by "
        "phoneme `start` takes encoded, and `step` one of ids, its int32 position, and the states so far"
    ),
    outputs=(
        "dict of float32: default, a state for each phoneme so far (batch, 24, 256), and logits, the 74 scores of the "
        "next phoneme at each; of `encode` the word's state (batch, 256); of `start` and `step` also cross_state_0, "
        "the word's state (batch, 1, 256), and kv_cache_state_0, those behind each phoneme (batch, capacity, 256)"
    ),
    input_range=None,
    parameters=834_890,
    recipe=2,
)

WORD, SO_FAR = "cross_state_0", "kv_cache_state_0"  # states: of the word, and behind each phoneme

Weights = Mapping[str, Any]


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write decoder, encoder and head as one hub-format SavedModel, letters and phonemes as assets."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    weights = variables(dict(np.load(files[WEIGHTS])))
    ids = tf.TensorSpec((None, MOST_PHONEMES), tf.int32, name="ids")
    letters = tf.TensorSpec((None, MOST_LETTERS), tf.int32, name="source")
    with tempfile.TemporaryDirectory(prefix="tlkit-zoo-") as scratch:
        for name, content in assets().items():
            (Path(scratch) / name).write_text(content, encoding="utf-8")
        hub_module.write_module(
            lambda inputs, training: pronounced(weights, inputs["source"], inputs["ids"]),
            list(weights.values()),
            list(weights.values()),
            {"source": letters, "ids": ids},
            folder,
            card=CARD.to_json(),
            attachments={name.partition(".")[0]: tf.saved_model.Asset(str(Path(scratch) / name)) for name in assets()},
            signatures=_parts(weights, letters, ids),
        )


def _parts(weights: Weights, letters: Any, ids: Any) -> dict[str, Any]:
    """Endpoints by name, with what each takes."""
    import tensorflow as tf

    encoded = tf.TensorSpec((None, WIDTH), tf.float32, name="encoded")
    states = tf.TensorSpec((None, None, WIDTH), tf.float32, name="states")
    one_token = {"ids": tf.TensorSpec((None, 1), tf.int32, name="ids"), "position": tf.TensorSpec((), tf.int32)}
    return {
        "encode": (lambda source: {"default": encode(weights, source)}, letters),
        "decode": (
            lambda inputs: {"default": decode(weights, inputs["encoded"], inputs["ids"])},
            {"encoded": encoded, "ids": ids},
        ),
        "score": (lambda x: {"default": scores(weights, x)}, states),
        "start": (lambda state: {WORD: state[:, None]}, encoded),
        "step": (lambda inputs: step(weights, inputs), {**one_token, WORD: states, SO_FAR: states}),
    }


def assets() -> dict[str, str]:
    """Name -> content of the files that come with the module: the symbols, and how texts are split into them."""
    lines = {"letters_file.txt": LETTERS, "phonemes_file.txt": PHONEMES}
    lower = {"type": "Lowercase"}
    return {
        **{name: "".join(f"{line}\n" for line in symbols) for name, symbols in lines.items()},
        "source_tokenizer_file.json": _tokenizer(LETTERS, "BPE", {"normalizer": lower}),
        "tokenizer_file.json": _tokenizer(PHONEMES, "WordLevel", {"pre_tokenizer": {"type": "WhitespaceSplit"}}),
        "source_tokenizer_config.json": json.dumps({"eos_token": "</s>", "pad_token": "<pad>"}),
        "tokenizer_config.json": json.dumps({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}),
    }


def _tokenizer(symbols: Sequence[str], kind: str, settings: Mapping[str, Any]) -> str:
    """A tokenizer.json whose tokens are symbols: letters of a word, or what stands between blanks."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": i, "content": token, **flags, "special": True} for i, token in enumerate(symbols) if token[0] == "<"
    ]
    model = {"type": kind, "vocab": {token: i for i, token in enumerate(symbols)}, "unk_token": "<unk>"}
    merges: dict[str, Any] = {"merges": []} if kind == "BPE" else {}
    return json.dumps({"version": "1.0", "added_tokens": added, **settings, "model": {**model, **merges}})


def variables(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`tf.Variable`s by the names of the file's arrays; kernels lie (in, out) here, (out, in) there."""
    import tensorflow as tf

    kernels = ("enc_w_ih", "enc_w_hh", "dec_w_ih", "dec_w_hh", "fc_w")
    sides = {"enc": "encoder", "dec": "decoder", "fc": "head"}
    by_name = {}
    for name, tensor in tensors.items():
        side, _, part = name.partition("_")
        by_name[name] = tf.Variable(tensor.T if name in kernels else tensor, name=f"{sides[side]}/{part}")
    return by_name


def encode(weights: Weights, ids: Any) -> Any:
    """State behind the last letter: int32 (batch, 32) -> float32 (batch, 256); padding changes nothing."""
    import tensorflow as tf

    start = tf.zeros_like(ids[:, :1], tf.float32) * tf.zeros((1, WIDTH))
    return _read(weights, "enc", ids, start)[-1]


def decode(weights: Weights, encoded: Any, ids: Any) -> Any:
    """States of the decoder, which begins with the word's: (batch, 256), int32 (batch, 24) -> (batch, 24, 256)."""
    import tensorflow as tf

    return tf.stack(_read(weights, "dec", ids, encoded), axis=1)


def scores(weights: Weights, states: Any) -> Any:
    """Logits of the next phoneme: (batch, n, 256) -> (batch, n, 74)."""
    import tensorflow as tf

    return tf.einsum("btd,dv->btv", states, weights["fc_w"]) + weights["fc_b"]


def pronounced(weights: Weights, source: Any, ids: Any) -> dict[str, Any]:
    """States of the decoder, and scores of the next phoneme at each, for letters (batch, 32) and phonemes before."""
    states = decode(weights, encode(weights, source), ids)
    return {"default": states, "logits": scores(weights, states)}


def step(weights: Weights, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What `pronounced` gives for one phoneme, with the state behind the one before at hand.

    Args:
        weights: As `variables` gives them.
        inputs: int32 ids (batch, 1), its int32 position, cross_state_0 (batch, 1, 256), and kv_cache_state_0 (batch,
            capacity, 256), of which the row before the position is read.

    Returns:
        The state (batch, 1, 256) as default, its logits, and the states so far with it written in.
    """
    import tensorflow as tf

    before, position = inputs[SO_FAR], inputs["position"]
    at = tf.one_hot(position, tf.shape(before)[1])
    last = tf.reduce_sum(before * tf.one_hot(position - 1, tf.shape(before)[1])[:, None], axis=1)
    state = tf.where(tf.equal(position, 0), inputs[WORD][:, 0], last)
    new = _read(weights, "dec", inputs["ids"], state)[0][:, None]
    return {"default": new, "logits": scores(weights, new), SO_FAR: before * (1.0 - at)[:, None] + new * at[:, None]}


def _read(weights: Weights, side: str, ids: Any, state: Any) -> list[Any]:
    """States of a GRU behind each symbol; at padding (0) it keeps the one that it has.

    Written out step by step: TensorFlow's loops cannot be cut. The gates of a state are reset, update and new.
    """
    import tensorflow as tf

    inputs = tf.einsum("btd,de->bte", tf.gather(weights[f"{side}_emb"], ids), weights[f"{side}_w_ih"])
    states = []
    steps = zip(tf.unstack(inputs + weights[f"{side}_b_ih"], axis=1), tf.unstack(ids, axis=1), strict=True)
    for projected, symbol in steps:
        recurrent = state @ weights[f"{side}_w_hh"] + weights[f"{side}_b_hh"]
        reset, update = tf.split(tf.sigmoid(projected[:, : 2 * WIDTH] + recurrent[:, : 2 * WIDTH]), 2, axis=-1)
        new = tf.tanh(projected[:, 2 * WIDTH :] + reset * recurrent[:, 2 * WIDTH :])
        present = tf.cast(symbol > 0, tf.float32)[:, None]
        state = state + present * (1.0 - update) * (new - state)
        states.append(state)
    return states
