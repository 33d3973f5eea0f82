"""A .keras file carries its module: it opens in a fresh process, on a machine that has neither module nor cache."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf

import tlkit
from tlkit import HubLayer
from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.hub import pack

ROOT = Path(__file__).parents[2]
ONE = {"signature_only": "features", "text_encoder": "pooled_output"}
KINDS = ("keras3_hub", "keras3_export", "keras2", "tf1_hub", "signature_only", "text_encoder", "vocabulary")
PART = "keras3_hub-part"  # partly unfrozen, with an input range
RESUMED = "resumed"  # a nested module, saved in the middle of its training

CHILD = """
import sys
from pathlib import Path
import numpy as np
{opening}
import modules, tensorflow as tf
folder = Path.cwd()
found = {{}}
for kind in sys.argv[2:]:
    path = folder / f"{{kind}}.keras"
    model = open_model(path)
    layer = next(l for l in model.layers if type(l).__name__ == "HubLayer")
    if kind == "resumed":
        steps = int(model.optimizer.iterations)
        with np.load("data.npz") as data:
            model.fit(data["x"], data["y"], batch_size=8, epochs=2, shuffle=False, verbose=0)
        found |= {{f"resumed.{{i}}": w for i, w in enumerate(model.get_weights())}}
        found["resumed.steps"] = steps
        continue
    x = tf.nest.map_structure(tf.constant, modules.inputs(kind.split("-")[0]))
    found[f"{{kind}}.outputs"] = model(x)
    found[f"{{kind}}.trainable"] = np.array([v.path for v in layer.trainable_weights])
    found[f"{{kind}}.handle"] = np.array([layer.handle, layer.sha256])
np.savez(sys.argv[1], **found)
"""
WAYS = {  # how a user opens them, and which (all kinds the first way)
    "tlkit": ("import tlkit\nopen_model = tlkit.load", (*KINDS, PART, RESUMED)),
    "keras": (
        "import keras\nfrom tlkit import HubLayer\nopen_model = keras.saving.load_model",
        ("keras3_hub", "vocabulary", RESUMED),
    ),
}


def model_of(kind, folder, **arguments):
    layer = HubLayer(folder, output_key=ONE.get(kind), **arguments)
    if kind == "text_encoder":
        inputs = {k: keras.Input((modules.TOKENS,), dtype="int32", name=k) for k in modules.inputs(kind)}
        return keras.Model(inputs, keras.layers.Dense(3)(layer(inputs)))
    model = keras.Sequential([layer, keras.layers.Dense(3)])
    model(tf.constant(modules.inputs(kind)))
    return model


def perturb(model):
    """Other weights than the module's own, as after training."""
    rng = np.random.default_rng(1)
    for v in model.weights:
        if v.dtype == "float32":
            v.assign(v + rng.uniform(0.0, 0.1, v.shape))


@pytest.fixture(scope="module")
def saved(module_folder, tmp_path_factory):
    """A folder of .keras files whose modules are gone, and what their models gave when they were saved."""
    root = tmp_path_factory.mktemp("saved")
    expected = {}

    def keep(name, kind, **arguments):
        module = root / "modules" / name
        shutil.copytree(module_folder(kind), module)
        model = model_of(kind, module, trainable=True, **arguments)
        layer = next(x for x in model.layers if isinstance(x, HubLayer))
        perturb(model)
        model.save(root / f"{name}.keras")
        x = tf.nest.map_structure(tf.constant, modules.inputs(kind))
        expected[f"{name}.outputs"] = model(x).numpy()
        expected[f"{name}.trainable"] = np.array([v.path for v in layer.trainable_weights])
        expected[f"{name}.handle"] = np.array([layer.handle, layer.sha256])

    for kind in KINDS:
        keep(kind, kind)
    keep(PART, "keras3_hub", unfrozen=0.4, input_range=(-1, 1))
    expected |= _trained(module_folder("nested"), root)
    shutil.rmtree(root / "modules")
    return root, expected


def _trained(folder, root):
    keras.utils.set_random_seed(0)
    x, y = modules.inputs("nested", 16), np.arange(16) % 3
    model = model_of("nested", folder, trainable=True)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    settings = {"batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(x, y, epochs=2, **settings)
    model.save(root / f"{RESUMED}.keras")
    np.savez(root / "data.npz", x=x, y=y)
    model.fit(x, y, epochs=2, **settings)
    return {f"{RESUMED}.{i}": w for i, w in enumerate(model.get_weights())} | {f"{RESUMED}.steps": np.array(4)}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_it_opens_in_a_fresh_process_without_module_and_cache(way, saved, tmp_path):
    root, expected = saved
    opening, names = WAYS[way]
    (tmp_path / "cache").mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("TLKIT_TRUST", "TFHUB_CACHE_DIR")},
        "TLKIT_CACHE": str(tmp_path / "cache"),
        "TLKIT_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(opening=opening), str(tmp_path / "found.npz"), *names],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list((tmp_path / "cache").iterdir()) == []
    with np.load(tmp_path / "found.npz") as archive:
        arrays = dict(archive)
    assert set(arrays) == {name for name in expected if name.split(".")[0] in names}
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_what_trains_is_remembered(saved):
    _, expected = saved
    assert 0 < len(expected[f"{PART}.trainable"]) < len(expected["keras3_hub.trainable"]) == 25


def test_the_file_carries_the_graph_but_the_weights_once(saved):
    root, _ = saved
    with zipfile.ZipFile(root / "keras3_hub.keras") as archive:
        config = archive.read("config.json")
    (layer,) = (x["config"] for x in json.loads(config)["config"]["layers"] if x["class_name"] == "HubLayer")
    names = zipfile.ZipFile(io.BytesIO(base64.b64decode(layer["graph"]))).namelist()
    assert "saved_model.pb" in names
    assert not [n for n in names if "variables" in n]
    assert len(config) < 200_000
    assert "trust" not in layer


def test_weights_alone(module_folder, tmp_path):
    model = model_of("nested", module_folder("nested"))
    perturb(model)
    model.save_weights(tmp_path / "m.weights.h5")
    fresh = model_of("nested", module_folder("nested"))
    assert not np.array_equal(fresh.get_weights()[0], model.get_weights()[0])
    fresh.load_weights(tmp_path / "m.weights.h5")
    for a, b in zip(fresh.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loaded_object_is_carried_too(module_folder, tmp_path):
    model = keras.Sequential([HubLayer(modules.load("nested", module_folder("nested"))), keras.layers.Dense(3)])
    x = modules.inputs("nested")
    expected = model(x)
    perturb(model)
    model.save(tmp_path / "m.keras")
    after = model(x)
    assert not np.array_equal(after, expected)
    np.testing.assert_array_equal(tlkit.load(tmp_path / "m.keras")(x), after)


# -- files by strangers


class Tracked(tf.saved_model.experimental.TrackableResource):
    """A resource whose initializer, which TensorFlow runs while it loads, writes a file."""

    def __init__(self, target):
        super().__init__()
        self.target = target

    def _create_resource(self):
        return tf.raw_ops.AnonymousHashTable(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        with tf.control_dependencies([tf.io.write_file(self.target, "x")]):
            return tf.constant(1.0)


@pytest.fixture(scope="module")
def evil(module_folder, tmp_path_factory):
    """A .keras file with the weights of a fine module, and a graph whose initializer writes `loot`."""
    root = tmp_path_factory.mktemp("evil")
    module = modules.Nested()
    module.resource = Tracked(str(root / "loot"))
    module.reading = tf.function(lambda: module.resource.resource_handle, input_signature=[])
    tf.saved_model.save(module, str(root / "m"), signatures=module.__call__)
    (root / "loot").unlink(missing_ok=True)
    model_of("nested", module_folder("nested")).save(root / "fine.keras")
    graph = base64.b64encode(pack(root / "m")).decode()

    def edit(config):
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "HubLayer":
                layer["config"] |= {"graph": graph, "trust": True, "sha256": "0" * 64}

    _rewritten(root / "fine.keras", root / "evil.keras", edit)
    return root


def _rewritten(source, target, edit):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                edit(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)


def test_the_attack_would_work(evil):
    """Else the next test shows nothing."""
    tf.saved_model.load(str(evil / "m"))
    assert (evil / "loot").read_text() == "x"
    (evil / "loot").unlink()


def test_a_malicious_file_is_refused_in_short_and_writes_nothing(evil, monkeypatch):
    monkeypatch.delenv("TLKIT_TRUST", raising=False)
    with pytest.raises(
        UnsafeModuleError, match=r"module's graph inside the file is refused: WriteFile .*TLKIT_TRUST=1"
    ):
        tlkit.load(evil / "evil.keras")
    with pytest.raises(UnsafeModuleError) as caught:
        keras.saving.load_model(evil / "evil.keras")
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)
    assert not (evil / "loot").exists()
    x = modules.inputs("nested")
    fine = tlkit.load(evil / "fine.keras")
    np.testing.assert_array_equal(fine(x), keras.saving.load_model(evil / "fine.keras")(x))
    assert np.ptp(fine(x)) > 0


def test_who_trusts_it_says_so(evil, monkeypatch):
    monkeypatch.setenv("TLKIT_TRUST", "1")
    assert not (evil / "loot").exists()
    assert isinstance(tlkit.load(evil / "evil.keras"), keras.Model)
    assert (evil / "loot").exists()
    (evil / "loot").unlink()


def test_a_file_cannot_send_for_another_module(evil, tmp_path):
    """Without a graph a config would make the layer load whatever the handle names."""
    target = tmp_path / "sent.keras"
    _rewritten(evil / "fine.keras", target, _without_graph(str(evil / "m")))
    with pytest.raises(InputError, match="carries no graph"):
        tlkit.load(target)
    assert not (evil / "loot").exists()


def _without_graph(handle):
    def edit(config):
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "HubLayer":
                layer["config"] |= {"graph": None, "handle": handle, "trust": True}

    return edit


@pytest.mark.parametrize("graph", ["nonsense!", base64.b64encode(b"no zip").decode(), "é", 5])
def test_a_damaged_graph_is_one_sentence(graph, evil, tmp_path):
    def edit(config):
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "HubLayer":
                layer["config"] |= {"graph": graph, "sha256": "0" * 64}

    _rewritten(evil / "fine.keras", tmp_path / "m.keras", edit)
    with pytest.raises(InputError, match="packed graph of a module is damaged"):
        tlkit.load(tmp_path / "m.keras")


def test_what_cannot_be_carried_says_so(tmp_path):
    class Named(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel, self.names = tf.Variable([[1.0]]), tf.Variable(["a", "b"])

        @tf.function(input_signature=[tf.TensorSpec((None, 1))])
        def __call__(self, x):
            return tf.matmul(x, self.kernel) + tf.cast(tf.size(self.names.read_value()), tf.float32)

    tf.saved_model.save(Named(), str(tmp_path / "m"))
    layer = HubLayer(tmp_path / "m")
    assert float(layer(tf.ones((1, 1)))[0, 0]) == 3.0
    with pytest.raises(InputError, match=r"keeps strings in a variable, which a \.keras file cannot carry"):
        layer.get_config()
