"""Workers in threads of one process: whose part is whose, what the chief says, and features computed once in all."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tlkit.cluster.joining import joined
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError, TrainingError
from tlkit.core.examples import Examples
from tlkit.core.trouble import explained
from tlkit.core.workers import ALONE, Pool, Workers, pooled
from tlkit.features import engines, extract
from tlkit.features.engines import LITERT, TENSORFLOW, Engine


def workers_in_threads(count: int, devices: tuple[str, ...] = ("",)) -> list[Workers]:
    """Workers that meet at a barrier."""
    brought: list = [None] * count
    barrier = threading.Barrier(count, timeout=30)

    def adder(index):
        def add(tensors):
            brought[index] = [np.asarray(tensor) for tensor in tensors]
            barrier.wait()
            sums = [np.sum(parts, axis=0) for parts in zip(*brought, strict=True)]
            barrier.wait()
            return sums

        return add

    return [Workers(index, count, devices, adder(index)) for index in range(count)]


def each(workers: list[Workers], job) -> list:
    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(job, workers))


@pytest.mark.parametrize("size", [0, 1, 2, 5, 32, 33])
def test_parts_of_a_batch_are_all_of_it_once_and_in_order(size):
    workers = [Workers(index, 3, ("a", "b")) for index in range(3)]
    whole = np.arange(size)
    parts = [whole[worker.part(size)] for worker in workers]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for worker, part in zip(workers, parts, strict=True):
        devices = [part[share] for share in worker.device_parts(size)]
        np.testing.assert_array_equal(np.concatenate(devices), part)
    sizes = [share.stop - share.start for worker in workers for share in worker.device_parts(size)]
    assert max(sizes) - min(sizes) <= 1


def test_the_chief_is_heard_and_who_differs_is_named():
    digests = ["00" * 32, "ff" * 32, "00" * 32]
    workers = workers_in_threads(3)
    assert each(workers, lambda worker: worker.from_chief(5.0 if worker.chief else 7.0)) == [5.0] * 3
    assert each(workers, lambda worker: worker.unlike_chief(digests[worker.index])) == [[1]] * 3
    assert ALONE.from_chief(3.0) == 3.0 and ALONE.unlike_chief(digests[0]) == []


def request_for(workers: Workers) -> extract.Request:
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    ids = tuple(map(str, range(20)))
    examples = Examples(ids, ArrayColumn(values), ArrayColumn(np.zeros(20, np.int32)))
    return extract.Request(examples, "key", extract.Layout(((2,),)), workers=workers)


def doubled(name, probe) -> Engine:
    return Engine("tensorflow", "there is one", lambda x: (2 * np.asarray(x),))


def test_no_shard_is_computed_twice_and_a_damaged_one_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 8)  # 4 examples a shard
    computed, compute_shard = [], extract._compute_shard
    monkeypatch.setattr(extract, "_compute_shard", lambda *call: computed.append(call[2]) or compute_shard(*call))
    workers = workers_in_threads(2)
    features = each(workers, lambda worker: np.asarray(extract.compute(doubled, request_for(worker))))
    assert sorted(computed) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(features[0], np.arange(40, dtype=np.float32).reshape(20, 2) * 2)
    np.testing.assert_array_equal(features[0], features[1])
    computed.clear()
    each(workers, lambda worker: extract.compute(doubled, request_for(worker)))
    assert not computed
    np.save(request_for(ALONE).folder / "000003.npy", np.ones((4, 2), np.float32))
    again = each(workers, lambda worker: np.asarray(extract.compute(doubled, request_for(worker))))
    assert computed == [3]
    np.testing.assert_array_equal(again[1], features[0])


def host(chooses: str, *, litert: bool = True):
    """The opener of a host: what it would choose by itself, and whether LiteRT works there; engines differ in bits."""

    def opened(name, probe) -> Engine:
        chosen = TENSORFLOW if (name or chooses) == LITERT and not litert else name or chooses
        return Engine(chosen, "it would", lambda x: ((2 if chosen == TENSORFLOW else 3) * np.asarray(x),))

    return opened


@pytest.mark.parametrize(
    ("began", "chief", "other", "factor"),
    [
        (None, host(LITERT), host(TENSORFLOW), 3),
        (None, host(TENSORFLOW), host(LITERT), 2),
        (None, host(LITERT), host(LITERT, litert=False), 2),
        (LITERT, host(TENSORFLOW), host(TENSORFLOW), 3),
        (LITERT, host(LITERT), host(LITERT, litert=False), 2),
        (LITERT, host(LITERT, litert=False), host(LITERT), 2),
    ],
)
def test_hosts_that_would_choose_two_engines_compute_by_one(tmp_path, monkeypatch, began, chief, other, factor):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 8)
    if began:
        leave_two_shards(began)
    features = each(
        workers_in_threads(2), lambda w: np.asarray(extract.compute(chief if w.chief else other, request_for(w)))
    )
    np.testing.assert_array_equal(features[0], np.arange(40, dtype=np.float32).reshape(20, 2) * factor)
    np.testing.assert_array_equal(features[0], features[1])


def leave_two_shards(engine: str) -> None:
    """What a process leaves that is killed behind the second of five shards."""
    extract.compute(host(engine), request_for(ALONE))
    for number in (2, 3, 4):
        (request_for(ALONE).folder / f"{number:06d}.json").unlink()


@pytest.mark.parametrize(("here", "factor", "reused"), [(host(TENSORFLOW), 3, 8), (host(LITERT, litert=False), 2, 0)])
def test_an_engine_that_began_and_fails_here_is_not_mixed_with_another(tmp_path, monkeypatch, here, factor, reused):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 8)
    leave_two_shards(LITERT)
    features = extract.compute(here, request_for(ALONE))
    np.testing.assert_array_equal(features, np.arange(40, dtype=np.float32).reshape(20, 2) * factor)
    assert features.reused == reused and not request_for(ALONE).missing


def test_the_pool_s_processes_compute_by_one_engine(tmp_path, monkeypatch):
    """One of two processes cannot run LiteRT, with which the work began."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 8)
    calls, work = itertools.count(), Sent()
    monkeypatch.setattr(extract.packing, "packed", lambda opener: work)

    def shared_out(function, arguments):
        for number, call in enumerate(arguments):
            work.opener = host(LITERT, litert=next(calls) != 2)
            function.__dict__.pop("opener", None)
            yield number, function(*call)

    opener = engines.Opener(None, 20, None)
    monkeypatch.setattr(engines.Opener, "__call__", lambda self, name=None, probe=None: host(LITERT)(name, probe))
    with pooled(Pool(2, shared_out, lambda function: function)):
        features = np.asarray(extract.compute(opener, request_for(ALONE)))
    np.testing.assert_array_equal(features, np.arange(40, dtype=np.float32).reshape(20, 2) * 2)


class Sent:
    """Stands for a front that was sent."""

    opener = None

    def opened(self):
        return self.opener


def test_workers_that_do_not_share_the_cache_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 8)
    request = request_for(ALONE)
    place = threading.local()
    monkeypatch.setattr(extract, "cache_dir", lambda: tmp_path / place.name)

    def compute(worker: Workers):
        place.name = f"host{worker.index}"
        try:
            extract._compute_together(doubled, dataclasses.replace(request, workers=worker), None, lambda done: None)
        except InputError as error:
            return str(error)

    messages = each(workers_in_threads(2), compute)
    assert all("point TLKIT_CACHE to one folder" in message for message in messages)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (InputError("Example 7 — “ü” — is broken."), InputError),
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        (TrainingError("It broke."), TrainingError),
        (KeyError("x" * 5000), InputError),
    ],
)
def test_what_one_worker_refuses_all_refuse(tmp_path, monkeypatch, failure, told):
    """Else the others would say that it has ended or cannot be reached."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 8)

    def failing(*call):
        if call[2] == 3:
            raise failure

    monkeypatch.setattr(extract, "_compute_shard", failing)

    def compute(worker: Workers):
        with pytest.raises(told if worker.index == 0 else type(failure)) as raised:
            extract.compute(doubled, request_for(worker))
        return raised.value

    of_chief, of_other = each(workers_in_threads(2), compute)
    assert of_other is failure and explained(failure)[:100].rstrip(".") in str(of_chief).replace("Worker 1: ", "")[:900]
    assert "Worker 1: " in str(of_chief) and getattr(of_chief, "errno", None) == getattr(failure, "errno", None)


def test_workers_whose_modules_differ_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))

    def compute(worker: Workers):
        request = dataclasses.replace(request_for(worker), key=f"graph of worker {worker.index}")
        with pytest.raises(InputError, match=r"Worker 1 looks for other features than the chief: .* Save the module"):
            extract.compute(doubled, request)

    each(workers_in_threads(2), compute)


def test_a_damaged_tf_config_is_shown(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{worker")
    with pytest.raises(InputError, match="must be JSON as TensorFlow has it"), joined():
        pass
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["localhost:1"]}, "task": {}}')
    with joined() as index:
        assert index == 0
