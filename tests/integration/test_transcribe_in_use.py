"""A module of Whisper's kind from data to file, on a tiny one: what is written, by which way, and what files write."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import browser
import numpy as np
import page_checks
import pytest
import readme_checks
import soundfile
import speech_module
from fitting import goes_on_to_the_same_weights
from test_data_speech import RATE, WORDS, said

import tlkit
from tlkit.answers.tokens import text_of, tokens
from tlkit.core.errors import InputError
from tlkit.core.modality import FileInfo
from tlkit.core.progress import quiet
from tlkit.data import speech
from tlkit.exporting import Gates, predict
from tlkit.modalities.speech import SPEECH, prompted
from tlkit.model.deployed import used
from tlkit.tasks.greedy_decoding import _cut, repeats
from tlkit.tokenizing.bytepairs import BytePairs

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tokenizers")
pytestmark = pytest.mark.usefixtures("module_cache")
COUNT, LONGEST = 40, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng, lines = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), ["path,text"]
    for i in range(COUNT):
        text = " ".join(rng.choice(WORDS, rng.integers(1, 4)))
        soundfile.write(root / f"{i:02}.wav", said(text, seed=i), RATE)
        lines.append(f"{i:02}.wav,{text}")
    (root / "clips.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    root = tmp_path_factory.mktemp("module")
    return speech_module.write(root / "tiny", root)


@pytest.fixture(scope="module")
def data(folder):
    return speech.from_csv(folder / "clips.csv", window_s=1.0, split=(0.6, 0.15, 0.25), progress=False)


@pytest.fixture(scope="module")
def run(module, data, tmp_path_factory):
    phases = (tlkit.Phase(epochs=20, lr=1e-2, unfrozen=1.0), tlkit.Phase(epochs=3, lr=1e-3, unfrozen=0.3))
    task = tlkit.tasks.transcribe(LONGEST, checked=6)
    out = tmp_path_factory.mktemp("run")
    done = tlkit.finetune(module, task, data, phases, out=out, batch_size=8, progress=quiet)
    return tlkit.export(done, formats=("saved_model", "float32", "float16", "dynamic"), max_drop=0.5, progress=quiet)


def test_scores_of_use_stand_before_and_after(run):
    scores = run.scores
    assert {"wer", "cer", "wer_before", "token_accuracy", "token_accuracy_before"} <= set(scores)
    assert scores["wer_low"] <= scores["wer"] <= scores["wer_high"]
    assert scores["token_accuracy"] > scores["token_accuracy_before"] and scores["wer"] < scores["wer_before"]
    losses = run.phases[0].history["loss"]
    assert losses[-1] < losses[0]


def test_keys_and_values_at_hand_write_what_whole_passes_write(run):
    examples = run.task.deployment.examples(run.data.test)
    fast, slow = (used(run.task, run.model, examples, kind) for kind in ("file", "trained"))
    for fast_row, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(fast_row["ids"], other["ids"])
        np.testing.assert_allclose(fast_row["shares"], other["shares"], atol=1e-5)
        np.testing.assert_allclose(fast_row["leads"], other["leads"], atol=1e-5)
        ended = (fast_row["ids"] >= 0).sum()
        assert ended == LONGEST or fast_row["leads"][0, ended] > 0


def test_a_module_without_steps_writes_too(data, tmp_path):
    plain = speech_module.write(tmp_path / "plain", tmp_path, cached=False)
    task = tlkit.tasks.transcribe(LONGEST)
    layer = tlkit.HubLayer(str(plain), name="backbone")
    ready = prompted(data.test, layer.tokenizer)
    model = tlkit.build(layer, task)
    examples = task.deployment.examples(ready)
    assert set(task.deployment.functions(model, examples, "file")) == {"transcribe"}
    written = used(task, model, examples.subset([0, 1]))
    assert written[0]["ids"].shape == (1, LONGEST)


def test_files_write_what_the_model_writes(run):
    passed = {file.format: file.passed for file in run.exports}
    assert passed == {"saved_model": True, "float32": True, "float16": True, "dynamic": True}
    from ai_edge_litert.interpreter import Interpreter

    file = Interpreter(str(run.folder / "model.tflite"))
    assert set(file.get_signature_list()) == {"transcribe", "encode", "decode"}


def test_a_client_with_its_own_loop_writes_the_same(run):
    """The loop that the documentation shows, over `encode` and `decode`."""
    from ai_edge_litert.interpreter import Interpreter

    file = Interpreter(str(run.folder / "model.tflite"))
    encode, decode = (file.get_signature_runner(name) for name in ("encode", "decode"))
    wave = run.task.deployment.examples(run.data.test).inputs[0]["waveform"][None]
    told = run.data.test.pipeline.get("prompted")
    state = encode(waveform=wave)
    shapes = {n: d["shape"] for n, d in decode.get_input_details().items() if n.startswith("kv_cache")}
    state |= {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    text, ids = [], list(told["prompt"])
    for position in range(LONGEST + len(ids) - 1):
        outputs = decode(ids=np.array([[ids[position]]], np.int32), position=np.array(position, np.int32), **state)
        logits = outputs.pop("logits")[0]
        state |= outputs
        if position + 1 < len(told["prompt"]):
            continue
        logits[told["end"] + 1 :] = -1e9
        logits[told["barred"] if not text else []] = -1e9
        if logits.argmax() == told["end"]:
            break
        text.append(int(logits.argmax()))
        ids.append(text[-1])
    whole = file.get_signature_runner("transcribe")(waveform=wave)["ids"][0]
    assert text[: (whole >= 0).sum()] == whole[whole >= 0].tolist()


def test_the_saved_model_gives_strings(run):
    examples = run.task.deployment.examples(run.data.test)
    waves = tf.constant([examples.inputs[i]["waveform"] for i in range(3)])
    outputs = tf.saved_model.load(str(run.folder / "saved_model")).signatures["serving_default"](waveform=waves)
    files = [str(run.data.test.columns["tokenizer"][i]) for i in range(3)]
    texts = [text_of(file, ids) for file, ids in zip(files, outputs["ids"].numpy(), strict=True)]
    assert [text.decode() for text in outputs["text"].numpy()] == texts and any(texts)


def test_the_lines_of_the_readme_write_the_same(run, folder):
    """In Python in one call and word by word."""
    (whole, by_word) = readme_checks.blocks(run.folder, "python", "Python")[:2]
    wave = run.task.deployment.examples(run.data.test).inputs[0]["waveform"][None]
    _, names = readme_checks.said(run.folder, whole)
    assert "- As a record of emergencies, or of medical or legal talk" in (run.folder / "README.md").read_text()
    assert names["waveform"].shape == wave.shape and names["ids"].shape == (LONGEST,)
    names["waveform"] = wave
    told = run.data.test.pipeline.get("prompted")
    ids = names["model"].get_signature_runner("transcribe")(waveform=wave)["ids"][0]
    exec(compile(by_word, "README.md", "exec"), names)
    assert names["tokens"][len(told["prompt"]) :][: (ids >= 0).sum()] == ids[ids >= 0].tolist()


@pytest.mark.slow
def test_the_lines_of_the_readme_write_the_same_in_a_browser(run, tmp_path):
    if browser.CHROMIUM is None or shutil.which("npm") is None:
        pytest.skip("there is no Chromium, or no npm to fetch LiteRT.js with")
    from ai_edge_litert.interpreter import Interpreter

    (code,) = readme_checks.blocks(run.folder, "js", "JavaScript")
    transcribe = Interpreter(str(run.folder / "model.tflite")).get_signature_runner("transcribe")
    examples = run.task.deployment.examples(run.data.test)
    with page_checks.looped(tmp_path, run.folder / "model.tflite", code) as page:
        for i in range(3):
            wave = examples.inputs[i]["waveform"]
            ids = transcribe(waveform=wave[None])["ids"][0]
            sent = json.dumps([round(float(number), 6) for number in wave])
            written = page_checks.promised(page, f"loop.transcribe(loop.model, Float32Array.from({sent}))")
            assert written == ids[ids >= 0].tolist()
            file = json.dumps(json.loads(str(run.data.test.columns["tokenizer"][i])))
            assert page.run(f"loop.textOf({file}, {written})") == text_of(file, ids)


def test_it_opens_again_and_says_the_same(run):
    again = tlkit.load(run.folder)
    evaluation = tlkit.evaluate(again.model, again.task, again.data.test)
    assert evaluation.scores["wer"] == run.scores["wer"]


def test_a_killed_fit_of_speech_goes_on_to_the_same_weights(module, data, tmp_path):
    phases = (tlkit.Phase(1, 1e-3, unfrozen=0.3), tlkit.Phase(2, 1e-3, unfrozen=1.0))
    task, few = tlkit.tasks.transcribe(8), tlkit.Splits(data.train.subset(range(8)), data.val, data.test)
    goes_on_to_the_same_weights(
        lambda name: tlkit.finetune(module, task, few, phases, out=tmp_path / name, batch_size=4, progress=quiet)
    )


def test_files_are_transcribed_without_tensorflow(run, folder):
    code = (
        "import sys\nfrom tlkit.exporting import predict\n"
        f"said = predict({str(run.folder)!r}, [{str(folder / '00.wav')!r}])[0].scores\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'TensorFlow was imported'\nprint(said[0][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and set(done.stdout.split()) <= {*WORDS, "(no", "speech)"}, done.stderr


def test_a_long_recording_is_stitched(run, tmp_path):
    """By who hears each window without an error, and a word that is cut in half as another."""
    text = ["low", "high", "high", "mid", "low", "low", "high", "mid", "high", "low", "mid", "mid"]
    wave = np.concatenate([np.zeros(RATE // 20), said(" ".join(text), seed=5)])
    soundfile.write(tmp_path / "long.wav", wave, RATE)
    prediction = predict(run, [tmp_path / "long.wav"])[0]
    assert "windows of 1 s" in prediction.note and set(prediction.scores[0][0].split()) <= {*WORDS, "(no", "speech)"}
    file = str(run.data.test.columns["tokenizer"][0])
    info = FileInfo(run.data.test.pipeline, {"waveform": (RATE,)}, {"tokenizer.json": file.encode()})
    windows = SPEECH.parse(tmp_path / "long.wav", info)
    examples = [{name: column[i] for name, column in windows.columns.items()} for i in range(len(windows))]
    tokenizer, heard = BytePairs(file, None, 0, 0), []
    for start, end in (example["span"] for example in examples):
        whole = [word for i, word in enumerate(text) if start <= 0.05 + i / 4 and 0.25 + i / 4 <= end]
        ids = tokenizer.encode("".join(f" {word}" for word in [*whole, "lo"]))
        heard.append({"ids": np.array(ids), "shares": np.ones(len(ids))})
    assert len(heard) == 6
    assert tokens().together(heard, examples)[0][0].split()[:-1] == text


def test_the_report_plays_what_was_misheard(run):
    page = (run.folder / "report.html").read_text()
    worst = json.loads((run.folder / "run.json").read_text())["details"]["transcripts"]["worst"]
    assert 'id="transcripts"' in page and page.count("<audio") >= len(worst)


def test_another_model_s_tokenizer_is_refused_before_work(folder, tmp_path):
    (scratch := tmp_path / "scratch").mkdir()
    module = speech_module.write(tmp_path / "module", scratch)
    content = json.loads((module / "assets" / "tokenizer.json").read_text())
    rows = len(content["model"]["vocab"]) + len(content["added_tokens"])
    content["added_tokens"].append({**content["added_tokens"][-1], "id": rows, "content": "<|translate|>"})
    (module / "assets" / "tokenizer.json").write_text(json.dumps(content))
    clips = speech.from_csv(folder / "clips.csv", window_s=1.0, progress=False)
    with pytest.raises(
        InputError, match=f"has a table of {rows} tokens, and its tokenizer {rows + 1}: that is another"
    ):
        tlkit.finetune(str(module), tlkit.tasks.transcribe(), clips, out=tmp_path / "run", progress=quiet)


def test_what_does_not_fit_is_refused(folder, data, module, tmp_path):
    for arguments, sentence in (({"longest": 4}, r"`longest` of `transcribe` must lie in \[8, 440\]"),
                                ({"checked": 0}, "`checked` of `transcribe` must be 1 or more")):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            tlkit.tasks.transcribe(**arguments)
    units = speech.from_csv(folder / "clips.csv", window_s=1.0, vocabulary="words", progress=False)
    with pytest.raises(InputError, match="read the data with `vocabulary=None`"):
        tlkit.finetune(str(module), tlkit.tasks.transcribe(), units, out=tmp_path, progress=quiet)
    layer = tlkit.HubLayer(str(module))
    long = speech.from_csv(folder / "clips.csv", window_s=1.0, progress=False).test
    texts = tlkit.columns.TextColumn(["low " * 230] * len(long))
    with pytest.raises(InputError, match="has 230 tokens, and a window holds 224"):
        prompted(tlkit_replace(long, columns={"text": texts}), layer.tokenizer)


def test_windows_that_are_longer_than_a_module_hears_are_refused(data):
    """It heard their beginning, and learned the text of all."""
    from tlkit.zoo.whisper_tiny_en import CARD, LONGEST, MEL

    assert CARD.to_json()["window_s"] == 30 == LONGEST / MEL.sample_rate
    layer = SimpleNamespace(handle="zoo:deaf", card={"sample_rate": RATE, "window_s": 0.5})
    with pytest.raises(
        InputError, match=r"zoo:deaf hears 0.5 s at a time, .* in windows of 1 s: read them with `window_s"
    ):
        SPEECH.prepare(data, layer)
    layer = SimpleNamespace(card={"sample_rate": RATE, "window_s": 1.0}, endpoint=SimpleNamespace(inputs={}))
    assert SPEECH.prepare(data, layer) is data


def tlkit_replace(examples, **fields):
    import dataclasses

    return dataclasses.replace(examples, **fields)


# -- pieces


def test_teacher_forcing_shows_what_stands_before_each_token(data, module):
    tokenizer = tlkit.HubLayer(str(module)).tokenizer
    ready = prompted(data.train, tokenizer)
    ids, targets = ready.inputs[0]["ids"], ready.targets.take(np.array([0]))[0]
    counted = targets >= 0
    text = data.train.columns["text"][0]
    assert tokenizer.decode(targets[counted][:-1]).strip() == text and targets[counted][-1] == tokenizer.end
    first = int(np.flatnonzero(counted)[0])  # the place of the prompt's last token, which the text follows
    behind = ids[first + 1 : first + 1 + counted.sum()]
    np.testing.assert_array_equal(behind, targets[counted][: len(behind)])
    assert len(ids) == len(targets) and len(ids) % 8 == 0


@pytest.mark.parametrize(
    ("row", "first", "last"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5], 14, 14),
        ([9, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 7], 5, 13),
        ([5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, -1, -1], 4, 12),
        ([1, 2, 3, 4, 1, 2, 3, 4, -1, -1, -1, -1, -1, -1], 14, 14),
        ([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4], 4, 12),  # which end with the text
        ([9, 9, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4], 6, 14),
    ],
)
def test_three_equal_stretches_end_a_text(row, first, last):
    bounds = repeats(tf.constant([row]))
    assert [int(bound[0]) for bound in bounds] == [first, last]


def test_files_are_compared_up_to_the_first_token_that_differs():
    answer = tokens()
    outputs = {
        "ids": np.array([[1, 2, 3, -1]]),
        "shares": np.array([[0.9, 0.5, 0.9, 0]]),
        "leads": np.array([[0.8, 0.1, 0.7, 0.6]]),
    }
    other = {"ids": np.array([[1, 9, 3, -1]]), "shares": np.array([[0.8, 0.4, 0.1, 0]]), "leads": outputs["leads"]}
    agreement = answer.agree(outputs, other)
    assert agreement.difference[0] == pytest.approx(0.1) and not agreement.equal[0] and agreement.margin[0] == 0.1
    assert answer.agree(outputs, outputs).equal[0] and answer.agree(outputs, outputs).margin[0] == 0.1
    endless = {**other, "ids": np.array([[1, 2, 3, 7]])}
    agreement = answer.agree(outputs, endless)
    assert not agreement.equal[0] and agreement.margin[0] == 0.6  # that of the end, which the file did not find


def test_behind_a_text_stands_how_sure_its_end_was():
    """By both ways of writing: what is written with keys and values at hand, and what whole passes settle."""
    ids = tf.constant([[5, 6, -1, -1], [5, 6, 7, 8]])
    leads = tf.constant([[0.9, 0.8, 0.7, 0.2], [0.9, 0.8, 0.7, 0.2]])
    kept = _cut(ids, leads, leads)
    np.testing.assert_allclose(kept["leads"], [[0.9, 0.8, 0.7, 0.0], [0.9, 0.8, 0.7, 0.2]])
    np.testing.assert_allclose(kept["shares"], [[0.9, 0.8, 0.0, 0.0], [0.9, 0.8, 0.7, 0.2]])
    loop = tf.constant([[9, *[1, 2, 3, 4] * 3, -1]])
    leads = tf.constant([[0.9] * 9 + [0.3] + [0.9] * 3 + [0.1]])
    kept = _cut(loop, leads, leads)
    assert kept["ids"].numpy()[0, :6].tolist() == [9, 1, 2, 3, 4, -1]
    assert kept["leads"].numpy()[0, 4:7] == pytest.approx([0.9, 0.3, 0.0])


def test_a_quantised_file_is_judged_by_its_words(tmp_path):
    file = speech_module.tokenizer_file(tmp_path).read_text()
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(file)
    rows = [np.array(tokenizer.encode(text).ids) for text in (" low mid", " low high")]
    assert text_of(file, rows[0]) == "low mid"
    truth = {"text": np.array(["low mid"] * 2, object), "tokenizer": np.array([file] * 2, object)}
    np.testing.assert_allclose(tokens().merit(truth, {"ids": rows}), [1.0, 0.5])

    class Found:
        score_change, change_upper = -0.11, -0.05

    sentence = tokens().quantised(Found, Gates())
    assert sentence == "its word error rate rises by 11.0 points, surely by more than 5.0; 1 allowed"
    assert tokens().quantised(Found, Gates(max_drop=0.06)) is None
