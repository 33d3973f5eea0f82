"""A small Transformer of one's own, untrained: an encoder that reads a text and a decoder that writes another.

It is no module of the zoo's list, as its tokens are made of the texts that it will see: `write_transformer` gives a
folder that is a handle.

Sources: Vaswani et al. 2017, arXiv:1706.03762 (the network, places as sines); Xiong et al. 2020, arXiv:2002.04745
(normalised in front of each part, so that training needs no long warm-up); Press and Wolf 2017, arXiv:1608.05859 (one
table for what is read, written and scored).
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.files import atomic_folder, sha256_bytes
from tlkit.formats.hub_module import CARD_FILE

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"  # in the order of their numbers, so that the end is the least
MOST = 512  # tokens of a text
EPSILON, MASKED = 1e-5, -1e9
TABLE, ORIGIN = "table", "made_of"
CROSS, CACHE = "cross", "kv_cache"  # keys and values of what is read, and of the tokens before

Weights = Mapping[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Of a Transformer.

    Attributes:
        vocabulary: Byte pairs, three special tokens included.
        width: Of a state, a multiple of `heads`.
        blocks: Of the encoder, and as many of the decoder.
        heads: Of attention.
        wide: Of the layer inside a block.
    """

    vocabulary: int = 4000
    width: int = 128
    blocks: int = 2
    heads: int = 4
    wide: int = 512

    def __post_init__(self) -> None:
        if min(self.width, self.blocks, self.heads, self.wide) < 1 or self.width % self.heads or self.width % 2:
            raise InputError(
                f"A Transformer's sizes must be 1 or more, and `width` an even multiple of `heads`. Received: {self}."
            )
        if self.vocabulary < 260:
            raise InputError(f"`vocabulary` must be 260 or more: 256 bytes and 3 others. Received: {self.vocabulary}.")


def write_transformer(
    folder: str | Path,
    texts: Iterable[str],
    sizes: Sizes = Sizes(),
    *,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Write an untrained Transformer, whose byte pairs are made of texts, as a module in the hub's format.

    It takes `source` and `ids`, int32 (batch, tokens), and gives a state for each of `ids`, as `tasks.translate` reads
    it; its endpoints `encode`, `decode`, `start` and `step` are those of zoo:whisper-tiny-en.

    Args:
        folder: Where to write. A Transformer of the same texts, sizes and seed that is there already is taken.
        texts: Of both languages, of the training examples alone.
        sizes: Of the network.
        seed: Of the weights.
        card: Further plain data for its card, such as a licence.

    Returns:
        The folder: a handle for `HubLayer`, `finetune`, `tlkit inspect`.

    Raises:
        InputError: If the folder holds something else, or the package `tokenizers` is not installed.
    """
    import tensorflow as tf

    from tlkit.formats import hub_module

    target, lines = Path(folder), list(texts)
    origin = sha256_bytes(repr((sizes, seed)), *lines)
    if target.exists():
        return _same(target, origin)
    with tempfile.TemporaryDirectory(prefix="tlkit-zoo-") as scratch, atomic_folder(target) as partial:
        count, pad = _write_tokenizer(Path(scratch), lines, sizes.vocabulary)
        net = Net(variables(sizes, count, seed), sizes, pad)
        hub_module.write_module(
            lambda inputs, training: {"default": net.decode(net.encode(inputs["source"]), inputs["ids"])},
            list(net.weights.values()),
            list(net.weights.values()),
            {"source": _ids("source"), "ids": _ids("ids")},
            partial,
            card={"name": target.name, "modality": "text", "sizes": asdict(sizes), ORIGIN: origin, **(card or {})},
            attachments={
                "tokenizer_file": tf.saved_model.Asset(str(Path(scratch) / "tokenizer.json")),
                "tokenizer_config": tf.saved_model.Asset(str(Path(scratch) / "tokenizer_config.json")),
            },
            signatures=_endpoints(net),
        )
    return target


def _same(folder: Path, origin: str) -> Path:
    """The folder, if what it holds has this origin."""
    card = folder / CARD_FILE
    if card.is_file() and json.loads(card.read_text(encoding="utf-8")).get(ORIGIN) == origin:
        return folder
    raise InputError(f"{folder} exists already, and holds something else: write the Transformer into a new folder.")


def _ids(name: str) -> Any:
    import tensorflow as tf

    return tf.TensorSpec((None, None), tf.int32, name=name)


def _endpoints(net: Net) -> dict[str, Any]:
    """The parts of the module by name, with what each takes."""
    import tensorflow as tf

    states = tf.TensorSpec((None, None, net.sizes.width), tf.float32)
    state_names = [f"{kind}_{side}_{n}" for kind in (CROSS, CACHE) for side in "kv" for n in range(net.sizes.blocks)]
    position = {"position": tf.TensorSpec((), tf.int32, name="position")}
    return {
        "encode": (lambda source: {"default": net.encode(source)}, _ids("source")),
        "decode": (
            lambda inputs: {"default": net.decode(inputs["encoded"], inputs["ids"])},
            {"encoded": states, "ids": _ids("ids")},
        ),
        "start": (net.start, states),
        "step": (net.step, {"ids": _ids("ids"), **position, **dict.fromkeys(state_names, states)}),
    }


def _write_tokenizer(folder: Path, texts: Iterable[str], vocabulary: int) -> tuple[int, int]:
    """Byte pairs of texts and what they mean, as files; how many there are, and the number of padding."""
    try:
        import tokenizers
    except ImportError as error:
        raise InputError(
            "The tokens of a Transformer are made by the package `tokenizers`, which is not installed: run `pip "
            "install tlkit[generation]`."
        ) from error
    pairs = tokenizers.Tokenizer(tokenizers.models.BPE())
    pairs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    pairs.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary - 3, initial_alphabet=sorted(alphabet), show_progress=False
    )
    pairs.train_from_iterator(texts, trainer)
    pairs.add_special_tokens([END, BEGIN, PAD])
    pairs.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": BEGIN, "eos_token": END, "pad_token": PAD}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return int(pairs.get_vocab_size()), int(pairs.token_to_id(PAD) or 0)


def variables(sizes: Sizes, vocabulary: int, seed: int) -> dict[str, Any]:
    """`tf.Variable`s by name, drawn from a seed; kernels lie (in, out)."""
    import tensorflow as tf

    rng, d = np.random.default_rng(seed), sizes.width
    arrays = {TABLE: rng.normal(0, d**-0.5, (vocabulary, d))}
    attention = {"query": (d, d), "key": (d, d), "value": (d, d), "out": (d, d)}
    layers = {"wide/inner": (d, sizes.wide), "wide/outer": (sizes.wide, d)}
    layers |= {f"own/{name}": shape for name, shape in attention.items()}
    crossed = {f"cross/{name}": shape for name, shape in attention.items()}
    for side, parts, kernels in (
        ("encoder", ("own", "wide"), layers),
        ("decoder", ("own", "cross", "wide"), {**layers, **crossed}),
    ):
        for n in range(sizes.blocks):
            for name, (rows, columns) in kernels.items():
                arrays[f"{side}/{n}/{name}"] = rng.normal(0, (2 / (rows + columns)) ** 0.5, (rows, columns))
            arrays |= {f"{side}/{n}/{part}/scale": np.ones(d) for part in parts}
            arrays |= {f"{side}/{n}/{part}/shift": np.zeros(d) for part in parts}
            arrays |= {f"{side}/{n}/wide/inner_bias": np.zeros(sizes.wide), f"{side}/{n}/wide/outer_bias": np.zeros(d)}
        arrays |= {f"{side}/scale": np.ones(d), f"{side}/shift": np.zeros(d)}
    return {name: tf.Variable(value.astype(np.float32), name=name) for name, value in arrays.items()}


@functools.cache
def places(width: int) -> np.ndarray:
    """What tells tokens their places: float32 (512, width) of sines and cosines."""
    angles = np.arange(MOST)[:, None] / 10_000 ** (np.arange(0, width, 2)[None] / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Net:
    """The network as functions of its weights.

    States of padding are zeros, and what is all zeros is not looked at, so that states alone say how long a text is.

    Attributes:
        weights: As `variables` gives them.
        sizes: Of the network.
        pad: Number of the token that fills what is read.
    """

    weights: Weights
    sizes: Sizes
    pad: int

    def encode(self, source: Any) -> Any:
        """Normalised states of a text, zeros at padding: int32 (batch, tokens) -> float32 (batch, tokens, width)."""
        import tensorflow as tf

        present = tf.cast(tf.not_equal(source, self.pad), tf.float32)
        x, mask = self._embedded(source, tf.constant(0)), (1.0 - present[:, None, None]) * MASKED
        for n in range(self.sizes.blocks):
            name = f"encoder/{n}"
            states = self._normalized(f"{name}/own", x)
            query, key, value = (self._product(f"{name}/own/{side}", states) for side in ("query", "key", "value"))
            x += self._product(f"{name}/own/out", self._attended(query, key, value, mask))
            x += self._wide(name, x)
        return self._normalized("encoder", x) * present[..., None]

    def decode(self, encoded: Any, ids: Any) -> Any:
        """Normalised states of the decoder, (batch, tokens, width), for the tokens before each."""
        import tensorflow as tf

        positions = tf.range(tf.shape(ids)[1])
        mask = tf.cast(positions[None] > positions[:, None], tf.float32) * MASKED
        x = self._embedded(ids, tf.constant(0))
        for n in range(self.sizes.blocks):
            states = self._normalized(f"decoder/{n}/own", x)
            query, *pair = (self._product(f"decoder/{n}/own/{side}", states) for side in ("query", "key", "value"))
            x = self._block(n, x, (query, *pair, mask), self._crossed(n, encoded))
        return self._normalized("decoder", x)

    def start(self, encoded: Any) -> dict[str, Any]:
        """Keys and values of what is read for each block: cross_k_N, cross_v_N (batch, tokens, width)."""
        return {
            f"{CROSS}_{side}_{n}": tensor
            for n in range(self.sizes.blocks)
            for side, tensor in zip("kv", self._crossed(n, encoded), strict=True)
        }

    def step(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What `decode` gives for some tokens, with the keys and values of those before at hand.

        Args:
            inputs: int32 ids (batch, tokens), int32 position of the first of them, what `start` gives, and
                kv_cache_k_N, kv_cache_v_N (batch, capacity, width), in which nothing behind the position is read.

        Returns:
            The states of these tokens as default, and the caches with their keys and values written in.
        """
        import tensorflow as tf

        ids, caches = inputs["ids"], {}
        positions, capacity = inputs["position"] + tf.range(tf.shape(ids)[1]), tf.shape(inputs[f"{CACHE}_k_0"])[1]
        mask = tf.cast(tf.range(capacity)[None] > positions[:, None], tf.float32) * MASKED
        chosen = tf.one_hot(positions, capacity)
        x = self._embedded(ids, inputs["position"])
        for n in range(self.sizes.blocks):
            states = self._normalized(f"decoder/{n}/own", x)
            query, key, value = (self._product(f"decoder/{n}/own/{side}", states) for side in ("query", "key", "value"))
            for side, rows in zip("kv", (key, value), strict=True):
                before = inputs[f"{CACHE}_{side}_{n}"] * (1.0 - tf.reduce_sum(chosen, axis=0))[:, None]
                caches[f"{CACHE}_{side}_{n}"] = before + tf.einsum("tc,btd->bcd", chosen, rows)
            attention = (query, caches[f"{CACHE}_k_{n}"], caches[f"{CACHE}_v_{n}"], mask)
            x = self._block(n, x, attention, (inputs[f"{CROSS}_k_{n}"], inputs[f"{CROSS}_v_{n}"]))
        return {"default": self._normalized("decoder", x), **caches}

    def _block(self, n: int, x: Any, attention: tuple[Any, ...], cross: tuple[Any, Any]) -> Any:
        """A block of the decoder, from what its tokens see of each other, and of what is read."""
        import tensorflow as tf

        name, (key, value) = f"decoder/{n}", cross
        x += self._product(f"{name}/own/out", self._attended(*attention))
        nothing = tf.cast(tf.reduce_all(tf.equal(key, 0.0), axis=-1), tf.float32)
        query = self._product(f"{name}/cross/query", self._normalized(f"{name}/cross", x))
        x += self._product(f"{name}/cross/out", self._attended(query, key, value, nothing[:, None, None] * MASKED))
        return x + self._wide(name, x)

    def _crossed(self, n: int, encoded: Any) -> tuple[Any, Any]:
        """Keys and values of what is read, by one product a text: rows of all texts would be another tensor at a cut.

        There are no biases, so that what is zeros stays zeros.
        """
        import tensorflow as tf

        kernels = (self.weights[f"decoder/{n}/cross/{side}"] for side in ("key", "value"))
        key, value = (tf.matmul(encoded, kernel) for kernel in kernels)
        return key, value

    def _embedded(self, ids: Any, position: Any) -> Any:
        import tensorflow as tf

        positions = position + tf.range(tf.shape(ids)[1])
        rows = tf.gather(self.weights[TABLE], ids) * self.sizes.width**0.5
        return rows + tf.gather(tf.constant(places(self.sizes.width)), positions)

    def _attended(self, query: Any, key: Any, value: Any, mask: Any) -> Any:
        """Scaled dot-product attention, the mask added to the scores: (batch, tokens, width)."""
        import tensorflow as tf

        count, width = self.sizes.heads, self.sizes.width

        def heads(x: Any) -> Any:
            return tf.transpose(tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1], count, width // count)), (0, 2, 1, 3))

        logits = tf.matmul(heads(query), heads(key), transpose_b=True) * (width // count) ** -0.5 + mask
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(logits), heads(value)), (0, 2, 1, 3))
        return tf.reshape(mixed, (tf.shape(query)[0], tf.shape(query)[1], width))

    def _wide(self, name: str, x: Any) -> Any:
        """Two dense layers of the normalised states."""
        import tensorflow as tf

        states = self._normalized(f"{name}/wide", x)
        inner = self._product(f"{name}/wide/inner", states) + self.weights[f"{name}/wide/inner_bias"]
        return self._product(f"{name}/wide/outer", tf.nn.relu(inner)) + self.weights[f"{name}/wide/outer_bias"]

    def _product(self, name: str, x: Any) -> Any:
        """One product for all rows: `x @ kernel` makes one an example, and sums as many gradients of the kernel."""
        import tensorflow as tf

        kernel = self.weights[name]
        rows = tf.matmul(tf.reshape(x, (-1, kernel.shape[0])), kernel)
        return tf.reshape(rows, (tf.shape(x)[0], tf.shape(x)[1], kernel.shape[1]))

    def _normalized(self, name: str, x: Any) -> Any:
        import tensorflow as tf

        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        rows = (x - mean) * tf.math.rsqrt(variance + EPSILON)
        return rows * self.weights[f"{name}/scale"] + self.weights[f"{name}/shift"]
