"""`strategy=`: devices and workers that share every batch end with the weights of one device."""

from __future__ import annotations

import contextlib
import json
import time

import numpy as np
import pytest
import shared_fits

pytestmark = pytest.mark.long

TOLERANCE = 1e-5


def arrays_of(path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def gap(first: dict[str, np.ndarray], other: dict[str, np.ndarray], prefix: str = "w") -> float:
    names, others = ({n for n in arrays if n[0] == prefix and n[1].isdigit()} for arrays in (first, other))
    assert names and names == others
    return max(float(np.max(np.abs(first[name] - other[name]))) for name in names)


def below(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


@pytest.fixture(scope="module")
def mirrored(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("mirrored")
    process = shared_fits.started("mirrored", place / "shared.npz", folder, "3", env={"TLKIT_CACHE": str(place)})
    shared_fits.ended(process)
    return arrays_of(place / "shared.npz")


@pytest.fixture(scope="module")
def alone(mirrored):
    return below(mirrored, "alone.")


def test_devices_that_share_batches_end_with_one_device_s_weights_and_figures(alone, mirrored):
    assert gap(alone, mirrored) < TOLERANCE
    assert gap(alone, mirrored, "h") < 1e-4
    assert gap(alone, {name: np.zeros_like(v) for name, v in alone.items() if name[0] == "w"}) > 0.01


def test_micro_batches_are_shared_too_and_a_second_fit_has_the_same_bits(alone, mirrored):
    parts, again = below(mirrored, "parts."), below(mirrored, "again.")
    assert "1 examples at a time" in str(parts["proofs"]) and gap(alone, parts) < TOLERANCE
    assert gap(mirrored, again) == 0.0 and gap(mirrored, again, "h") == 0.0


def test_what_cannot_be_shared_is_refused_in_a_sentence(mirrored):
    batch_statistics, kind, open_scope, spread = mirrored["refused"].tolist()
    assert "statistics of each batch" in batch_statistics
    assert "must be a tf.distribute.MirroredStrategy" in kind and "str" in kind
    assert "outside `strategy.scope()`" in open_scope and "make it outside" in spread


# -- workers: two processes on loopback, one cache


def two_workers(folder, place, checkpoints="", dropout=0.0, killed="-", hosts=None):
    """What both workers end with; both have the cache `place`, and each may have a host of its own."""
    outs = [place / f"worker-{index}.npz" for index in range(2)]
    configs = shared_fits.cluster(2, list(hosts.values()) if hosts else None)
    arguments = (folder, checkpoints, dropout, killed)
    return [
        shared_fits.started("worker", out, *arguments, env=config | {"TLKIT_CACHE": str(place / "cache")}, host=name)
        for out, config, name in zip(outs, configs, hosts or (None, None), strict=True)
    ], outs


def ended_well(processes, outs):
    for process in processes:
        shared_fits.ended(process)
    return [arrays_of(out) for out in outs]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_train_as_one_device_and_compute_no_feature_twice(folder, tmp_path):
    chief, other = ended_well(*two_workers(folder, tmp_path))
    again, _ = ended_well(*two_workers(folder, tmp_path))
    (tmp_path / "one").mkdir()
    process = shared_fits.started("one", tmp_path / "one.npz", folder, "2", env={"TLKIT_CACHE": str(tmp_path / "one")})
    shared_fits.ended(process)
    assert gap(arrays_of(tmp_path / "one.npz"), chief) < TOLERANCE
    assert gap(arrays_of(tmp_path / "one.npz"), chief, "h") < 1e-4
    assert gap(chief, other) == 0.0 and gap(chief, other, "h") == 0.0 and gap(chief, again) == 0.0
    shards = [*chief["stored"].tolist(), *other["stored"].tolist()]
    assert len(chief["stored"]) and len(other["stored"]) and len(set(shards)) == len(shards)
    assert not len(again["stored"]) and chief["worker"] == 0 and other["worker"] == 1
    assert all(proof["workers"] == 2 and proof["unlike_chief"] == [] for proof in json.loads(str(chief["proofs"])))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hosts_with_addresses_of_their_own_train_as_one_device(folder, tmp_path):
    """Hosts are network namespaces: what a worker offers on loopback cannot be reached by the other."""
    with contextlib.ExitStack() as stack:
        try:
            hosts = stack.enter_context(shared_fits.two_hosts())
        except PermissionError as error:
            pytest.skip(f"network namespaces are not permitted: {error}")
        chief, other = ended_well(*two_workers(folder, tmp_path, hosts=hosts))
    process = shared_fits.started("one", tmp_path / "one.npz", folder, "2", env={"TLKIT_CACHE": str(tmp_path / "one")})
    shared_fits.ended(process)
    assert gap(arrays_of(tmp_path / "one.npz"), chief) < TOLERANCE
    assert gap(chief, other) == 0.0 and chief["worker"] == 0 and other["worker"] == 1
    assert len(chief["stored"]) and len(other["stored"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_worker_ends_all_and_the_same_command_goes_on_to_the_same_bits(folder, tmp_path):
    (unbroken, _) = ended_well(*two_workers(folder, tmp_path, tmp_path / "unbroken", 0.3))
    (chief, victim), _ = two_workers(folder, tmp_path, tmp_path / "kept", 0.3, killed="1 3")
    victim.wait(300)
    ended = time.monotonic()
    printed = chief.communicate(timeout=60)[0]
    assert time.monotonic() - ended < 30
    assert chief.returncode != 0 and "Worker 1 has ended or cannot be reached" in printed
    chief, other = ended_well(*two_workers(folder, tmp_path, tmp_path / "kept", 0.3))
    assert chief["resumed"] and other["resumed"]
    assert gap(unbroken, chief) == 0.0 and gap(unbroken, chief, "h") == 0.0 and gap(chief, other) == 0.0
