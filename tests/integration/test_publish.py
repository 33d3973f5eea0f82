"""A run's module becomes a handle: same outputs, same training, same vocabulary, a card with its origin."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fitting import built, data
from modules import inputs

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.run import Phase
from tlkit.formats.hub_module import CARD_FILE
from tlkit.hub import resolve
from tlkit.runs import folder as run_folder

pytestmark = pytest.mark.usefixtures("module_cache")
KINDS = ("keras3_export", "keras3_hub", "keras2", "nested", "no_training", "signature_only", "text_encoder", "waveform")


def outputs(layer, x, training=False):
    import keras

    return [np.asarray(y) for y in keras.tree.flatten(layer(x, training=training))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_module_is_the_module(kind, module_folder, tmp_path):
    layer = tlkit.HubLayer(module_folder(kind), signature_outputs_as_dict=kind == "signature_only" or None)
    for variable in layer.weights:
        if variable.dtype == "float32":
            variable.assign(np.asarray(variable) * 1.1)  # it was trained
    again = tlkit.HubLayer(tlkit.publish(layer, tmp_path / "mine"))
    x = inputs(kind)
    for a, b in zip(outputs(layer, x), outputs(again, x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(again.trainable_variables) == len(layer.trainable_variables)
    assert again.endpoint.takes_training or not layer.endpoint.takes_training
    assert again.handle == str(tmp_path / "mine")


def test_the_next_run_starts_where_the_last_one_ended(module_folder, tmp_path):
    model, task = built(module_folder("keras3_hub"))
    run = tlkit.fit(model, task, data(), (Phase(1, 3e-3), Phase(2, 1e-3, unfrozen=1.0)), batch_size=8)
    folder = tlkit.publish(run, tmp_path / "adapted", card={"licence": "Apache-2.0"})
    card = json.loads((folder / CARD_FILE).read_text())
    assert card["name"] == "adapted" and card["trained_from"]["task"] == "classify" and card["licence"] == "Apache-2.0"
    assert card["input_range"] == [0.0, 1.0]
    layer = tlkit.HubLayer(folder, name="backbone")
    again = tlkit.build(layer, task, image_size=(32, 32))
    assert layer.input_range == (0.0, 1.0) and [b.name for b in layer.blocks]
    x = np.stack([data().test.inputs[i] for i in range(4)]).astype("float32")
    features = [m.get_layer("backbone")(x) for m in (run.model, again)]
    np.testing.assert_allclose(*features, atol=1e-6)
    (tmp_path / "run").mkdir()
    handle = run_folder.save(run, tmp_path / "run").folder  # the run's own folder stands for the same module
    assert resolve(handle) == resolve(str(handle), offline=True) != handle
    np.testing.assert_allclose(tlkit.HubLayer(handle, input_range=(0.0, 1.0))(x), features[0], atol=1e-6)
    (handle / "model.keras").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"model\.keras") as caught:
        resolve(handle)
    assert "\n" not in str(caught.value)
    tuned = tlkit.fit(again, task, data(), (Phase(1, 1e-3, unfrozen=0.5),), batch_size=8)
    assert np.isfinite(tuned.phases[0].history["loss"]).all()


def test_a_published_text_module_keeps_its_vocabulary(module_folder, tmp_path):
    layer = tlkit.HubLayer(module_folder("bert"))
    again = tlkit.HubLayer(tlkit.publish(layer, tmp_path / "mine"))
    assert again.tokenizer.vocabulary == layer.tokenizer.vocabulary


def test_what_cannot_be_published(module_folder, tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match="exists already; publish into a new folder"):
        tlkit.publish(tlkit.HubLayer(module_folder("keras3_hub")), tmp_path / "here")
    with pytest.raises(InputError, match=r"neither a \.keras file nor a run's folder"):
        tlkit.publish(tmp_path / "here", tmp_path / "mine")
