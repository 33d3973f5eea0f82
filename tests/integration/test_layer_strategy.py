"""A HubLayer under tf.distribute.MirroredStrategy, on two logical CPUs of a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

CHILD = """
import json, sys
import keras, modules, numpy as np, tensorflow as tf
from tlkit import HubLayer
from tlkit.core.errors import InputError

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
nested, tf1, target = sys.argv[1:]
x, y = modules.inputs("nested", 16), np.arange(16) % 3
found = {"replicas": strategy.num_replicas_in_sync}


def compiled(layer):
    model = keras.Sequential([layer, keras.layers.Dense(3)])
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def refusal(make):
    try:
        make()
    except InputError as error:
        return str(error)


keras.utils.set_random_seed(0)
with strategy.scope():
    layer = HubLayer(nested, trainable=True, name="backbone")
    model = compiled(layer)
before = [v.numpy() for v in layer.weights]
found["losses"] = model.fit(x, y, batch_size=8, epochs=4, verbose=0).history["loss"]
found["moved"] = sum(not np.array_equal(a, v.numpy()) for a, v in zip(before, layer.weights))
copies = [[np.asarray(c) for c in strategy.experimental_local_results(v.value)] for v in layer.weights]
found["copies"] = [len(c) for c in copies]
found["equal"] = all(np.array_equal(c[0], other) for c in copies for other in c)
found["finite"] = bool(np.isfinite(model.predict(x, verbose=0)).all())
model.save(target)
plain = keras.saving.load_model(target)
found["gap"] = float(np.abs(plain(x) - model(x)).max())

with strategy.scope():
    frozen = HubLayer(nested)
    model = compiled(frozen)
before = [v.numpy() for v in frozen.weights]
model.fit(x, y, batch_size=8, epochs=1, verbose=0)
found["frozen"] = all(np.array_equal(a, v.numpy()) for a, v in zip(before, frozen.weights))
with strategy.scope():
    found["tf1"] = refusal(lambda: HubLayer(tf1, trainable=True)) or "trains"

outside = HubLayer(nested, trainable=True, name="outside")
with strategy.scope():
    found["called_inside"] = refusal(lambda: outside(x))
    model = refusal(lambda: compiled(outside).fit(x, y, batch_size=8, verbose=0))
found["fitted_inside"] = model
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(module_folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("mirrored") / "m.keras"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(module_folder("nested")), str(module_folder("tf1_hub")), str(target)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_made_inside_the_scope_it_trains(found):
    assert found["replicas"] == 2
    assert found["losses"][-1] < found["losses"][0]
    assert found["moved"] == 4
    assert found["copies"] == [2, 2, 2, 2]
    assert found["equal"], "the replicas' weights differ"
    assert found["finite"]
    assert found["gap"] < 1e-6, "what was saved differs"


def test_frozen_inside_the_scope(found):
    assert found["frozen"]


def test_made_outside_it_says_so(found):
    message = (
        "outside was made outside this tf.distribute strategy's scope; make the layer, and compile the model, inside"
    )
    for way in ("called_inside", "fitted_inside"):
        assert found[way] and message in found[way], found[way]


def test_a_tf1_module_trains_or_says_why_not(found):
    assert found["tf1"] == "trains" or "so tf.distribute cannot spread them" in found["tf1"]
