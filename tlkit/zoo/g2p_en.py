"""g2p-en: how English words are pronounced, letter by letter in, phoneme by phoneme out.

Sources: Park and Kim 2019, the g2p_en package (its network and weights); Cho et al. 2014, arXiv:1406.1078 (the GRU, and
an encoder's last state as a decoder's first).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
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
        "the decoder (called, or the signature `decode`): dict of float32 encoded (batch, 256) and int32 ids (batch, "
        "24), numbers of the lines of the asset `phonemes_file`, <s> first; the signature `encode`: int32 ids (batch, "
        "32), lines of `letters_file`, </s> last and padding behind it; `score`: states of the decoder"
    ),
    outputs=(
        "dict of float32: default, of the decoder a state for each phoneme so far (batch, 24, 256); of `encode` the "
        "word's state (batch, 256); of `score` the 74 scores of the next phoneme at each"
    ),
    input_range=None,
    parameters=834_890,
)

Weights = Mapping[str, Any]


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write decoder, encoder and head as one hub-format SavedModel, letters and phonemes as assets."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    weights = variables(dict(np.load(files[WEIGHTS])))
    specs = {
        "encoded": tf.TensorSpec((None, WIDTH), tf.float32, name="encoded"),
        "ids": tf.TensorSpec((None, MOST_PHONEMES), tf.int32, name="ids"),
    }
    words = tf.TensorSpec((None, MOST_LETTERS), tf.int32, name="ids")
    states = tf.TensorSpec((None, None, WIDTH), tf.float32, name="states")
    with tempfile.TemporaryDirectory(prefix="tlkit-zoo-") as scratch:
        assets = {}
        for name, lines in (("letters_file", LETTERS), ("phonemes_file", PHONEMES)):
            (Path(scratch) / f"{name[:-5]}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            assets[name] = tf.saved_model.Asset(str(Path(scratch) / f"{name[:-5]}.txt"))
        hub_module.write_module(
            lambda inputs, training: {"default": decode(weights, inputs["encoded"], inputs["ids"])},
            list(weights.values()),
            list(weights.values()),
            specs,
            folder,
            card=CARD.to_json(),
            attachments=assets,
            signatures={
                "encode": (lambda ids: {"default": encode(weights, ids)}, words),
                "decode": (lambda inputs: {"default": decode(weights, inputs["encoded"], inputs["ids"])}, specs),
                "score": (lambda x: {"default": scores(weights, x)}, states),
            },
        )


def variables(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`tf.Variable`s by the names of the file's arrays; kernels lie (in, out) here, (out, in) there."""
    import tensorflow as tf

    kernels = ("enc_w_ih", "enc_w_hh", "dec_w_ih", "dec_w_hh", "fc_w")
    sides = {"enc": "encoder", "dec": "decoder", "fc": "head"}
    made = {}
    for name, tensor in tensors.items():
        side, _, rest = name.partition("_")
        made[name] = tf.Variable(tensor.T if name in kernels else tensor, name=f"{sides[side]}/{rest}")
    return made


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


def _read(weights: Weights, side: str, ids: Any, state: Any) -> list[Any]:
    """States of a GRU behind each symbol; at padding (0) it keeps the one that it has.

    Written out step by step: TensorFlow's loops cannot be cut. The gates of a state are reset, update and new.
    """
    import tensorflow as tf

    inputs = tf.einsum("btd,de->bte", tf.gather(weights[f"{side}_emb"], ids), weights[f"{side}_w_ih"])
    states = []
    steps = zip(tf.unstack(inputs + weights[f"{side}_b_ih"], axis=1), tf.unstack(ids, axis=1), strict=True)
    for given, symbol in steps:
        own = state @ weights[f"{side}_w_hh"] + weights[f"{side}_b_hh"]
        reset, update = tf.split(tf.sigmoid(given[:, : 2 * WIDTH] + own[:, : 2 * WIDTH]), 2, axis=-1)
        new = tf.tanh(given[:, 2 * WIDTH :] + reset * own[:, 2 * WIDTH :])
        there = tf.cast(symbol > 0, tf.float32)[:, None]
        state = state + there * (1.0 - update) * (new - state)
        states.append(state)
    return states
