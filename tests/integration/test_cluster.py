"""Ray places work: features by actors have one process's bytes, workers one process's weights, trials go on."""

from __future__ import annotations

import contextvars
import itertools
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fitting
import numpy as np
import on_ray
import pytest
import shared_fits

import tlkit
from tlkit.cli import commands
from tlkit.cluster import placement
from tlkit.core.errors import InputError, TrainingError
from tlkit.core.progress import Progress, quiet
from tlkit.features import engines, extract, packing
from tlkit.model.partition import front_of

pytestmark = pytest.mark.usefixtures("module_cache")
SMALL = 256  # bytes of a shard, so that a few examples are several


@pytest.fixture(scope="module", autouse=True)
def token():
    """A token of the tests' own, so that none of the user's is read or made; Ray reads the mode when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture(scope="module")
def module(module_folder):
    return str(module_folder("keras3_hub"))


def alone(function, *arguments, **named):
    """What a call gives outside of Ray."""
    return contextvars.Context().run(function, *arguments, **named)


# -- what is refused, before Ray is started


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "`workers` must be a whole number, 1 or more. Received: workers=0."),
        ({"workers": True}, "`workers` must be a whole number"),
        ({"cpus": 0}, "`cpus` must be above 0"),
        ({"gpus": -1}, "`gpus` 0 or more"),
        ({"address": "cluster"}, '"local" or HOST:PORT'),
        ({"address": "ray://127.0.0.1:10001"}, '"local" or HOST:PORT'),
        ({"address": "127.0.0.1:1"}, "No Ray cluster can be reached at 127.0.0.1:1"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(InputError) as refused, tlkit.cluster.ray(**options):
        pass
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_without_the_extra_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'tlkit\[ray\]'"), tlkit.cluster.ray():
        pass


def test_workers_of_tf_config_are_not_workers_of_ray(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", shared_fits.cluster(2)[0]["TF_CONFIG"])
    with pytest.raises(InputError, match="TF_CONFIG is set"), tlkit.cluster.ray():
        pass


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--workers", "2"], "give --ray local"),
        (["--ray"], "`--ray` needs a value"),
        (["--ray", "local", "--workers", "many"], "takes a whole number"),
        (["--ray", "local", "--workers", "0"], "`workers` must be a whole number, 1 or more"),
        (["--ray", "127.0.0.1:1"], "No Ray cluster can be reached"),
    ],
)
def test_the_command_line_refuses_with_exit_code_2(words, sentence, tmp_path, capsys):
    command = ["run", "image_classification", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *words]
    assert commands.main(command) == 2
    message = capsys.readouterr().err
    assert sentence in message and message.startswith("tlkit: ") and len(message.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_hosts_with_too_little_are_refused_and_gpus_are_taken_where_all_can_have_one():
    def gpus(*arguments, hosts=({"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0})):
        nodes = [{"Alive": True, "Resources": has} for has in hosts]
        return placement._gpus([*nodes, {"Alive": False, "Resources": {"CPU": 99.0}}], "h:1", *arguments)

    assert [gpus(workers, 1, None) for workers in (1, 2, 3)] == [1, 1, 0]
    assert gpus(20, 0.1, 0, hosts=[{"CPU": 2.0}]) == 0
    for arguments, room in (
        ((3, 2, None), "2 workers with 2 CPUs"),
        ((1, 3, 0), "0 workers with 3"),
        ((3, 1, 1), "2 w"),
    ):
        with pytest.raises(InputError, match=f"The hosts of the cluster at h:1 have room for {room}"):
            gpus(*arguments)


# -- what is sent


def test_a_front_that_was_sent_gives_the_same_bits(module):
    layer, examples = tlkit.HubLayer(module, input_range=(0.0, 1.0)), fitting.examples(9, 7)
    opener = engines.opener(front_of(layer, None, examples.inputs.spec), len(examples))
    again = pickle.loads(pickle.dumps(packing.packed(opener))).opened()
    batch = examples.inputs.take(np.arange(9))
    (here,), (elsewhere,) = opener(engines.TENSORFLOW).run(batch), again(engines.TENSORFLOW).run(batch)
    assert np.array_equal(here, elsewhere) and np.ptp(here) > 0 and again.front.key == opener.front.key


def test_features_travel_as_the_paths_of_their_files(module):
    features = tlkit.extract(tlkit.HubLayer(module, input_range=(0.0, 1.0)), fitting.examples(300, 8))
    sent = pickle.dumps(features)
    assert len(sent) < 1000 < np.asarray(features).nbytes
    assert np.array_equal(np.asarray(pickle.loads(sent)), np.asarray(features))


def test_what_cannot_be_sent_is_told():
    ray = pytest.importorskip("ray")
    with pytest.raises(InputError, match="cannot be sent to other processes"):
        placement._pickled(ray, socket.socket().recv)


def test_what_cannot_be_sent_leaves_nothing_behind(monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="cannot be sent to other processes"):
        placement.Cluster(2, 1, 0, ray).call(socket.socket().recv)
    assert not list(tmp_path.iterdir())


# -- on a cluster of this host, which `ray start` began


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *("timeout", "-k", "10", "1800", sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        f"--port={port}", "--num-cpus=2",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats",
        f"--object-store-memory={100 << 20}", f"--temp-dir={tmp_path_factory.mktemp('r')}",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("log") / "ray"
    with open(log, "wb") as file:
        process = subprocess.Popen(command, start_new_session=True, stdout=file, stderr=file)
    try:
        _await(process, port, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _await(process: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(120):
        assert process.poll() is None, log.read_text()[-2000:]
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("Ray did not start")


@pytest.fixture(scope="module")
def cluster(address, module_cache):
    with tlkit.cluster.ray(address, workers=2) as workers:
        yield workers


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(extract, "SHARD_BYTES", SMALL)


def shards_of(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((cache / "features").rglob("0*"))}


@pytest.mark.slow
def test_features_by_two_actors_have_one_process_s_bytes_and_none_is_computed_twice(
    cluster, module, small_shards, tmp_path, monkeypatch
):
    layer, examples = tlkit.HubLayer(module, input_range=(0.0, 1.0)), on_ray.logged(tmp_path / "log", "twice")
    done = []
    features = tlkit.extract(layer, examples, progress=done.append)
    readers = examples.inputs.read.readers()
    assert len(features.shards) > 4 and len(readers) == 2
    assert sorted(itertools.chain(*readers.values())) == list(range(on_ray.COUNT)) and done[-1] == on_ray.COUNT
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "alone"))
    alone(tlkit.extract, layer, examples)
    expected = shards_of(tmp_path / "alone")
    folder = Path(features.shards[0][0].filename).parent
    assert len(expected) == 2 * len(features.shards)
    assert {name: (folder / name).read_bytes() for name in expected} == expected


@pytest.mark.slow
def test_a_fit_among_actors_ends_with_the_bits_of_one_process(cluster, module, small_shards, tmp_path, monkeypatch):
    together = shared_fits.fit(module)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    single = alone(shared_fits.fit, module)
    assert all(np.array_equal(a, b) for a, b in zip(together.model.weights, single.model.weights, strict=True))


@pytest.mark.slow
def test_a_ranking_and_a_check_are_those_of_one_process(cluster, module, module_folder, tmp_path, monkeypatch):
    modules, data = [module, str(module_folder("keras3_export"))], on_ray.plain_data()
    task, phases = tlkit.tasks.classify(fitting.LABELS), [tlkit.Phase(1, 1e-2)]
    options = {"phases": phases, "seeds": (0, 1), "input_range": (0.0, 1.0), "progress": quiet}

    def both():
        ranking = tlkit.rank(modules, data, convert=False, input_range=(0.0, 1.0), progress=quiet)
        return ranking, tlkit.transfer_check(module, task, data, **options)

    ranking, check = both()
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    ranking_alone, check_alone = alone(both)
    assert [(row.handle, row.logme) for row in ranking.rows] == [(row.handle, row.logme) for row in ranking_alone.rows]
    assert check.scores == check_alone.scores and len(check.scores) == 3


@pytest.mark.slow
def test_trials_run_side_by_side_and_the_search_goes_on_when_one_was_killed(cluster, module, tmp_path):
    pytest.importorskip("optuna")
    space, lines = {"lr": tlkit.Range(1e-3, 1e-1, log=True), "epochs": [2, 3]}, []
    out = tmp_path / "out"
    arguments = {"module": module, "out": str(out), "killed": str(tmp_path / "killed")}
    options = {"trials": 4, "given": arguments, "progress": Progress(lines.append, quiet.bar)}
    with pytest.raises(TrainingError, match=r"A worker of Ray has ended.*start the same command again"):
        tlkit.tune(on_ray.adapt, space, **options)
    run = tlkit.tune(on_ray.adapt, space, **options)
    rows = run.record["search"]["trials"]
    states = [row["state"] for row in rows]
    assert len(rows) == 4 and "failed" in states and states.count("complete") >= 2
    assert all(row["epochs"] == row["values"]["epochs"] + 2 for row in rows if row["state"] == "complete")
    assert any(line.startswith("search  goes on behind") for line in lines) and (out / "model.keras").is_file()
    best = rows[run.record["search"]["best"]]
    assert min(value for phase in run.phases for value in phase.history["val_loss"]) == pytest.approx(best["figure"])


@pytest.mark.slow
def test_a_killed_actor_ends_with_a_sentence_and_the_same_call_goes_on(cluster, module, small_shards, tmp_path):
    layer = tlkit.HubLayer(module, input_range=(0.0, 1.0))
    examples = on_ray.logged(tmp_path / "log", "killed", kills_at=12)
    with pytest.raises(TrainingError, match="A worker of Ray has ended") as ended:
        tlkit.extract(layer, examples)
    assert "\n" not in str(ended.value)
    before = list(itertools.chain(*examples.inputs.read.readers().values()))
    features = tlkit.extract(layer, examples)
    after = list(itertools.chain(*examples.inputs.read.readers().values()))
    assert len(features) == on_ray.COUNT and set(after) == set(range(on_ray.COUNT))
    assert len(before) < len(after) <= on_ray.COUNT + 2 * len(features.shards[0][0])  # shards under way come again


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_placed_workers_end_with_one_process_s_weights(cluster, module, tmp_path, capsys):
    together = cluster.train(on_ray.adapt, module=module, out=str(tmp_path / "together"))
    printed = capsys.readouterr().out
    single = alone(on_ray.adapt, module, str(tmp_path / "alone"))
    pairs = list(zip(together.model.weights, single.model.weights, strict=True))
    assert max(float(np.max(np.abs(np.array(a) - np.array(b)))) for a, b in pairs) < 1e-5
    assert printed.count("phase 1 (frozen) epoch 1/2") == 1
    assert together.record["phases"][0]["proof"]["workers"] == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_worker_ends_all_and_the_same_call_goes_on(cluster, module, tmp_path):
    options = {"module": module, "out": str(tmp_path / "killed"), "killed": str(tmp_path / "marker")}
    with pytest.raises(TrainingError, match=r"Worker 1 .*ended.*same command"):
        cluster.train(on_ray.adapt, **options)
    resumed = cluster.train(on_ray.adapt, **options)
    unbroken = cluster.train(on_ray.adapt, module=module, out=str(tmp_path / "unbroken"))
    pairs = zip(resumed.model.weights, unbroken.model.weights, strict=True)
    assert all(np.array_equal(np.array(a), np.array(b)) for a, b in pairs)


@pytest.mark.slow
def test_what_others_hold_is_waited_for_and_then_told(cluster, address, monkeypatch):
    cluster._release()
    monkeypatch.setattr(placement, "ROOM_S", 2)
    placement._await_room(address, 2, 1, 0)
    with pytest.raises(InputError, match=r"no room for 2 workers with 2 CPUs and 0 GPUs each within 2 seconds"):
        placement._await_room(address, 2, 2, 0)


@pytest.mark.slow
def test_what_a_worker_refuses_is_raised_here(cluster, module, tmp_path):
    with pytest.raises(InputError, match="There is no module"):
        cluster.train(on_ray.adapt, module=str(tmp_path / "absent"), out=str(tmp_path / "out"))


@pytest.mark.slow
def test_the_command_line_runs_a_recipe_on_a_ray_of_its_own(module, tmp_path):
    from PIL import Image

    for label in range(2):
        for number in range(12):
            file = tmp_path / "data" / fitting.LABELS[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(fitting.image(label, np.random.default_rng([label, number]))).save(file)
    words = [
        *(sys.executable, "-m", "tlkit.cli", "run", "image_classification", "--data", "data", "--module", module),
        *("--input-range", "0", "1", "--image-size", "32", "32", "--epochs", "1", "0", "--formats", "float32"),
        *("--out", "run", "--ray", "local", "--workers", "2"),
    ]
    env = os.environ | {"TLKIT_CACHE": str(tmp_path / "cache")}
    run = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "phase 1 (frozen) epoch 1/1" in run.stdout and "passed" in run.stdout
    record = tlkit.load(tmp_path / "run").record
    assert record["phases"][0]["proof"]["workers"] == 2 and "--ray" not in record["arguments"]
    assert not list((tmp_path / "cache").glob(".tlkit-partial-*"))
