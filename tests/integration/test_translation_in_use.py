"""An encoder-decoder of one's own from texts to file: what is written, published and adapted, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from fitting import goes_on_to_the_same_weights

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.progress import quiet
from tlkit.core.task import Signature
from tlkit.modalities.prepare import prepare
from tlkit.modalities.translation import _check_known, _cut
from tlkit.model.deployed import traced, used
from tlkit.tasks import greedy_decoding
from tlkit.tasks.greedy_decoding import _rules, settled
from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.zoo import Sizes, write_transformer

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tokenizers")
pytestmark = pytest.mark.usefixtures("module_cache")
COLOURS = {"red": "rojo", "green": "verde", "blue": "azul", "black": "negro"}
THINGS = {"dog": "perro", "cat": "gato", "hat": "gorro", "sun": "sol"}
LONGEST = 16


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Every colour of every two things: what is not trained on is made of what is."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    every = itertools.product(COLOURS, THINGS, COLOURS, THINGS)
    rows = [(f"{a} {n} and {b} {m}", f"{THINGS[n]} {COLOURS[a]} y {THINGS[m]} {COLOURS[b]}") for a, n, b, m in every]
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("source", "target"), *rows, rows[0]])
    return file


@pytest.fixture(scope="module")
def data(table):
    return tlkit.data.text.from_translations(table, split=(0.7, 0.1, 0.2), progress=False)


@pytest.fixture(scope="module")
def module(data, tmp_path_factory):
    texts = [*data.train.columns["asked"].texts, *data.train.columns["text"].texts]
    sizes = Sizes(vocabulary=300, width=32, blocks=1, heads=2, wide=64)
    return write_transformer(tmp_path_factory.mktemp("module") / "small", texts, sizes, card={"licence": "CC0-1.0"})


@pytest.fixture(scope="module")
def run(module, data, tmp_path_factory):
    task = tlkit.tasks.translate(("chrf", "bleu", "exact", "per"), LONGEST, checked=6, scored=16)
    phases = (tlkit.Phase(epochs=25, lr=5e-3, unfrozen=1.0),)
    out = tmp_path_factory.mktemp("run")
    done = tlkit.finetune(str(module), task, data, phases, out=out, batch_size=16, progress=quiet)
    return tlkit.export(done, formats=("saved_model", "float32"), progress=quiet)


def test_it_learns_to_translate_what_it_has_not_seen(run):
    scores = run.scores
    assert scores["chrf"] > 70 and scores["chrf_before"] < 25 and scores["chrf"] > scores["chrf_of_source"] + 40
    assert scores["chrf_low"] <= scores["chrf"] <= scores["chrf_high"] and scores["exact"] > scores["exact_before"]
    assert scores["per"] < 0.3 < scores["per_before"]


def test_keys_and_values_at_hand_write_what_whole_passes_write(run):
    examples = run.task.deployment.examples(run.data.test).subset(range(4))
    fast, slow = (used(run.task, run.model, examples, kind) for kind in ("file", "trained"))
    for fast_row, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(fast_row["ids"], other["ids"])
        np.testing.assert_allclose(fast_row["shares"], other["shares"], atol=1e-5)


def test_files_write_what_the_model_writes(run):
    assert {file.format: (file.passed, file.agreement) for file in run.exports} == {
        "saved_model": (True, 1.0), "float32": (True, 1.0)
    }  # fmt: skip
    assert all(file.score > 0 and file.score_change == 0 for file in run.exports)
    from ai_edge_litert.interpreter import Interpreter

    file = Interpreter(str(run.folder / "model.tflite"))
    assert set(file.get_signature_list()) == {"translate", "encode", "decode"}


def test_encode_and_decode_of_every_file_say_what_keras_says(run):
    """Of the SavedModel for any number of texts, of the TFLite file for one."""
    from ai_edge_litert.interpreter import Interpreter

    examples = run.task.deployment.examples(run.data.test).subset(range(3))
    source = np.stack([examples.inputs[i]["source"] for i in range(3)])
    served = tf.saved_model.load(str(run.folder / "saved_model")).signatures
    assert set(served) == {"serving_default", "translate", "encode", "decode"}
    specs = served["decode"].structured_input_signature[1]
    capacity = next(spec.shape[1] for name, spec in specs.items() if name.startswith("kv_cache"))
    read = served["encode"](source=tf.constant(source))
    caches = {name: tf.zeros((3, capacity, spec.shape[2])) for name, spec in specs.items() if "kv_cache" in name}
    file = Interpreter(str(run.folder / "model.tflite"))
    encode, decode = (file.get_signature_runner(name) for name in ("encode", "decode"))
    model = traced(run.task, run.model, examples, "trained").calls
    ids, position = tf.constant([[1], [5], [7]]), tf.constant(0)
    logits = served["decode"](ids=ids, position=position, **read, **caches)["logits"].numpy()
    for i in range(3):
        alone = {name: np.zeros((1, capacity, cache.shape[2]), np.float32) for name, cache in caches.items()}
        given = {"ids": ids[i : i + 1].numpy(), "position": np.array(0, np.int32), **alone}
        by_litert = decode(**given, **encode(source=source[i : i + 1]))["logits"]
        by_keras = model["decode"]({**given, **model["encode"]({"source": source[i : i + 1]})})["logits"]
        np.testing.assert_allclose(logits[i : i + 1], by_litert, atol=1e-4)
        np.testing.assert_allclose(logits[i : i + 1], by_keras, atol=1e-4)
    assert served["translate"](source=tf.constant(source))["text"].numpy().tolist() == (
        served["serving_default"](source=tf.constant(source))["text"].numpy().tolist()
    )
    card = (run.folder / "README.md").read_text()
    assert "| `encode` | `source` int32 (any, any) | `cross_k_0` float32 (any, any, 32), `cross_v_0`" in card
    (line,) = (line for line in card.splitlines() if line.startswith("| `decode` |"))
    assert "`ids` int32 (any, 1)" in line and line.count(f"`kv_cache_k_0` float32 (any, {capacity}, 32)") == 2


@pytest.mark.parametrize("wrong", ["serving_default", "decode"])
def test_a_saved_model_whose_functions_say_something_else_fails(run, tmp_path, monkeypatch, wrong):
    """What a client calls by default, and what it calls in a loop of its own."""
    right = greedy_decoding.functions

    def changed(model, examples, kind, **options):
        signatures = right(model, examples, kind, **options)
        signature = signatures[wrong if wrong in signatures else "translate"]

        def call(tensors):
            outputs = dict(signature.call(tensors))
            name = "ids" if "ids" in outputs else "logits"
            return {**outputs, name: tf.roll(outputs[name], 1, axis=-1)}

        return {**signatures, wrong: Signature(call, signature.inputs)} if kind == "server" else signatures

    deployment = dataclasses.replace(
        run.task.deployment, functions=functools.partial(changed, **run.task.deployment.functions.keywords)
    )
    faulty = dataclasses.replace(run, task=dataclasses.replace(run.task, deployment=deployment))
    with pytest.raises(tlkit.GateError) as error:
        tlkit.export(faulty, tmp_path, formats=("saved_model",), progress=quiet)
    assert not error.value.exports[0].passed and (tmp_path / "saved_model.failed").is_dir()


def test_a_killed_fit_of_translations_goes_on_to_the_same_weights(module, data, tmp_path):
    phases = (tlkit.Phase(1, 1e-3, unfrozen=0.3), tlkit.Phase(2, 1e-3, unfrozen=1.0))
    task = tlkit.tasks.translate(("exact",), 8)
    few = tlkit.Splits(*(part.subset(range(8)) for part in (data.train, data.val, data.test)))
    goes_on_to_the_same_weights(
        lambda name: tlkit.finetune(str(module), task, few, phases, out=tmp_path / name, batch_size=4, progress=quiet)
    )


def test_no_more_is_written_than_the_longest_by_a_module_of_rows_of_one_width():
    """The rows of its tokens stay as wide as they are."""
    settings = {"prompt": [1], "end": 2, "barred": []}
    rules = _rules(settings, 2, 6)
    assert (rules.longest, _rules(settings, 64, 6).longest, _rules(settings, 64, None).longest) == (2, 6, 64)

    def model(tensors, training):
        ids = tf.ensure_shape(tensors["ids"], (None, 6))
        return tf.one_hot(ids + 2, 9)  # 1, 3, 5, 7 ...

    written = settled(model, dataclasses.replace(rules, never=()), {"source": tf.constant([[4, 2, 0]])})
    assert written["ids"].numpy().tolist() == [[3, 5]] and written["leads"].shape == (1, 2)


def test_lines_are_translated_without_tensorflow(run, tmp_path):
    (tmp_path / "lines.txt").write_text("red dog and blue cat\n\nblack sun and green hat\n")
    code = (
        "import sys, json\nfrom tlkit.exporting import predict\n"
        f"said = predict({str(run.folder)!r}, [{str(tmp_path / 'lines.txt')!r}])\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'TensorFlow was imported'\n"
        "print(json.dumps([[own.file, own.scores[0][0]] for own in said]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (first, written), (second, other) = json.loads(done.stdout)
    assert (first, second) == ("red dog and blue cat", "black sun and green hat")
    assert {*written.split(), *other.split()} <= {*COLOURS.values(), *THINGS.values(), "y"}


@pytest.mark.slow
def test_what_was_trained_is_published_and_adapted(run, data, tmp_path):
    published = tlkit.publish(run, tmp_path / "published")
    layer = tlkit.HubLayer(str(published))
    assert layer.card["licence"] == "CC0-1.0" and layer.function("step") is not None
    phases = (tlkit.Phase(epochs=1, lr=1e-3, unfrozen=0.3),)
    few = tlkit.Splits(*(part.subset(range(16)) for part in (data.train, data.val, data.test)))
    again = tlkit.finetune(str(published), run.task, few, phases, out=tmp_path / "run", batch_size=8, progress=quiet)
    assert again.scores["chrf_before"] > 70 and 0 < again.phases[0].had["unfrozen"] < 0.5


def test_it_opens_again_and_says_the_same(run):
    again = tlkit.load(run.folder)
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores["chrf"] == run.scores["chrf"]
    assert "Translations before and after" in (run.folder / "report.html").read_text()


def test_the_length_of_a_text_changes_nothing_but_for_its_padding(module, data):
    layer = tlkit.HubLayer(str(module))
    row = prepare(data, layer).test.inputs[0]["source"]
    longer = np.concatenate([row, np.full(9, layer.tokenizer.pad, np.int32)])
    ids = tf.constant([[layer.tokenizer.begin, 5, 7]])
    short, long = (np.asarray(layer({"source": text[None], "ids": ids})["default"]) for text in (row, longer))
    np.testing.assert_allclose(short, long, atol=1e-5)


def test_neither_side_of_a_pair_is_in_two_parts(tmp_path):
    file = tmp_path / "pairs.tsv"
    rows = [f"text {i // 2}\t{('texto', 'Texto!')[i % 2]} {i // 4}\tof {i}" for i in range(80)]
    file.write_text("source\ttarget\tgroup\n" + "\n".join(rows))
    data = tlkit.data.text.from_translations(file, groups="group", progress=False)
    sides = [{*part.columns["text"].texts} | {*part.columns["asked"].texts} for part in (data.train, data.test)]
    plain = [{text.casefold().replace("!", "") for text in side} for side in sides]
    assert not plain[0] & plain[1] and len(data.train) + len(data.val) + len(data.test) == 80


@pytest.fixture(scope="module")
def phonemes(tmp_path_factory):
    """A module of rows of one width whose tokens are parts between blanks, and those of its encoder letters."""
    from tlkit.zoo import g2p_en

    assets = g2p_en.assets()
    folder = tmp_path_factory.mktemp("phonemes")
    for name, content in assets.items():
        (folder / name).write_text(content, encoding="utf-8")
    pairs = BytePairs.from_file(folder / "tokenizer_file.json", folder / "tokenizer_config.json")
    letters = BytePairs.from_file(folder / "source_tokenizer_file.json", folder / "source_tokenizer_config.json")
    return pairs, letters


def test_what_no_token_writes_is_refused(phonemes):
    """It became <unk> without a word."""
    pairs, letters = phonemes
    layer = SimpleNamespace(handle="zoo:g2p-en")
    texts = ["K AE1 T", "D AO1 QQ", "ZZ"]
    examples = SimpleNamespace(columns={"text": texts}, ids=["row 1", "row 2", "row 3"])
    with pytest.raises(InputError, match="zoo:g2p-en has no token for 'QQ' of 'row 2', and 2 texts have such parts"):
        _check_known(layer, pairs, examples, [pairs.encode(text) for text in texts])
    _check_known(layer, pairs, examples, [pairs.encode(texts[0])])
    assert letters.unknown == 1 and pairs.unknown == 1


def test_each_side_says_how_many_texts_are_cut():
    tokens = [([[1] * 8, [1] * 3], [[1] * 9, [1] * 16]), ([[1] * 9], [[1] * 2])]
    assert _cut(tokens, (8, 16)) == [
        "2 texts that are read have more tokens than the 7 that are kept, and lose their end.",
        "1 texts that are written have more tokens than the 15 that are kept, and lose their end.",
    ]
    assert _cut(tokens, (10, 20)) == []


def test_what_does_not_fit_is_refused(module, data, table, tmp_path):
    for arguments, sentence in (
        ({"longest": 1}, r"`longest` of `translate` must lie in \[2, 440\]"),
        ({"scores": ("meteor",)}, "`scores` of `translate` must be some of chrf"),
        ({"scored": 0}, "`scored` of `translate` must be 1 or more"),
    ):
        with pytest.raises(InputError, match=sentence):
            tlkit.tasks.translate(**arguments)
    with pytest.raises(InputError, match="exists already, and holds something else"):
        write_transformer(module, ["a"])
    with pytest.raises(InputError, match="`width` an even multiple of `heads`"):
        Sizes(width=30, heads=4)
    with pytest.raises(InputError, match="`length` must be 8 tokens or more"):
        prepare(data, tlkit.HubLayer(str(module)), length=4)
    chats = tlkit.data.text.from_pairs(table, prompt="source", answer="target", progress=False)
    with pytest.raises(InputError, match="from_translations"):
        tlkit.tasks.translate().objective.check(chats)
    net = tmp_path / "plain"
    tlkit.zoo.write_module(lambda x, training: 2.0 * x, [], [], tf.TensorSpec((None, 2)), net)
    with pytest.raises(InputError, match=r"make one of your texts with `tlkit\.zoo\.write_transformer`"):
        prepare(data, tlkit.HubLayer(str(net)))
