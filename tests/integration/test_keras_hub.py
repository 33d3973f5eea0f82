"""Backbones of KerasHub as handles, of random weights: cuts through their depth, and a language model that learns."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_language

import tlkit
from tlkit import graph as graphs
from tlkit.core.run import Phase
from tlkit.layer.hub_layer import HubLayer

pytestmark = pytest.mark.long
keras_hub = pytest.importorskip("keras_hub", reason="needs keras-hub, which `make install` installs")
BLOCKS, WIDTH, TOKENS = 3, 16, 6
SIZES = {"vocabulary_size": 50, "num_layers": BLOCKS, "hidden_dim": WIDTH, "intermediate_dim": 32}
LLAMA = {"num_query_heads": 4, "num_key_value_heads": 2}
BACKBONES = {
    "GPT2Backbone": {"num_heads": 2, "max_sequence_length": 16},
    "Llama3Backbone": LLAMA,
    "GemmaBackbone": {**LLAMA, "head_dim": 4},
    "BertBackbone": {"num_heads": 2, "max_sequence_length": 16},
    "T5Backbone": {"num_heads": 2},
    "BartBackbone": {"num_heads": 2, "max_sequence_length": 16},
    "WhisperBackbone": {
        "num_heads": 2, "num_mels": 8, "max_encoder_sequence_length": 12, "max_decoder_sequence_length": 16,
    },
}  # fmt: skip


def inputs(backbone):
    """A batch of two, by the names of the backbone's inputs."""
    draw = np.random.default_rng(0)
    values = {}
    for tensor in backbone.inputs:
        if tensor.name == "encoder_features":
            values[tensor.name] = draw.normal(size=(2, 12, 8)).astype("float32")
        elif tensor.name.endswith("token_ids"):
            values[tensor.name] = draw.integers(1, 50, (2, TOKENS)).astype("int32")
        else:
            values[tensor.name] = np.full((2, TOKENS), "mask" in tensor.name, "int32")
    return values


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_a_handle_with_cuts_through_its_depth(name):
    keras.utils.set_random_seed(0)
    backbone = getattr(keras_hub.models, name)(**SIZES, **BACKBONES[name])
    outputs = backbone.output if isinstance(backbone.output, dict) else {}
    key = next((name for name in ("decoder_sequence_output", "sequence_output") if name in outputs), None)
    layer = HubLayer(backbone, output_key=key)
    x = inputs(backbone)
    expected = np.asarray(backbone(x)[key] if key else backbone(x))
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    cuts = graphs.cuts(layer.graph)
    behind = {len(cut.variables_behind) for cut in cuts}
    assert len(behind) > BLOCKS, "not a cut behind each block"
    for cut in cuts[:: max(1, len(cuts) // 4)]:
        tensors = layer.front(cut)(x)
        tensors = list(tensors) if isinstance(tensors, tuple) else [tensors]
        leaves = tf.nest.flatten(x)
        np.testing.assert_allclose(layer.back(cut)([*tensors, *(leaves[i] for i in cut.inputs)]), expected, atol=1e-5)


class Gpt2(tf.Module):
    """GPT-2 of KerasHub with a tokenizer, as docs/generation.md has it."""

    def __init__(self, backbone, folder):
        super().__init__()
        self.backbone = backbone
        self.tokenizer_file = tf.saved_model.Asset(f"{folder}/tokenizer.json")
        self.tokenizer_config = tf.saved_model.Asset(f"{folder}/tokenizer_config.json")

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)])
    def __call__(self, ids):
        return self.backbone({"token_ids": ids, "padding_mask": tf.ones_like(ids)})


def test_a_backbone_with_its_tokenizer_learns_to_answer(tmp_path):
    settings = {"bos_token": None, "eos_token": "<|end|>", "pad_token": "<|end|>", "chat_template": ""}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tiny_language.tokenizer()))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=258, num_layers=3, num_heads=4, hidden_dim=32, intermediate_dim=64, max_sequence_length=64
    )
    data = tlkit.data.text.from_dialogues(tiny_language.dialogues(tmp_path / "pairs.jsonl"), progress=False)
    phases = (Phase(3, 3e-3, unfrozen=0.34), Phase(20, 1e-2, unfrozen=1.0))
    task = tlkit.tasks.generate(most=12, samples=0)
    run = tlkit.finetune(Gpt2(backbone, tmp_path), task, data, phases, out=tmp_path / "run", batch_size=8)
    assert run.phases[0].had["front"].startswith("computed once")
    assert run.scores["perplexity"] < 0.3 * run.scores["perplexity_before"]
    run = tlkit.export(run, formats=("saved_model", "float32"))
    assert all(row.passed and row.agreement == 1 for row in run.exports)
