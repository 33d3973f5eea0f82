"""Graph models of TensorFlow.js: read, refused, and computed as by hand."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.zoo import tfjsfile


def word(text):
    return base64.b64encode(text.encode()).decode()


def node(name, op, *inputs, **attr):
    return {"name": name, "op": op, "input": list(inputs), "attr": attr}


KERNEL = np.array([[[[2.0, -1.0]]]], np.float16)  # of one pixel, 1 channel to 2
OFFSET = np.array([0.5, 0.25], np.float32)
SAME = {"strides": {"list": {"i": ["1", "1", "1", "1"]}}, "padding": {"s": word("SAME")}}
NODES = [
    node("image", "Placeholder"),
    node("kernel", "Const"),
    node("offset", "Const"),
    node("size", "Const"),
    node("conv", "_FusedConv2D", "image", "kernel", "offset",
         fused_ops={"list": {"s": [word("BiasAdd"), word("Relu")]}}, **SAME),
    node("up", "ResizeBilinear", "conv", "size"),
    node("end", "Identity", "up"),
    node("pick", "GatherV2", "end"),
]  # fmt: skip


def written(folder, weights=None, content=None):
    rows = weights or [
        {"name": "kernel", "shape": [1, 1, 1, 2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "offset", "shape": [2], "dtype": "float32"},
        {"name": "size", "shape": [2], "dtype": "int32"},
    ]
    model_json = {"modelTopology": {"node": NODES}, "weightsManifest": [{"weights": rows, "paths": ["x.bin"]}]}
    (folder / "x.json").write_text(json.dumps(model_json))
    content = KERNEL.tobytes() + OFFSET.tobytes() + np.int32([4, 4]).tobytes() if content is None else content
    (folder / "x.bin").write_bytes(content)
    return folder / "x.json", folder / "x.bin"


def test_it_is_computed_as_by_hand_at_any_size(tmp_path):
    graph = tfjsfile.read(*written(tmp_path))
    assert graph.weights["kernel"].dtype == np.float32 and graph.weights["size"].tolist() == [4, 4]
    assert tfjsfile.needed(graph, ["end"]) == ["kernel", "offset"]
    image = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    (output,) = tfjsfile.computed(graph, {**graph.weights, "image": image}, ["end"])
    assert output.shape == (1, 4, 6, 2)
    expected = np.maximum(image * np.float32([2, -1]) + OFFSET, 0)
    np.testing.assert_allclose(output[:, ::2, ::2], expected, atol=1e-6)  # places of before stay where they were
    np.testing.assert_allclose(output[0, 0, 1], (expected[0, 0, 0] + expected[0, 0, 1]) / 2, atol=1e-6)


def test_what_is_not_read_is_named(tmp_path):
    graph = tfjsfile.read(*written(tmp_path))
    with pytest.raises(InputError, match="The node 'pick' is a GatherV2, which is not read here"):
        tfjsfile.computed(graph, {**graph.weights, "image": np.zeros((1, 2, 2, 1), np.float32)}, ["pick"])
    with pytest.raises(InputError, match=r"x\.bin has 3 bytes, and x\.json speaks of 20"):
        tfjsfile.read(*written(tmp_path, content=b"abc"))
    odd = [{"name": "kernel", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint8"}}]
    with pytest.raises(InputError, match="keeps 'kernel' as uint8, which is not read here"):
        tfjsfile.read(*written(tmp_path, odd))
