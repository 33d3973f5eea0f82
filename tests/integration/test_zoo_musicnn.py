"""musicnn's VGG in Keras: it equals the authors' own graph, hears what music is made of, and trains."""

import dataclasses
import shutil

import numpy as np
import pytest
import zoo_checks

from tlkit import HubLayer, graph, zoo
from tlkit.zoo import musicnn
from tlkit.zoo.store import MANIFEST

tf = pytest.importorskip("tensorflow")

NAME = "musicnn"
META = "musicnn/MTT_vgg/.meta"  # the graph that the authors trained
META_SHA256 = "407ea5964eac3b053356d94be866da8b513778175216e741280a5c202cf9c8a4"


@pytest.fixture(scope="module")
def loaded():
    return tf.saved_model.load(str(zoo_checks.folder(NAME)))


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    """The authors' inference graph with their weights: log-mel (n, 187, 96) -> pool5, tags."""
    package = dataclasses.replace(musicnn.PACKAGE, files={**musicnn.PACKAGE.files, META: META_SHA256})
    files = zoo_checks.files(package, tmp_path_factory.mktemp("authors"))
    prefix = tmp_path_factory.mktemp("checkpoint") / "ckpt"
    for name in (musicnn.INDEX, musicnn.DATA):
        shutil.copyfile(files[name], f"{prefix}{name.rpartition('/')[2]}")
    return own_graph(files[META].read_bytes(), tf.train.load_checkpoint(str(prefix)))


def own_graph(meta, weights):
    definition = tf.compat.v1.MetaGraphDef.FromString(meta).graph_def
    names = ["model/Flatten/flatten/Reshape", "model/Sigmoid"]
    part = tf.compat.v1.graph_util.extract_sub_graph(definition, names)
    with tf.Graph().as_default() as network:
        variables = [node.name for node in part.node if node.op == "VariableV2"]
        values = {f"{name}:0": tf.constant(weights.get_tensor(name)) for name in variables}
        outputs = tf.import_graph_def(part, values, [f"{name}:0" for name in names], name="")
        feeds = [op.outputs[0] for op in network.get_operations() if op.type == "Placeholder"]
    spectra = next(t for t in feeds if t.dtype == tf.float32)
    training = next(t for t in feeds if t.dtype == tf.bool)

    def run(values):
        with tf.compat.v1.Session(graph=network) as session:
            return session.run(outputs, {spectra: values, training: False})

    return run


def reference_log_mel(wave):
    """librosa.feature.melspectrogram(sr=16000, n_fft=512, hop_length=256, n_mels=96) and its logarithm, in float64."""
    padded = np.pad(wave.astype(np.float64), 256)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    starts = range(0, len(padded) - 511, 256)
    power = np.stack([np.abs(np.fft.rfft(padded[s : s + 512] * hann)) ** 2 for s in starts])
    mels = np.linspace(0, 15 + np.log(8.0) / (np.log(6.4) / 27), 98)
    edges = [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in mels]
    bands = [
        np.interp(np.arange(257) * 31.25, e, [0, 2 / (e[2] - e[0]), 0], left=0, right=0)
        for e in (edges[i : i + 3] for i in range(96))
    ]
    return np.log10(10_000 * power @ np.array(bands).T + 1)


def plucked(seconds=3.0):
    """A guitar's string as Karplus and Strong made it, playing an arpeggio; float32 (samples,)."""
    rng, out = np.random.default_rng(0), np.zeros(int(16_000 * seconds))
    for note, hertz in enumerate((147, 196, 247, 294, 392, 294, 247, 196)):
        string = rng.uniform(-1, 1, round(16_000 / hertz))
        start = int(note * 0.35 * 16_000)
        for i in range(start, len(out)):
            out[i] += string[0]
            string = np.append(string[1:], 0.498 * (string[0] + string[1]))
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


def pounding(seconds=3.0):
    """A bass drum four times a bar at 128 beats a minute, a sawtooth on the off-beats; float32 (samples,)."""
    t = np.arange(int(16_000 * seconds)) / 16_000
    beat = t % (60 / 128)
    drum = np.sin(2 * np.pi * 50 * beat + 12 * (1 - np.exp(-30 * beat))) * np.exp(-8 * beat)
    hat = np.random.default_rng(0).normal(size=t.size) * np.exp(-60 * ((t + 30 / 128) % (60 / 128)))
    saw = 2 * ((110 * t) % 1) - 1
    return (0.5 * drum + 0.1 * hat + 0.15 * saw * (beat > 0.2)).astype(np.float32)


@pytest.mark.parametrize("sound", [plucked, pounding])
def test_three_seconds_equal_the_authors_graph(loaded, authors, sound):
    wave = sound()[: musicnn.SHORTEST]
    features, tags = authors(reference_log_mel(wave)[None].astype(np.float32))
    outputs = loaded(tf.constant(wave[None]))
    np.testing.assert_allclose(outputs["default"], features, atol=1e-3 * np.abs(features).max())
    np.testing.assert_allclose(outputs["tags"], tags, atol=1e-4)


def test_longer_sounds_are_close_to_the_authors_pieces(loaded, authors):
    wave = np.concatenate([plucked(), pounding(), pounding()])
    spectra = reference_log_mel(wave).astype(np.float32)
    pieces = np.stack([spectra[i : i + 187] for i in range(0, len(spectra) - 186, 187)])
    _, tags = authors(pieces)
    ours = loaded(tf.constant(wave[None]))["tags"].numpy()[0]
    assert np.corrcoef(ours, tags.mean(axis=0))[0, 1] > 0.9


def heard(loaded, wave, count):
    tags = loaded(tf.constant(wave[None]))["tags"].numpy()[0]
    return [musicnn.TAGS[i] for i in np.argsort(tags)[::-1][:count]]


def test_it_hears_a_guitar_and_a_machine(loaded):
    assert "guitar" in heard(loaded, plucked(), 3)
    assert {"techno", "beat", "electronic", "drums", "dance"} & set(heard(loaded, pounding(), 3))


def test_the_hub_interface(loaded):
    waves = tf.constant(np.stack([plucked(), pounding()]))
    served = loaded.signatures["serving_default"](inputs=waves)
    assert {k: v.shape for k, v in served.items()} == {"default": (2, 256), "tags": (2, 50)}
    assert (
        len(loaded.trainable_variables) == 24 and len(loaded.variables) == 24 + 12 + 5
    )  # statistics, dropout's states
    before = [v.numpy() for v in loaded.variables]
    zoo_checks.check_interface(NAME, loaded, waves)
    moved = [v.name for v, b in zip(loaded.variables, before, strict=True) if not np.array_equal(v, b)]
    assert len([name for name in moved if "moving_" in name]) == 12 and len(moved) == 12 + 5
    for variable, value in zip(loaded.variables, before, strict=True):
        variable.assign(value)


@pytest.mark.parametrize("samples", [0, 1, 16_000, musicnn.SHORTEST, 100_000])
def test_any_length_gives_one_row_a_sound(loaded, samples):
    outputs = loaded(tf.zeros((2, samples)))
    assert outputs["default"].shape == (2, 256) and np.isfinite(outputs["tags"]).all()


def test_it_can_be_cut_behind_every_block():
    layer = HubLayer(str(zoo_checks.folder(NAME)))
    narrow = graph.with_output(layer.graph, "default")
    assert [b.name for b in graph.blocks(narrow)] == [f"block_{i}" for i in range(1, 6)]


def test_it_converts_with_builtins(loaded):
    wave = plucked()[None]
    outputs = zoo_checks.litert(loaded, inputs=wave.shape)(inputs=wave)
    for key, value in loaded(tf.constant(wave)).items():
        np.testing.assert_allclose(outputs[key], value, atol=1e-3 * np.abs(value).max())


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(tmp_path):
    again = zoo.build(NAME, tmp_path)
    assert (again / MANIFEST).read_bytes() == (zoo_checks.folder(NAME) / MANIFEST).read_bytes()
