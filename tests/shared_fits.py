"""Fits that devices or workers share, in processes of their own: TensorFlow takes its devices before it does anything.

Called as a program: `python shared_fits.py JOB OUT [ARGUMENTS...]` writes what a test compares to OUT, an .npz file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def started(
    job: str, out: Path, *arguments: str, env: dict[str, str] | None = None, host: str | None = None
) -> subprocess.Popen:
    """A process that runs one of the jobs below, on a host of `two_hosts` if one is named."""
    paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [] if host is None else ["ip", "netns", "exec", host]
    command += [sys.executable, str(HERE / "shared_fits.py"), job, str(out), *map(str, arguments)]
    # one thread each: what is compared bit for bit must not hang on how sums were divided
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        env=os.environ | threads | {"PYTHONPATH": paths} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen, timeout_s: float = 300) -> str:
    """What a process said, once it has ended well."""
    try:
        text = process.communicate(timeout=timeout_s)[0]
    finally:
        process.kill()
    assert process.returncode == 0, text[-4000:]
    return text


@contextlib.contextmanager
def two_hosts() -> Iterator[dict[str, str]]:
    """Names and addresses of two network namespaces that a cable joins.

    Raises:
        PermissionError: Where this process may have none.
    """
    names = [f"tlkit-{os.getpid()}-{index}" for index in range(2)]
    cables = [f"tlk{os.getpid()}-{index}" for index in range(2)]
    hosts = {name: f"10.213.7.{index + 1}" for index, name in enumerate(names)}
    commands = [f"netns add {name}" for name in names]
    commands += [f"link add {cables[0]} netns {names[0]} type veth peer name {cables[1]} netns {names[1]}"]
    for cable, (name, address) in zip(cables, hosts.items(), strict=True):
        commands += [f"-n {name} addr add {address}/24 dev {cable}", f"-n {name} link set {cable} up"]
        commands += [f"-n {name} link set lo up"]
    try:
        for command in commands:
            _ip(command)
        yield hosts
    finally:
        for name in names:
            with contextlib.suppress(AssertionError, OSError):  # one that was never made
                _ip(f"netns del {name}")


def _ip(command: str) -> None:
    try:
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        raise PermissionError("there is no iproute2") from None
    if done.returncode and re.search("not permitted|permission denied", done.stderr, re.IGNORECASE):
        raise PermissionError(f"ip {command}: {done.stderr.strip()}")
    assert done.returncode == 0, f"ip {command}: {done.stderr}"


def cluster(count: int, hosts: list[str] | None = None) -> list[dict[str, str]]:
    """TF_CONFIG of each of so many workers."""
    hosts = hosts or ["127.0.0.1"] * count
    addresses = [f"{host}:{_free_port()}" for host in hosts]
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})}
        for index in range(count)
    ]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# -- in the process


def weighted(splits):
    """The examples with weights, 42 of them: the last batch of 8 has 2, and one of them too few for three devices."""
    weights = np.linspace(0.2, 3.0, len(splits.train)).astype(np.float32)
    return dataclasses.replace(splits, train=dataclasses.replace(splits.train, weights=weights))


def fit(folder: str, strategy=None, *, dropout: float = 0.0, batch_size: int = 8, epochs=(1, 2), **options):
    """A frozen phase and a tuned one, with class weights, penalties and clipping."""
    import keras
    from fitting import LABELS, SIZE, data

    import tlkit
    from tlkit import tasks
    from tlkit.core.run import Phase

    keras.utils.set_random_seed(0)
    task = tasks.classify(LABELS, hidden=(8,), dropout=dropout, l2=1e-2, class_weights={"dark": 3.0})
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    model = tlkit.build(layer, task, image_size=(SIZE, SIZE))
    phases = (Phase(epochs[0], 1e-2), Phase(epochs[1], 3e-3, unfrozen=0.5, clip_norm=0.5, l2_sp=0.1))
    return tlkit.fit(model, task, weighted(data()), phases, batch_size=batch_size, strategy=strategy, **options)


def kept(run, **more) -> dict[str, np.ndarray]:
    """Weights, figures and proofs of a run, as arrays."""
    arrays = {f"w{i:03d}": np.array(v) for i, v in enumerate(run.model.weights)}
    for number, phase in enumerate(run.phases):
        arrays |= {f"h{number}.{name}": np.array(values) for name, values in phase.history.items()}
    proofs = json.dumps([dict(phase.proof) | {"had": dict(phase.had)} for phase in run.phases], default=str)
    return arrays | {"proofs": np.array(proofs)} | {name: np.asarray(value) for name, value in more.items()}


def mirrored(folder: str, devices: str) -> dict[str, np.ndarray]:
    """One device, then logical CPUs: whole parts, in micro-batches, and a second time; then what is refused."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    count = int(devices)
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(count)])
    arrays = kept(fit(folder, strategy)) | {f"alone.{name}": value for name, value in kept(fit(folder)).items()}
    arrays |= {f"again.{name}": value for name, value in kept(fit(folder, strategy)).items()}
    arrays |= {f"parts.{name}": value for name, value in kept(fit(folder, strategy, micro_batch=1)).items()}
    return arrays | {"refused": np.array(refusals(folder, strategy))}


def refusals(folder: str, strategy) -> list[str]:
    """What `fit` says where it cannot share."""
    from fitting import LABELS, built, data

    import tlkit
    from tlkit import tasks
    from tlkit.core.errors import InputError
    from tlkit.core.run import Phase

    model, task = built(folder, task=tasks.classify(LABELS, normalize=True))
    messages = []

    def refused(call) -> None:
        try:
            call()
        except InputError as error:
            messages.append(str(error))

    phases = (Phase(1, 1e-2),)
    refused(lambda: tlkit.fit(model, task, data(), phases, strategy=strategy))
    refused(lambda: tlkit.fit(model, task, data(), phases, strategy="mirrored"))
    with strategy.scope():
        inside, task = built(folder)
        refused(lambda: tlkit.fit(inside, task, data(), phases, strategy=strategy))
    refused(lambda: tlkit.fit(inside, task, data(), phases, strategy=strategy))
    return messages


def worker(folder: str, checkpoints: str, dropout: str, killed: str) -> dict[str, np.ndarray]:
    """One of two workers; `killed` is "INDEX EPOCH": that worker ends by SIGKILL behind so many epochs."""
    import signal

    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from tlkit.features import extract
    from tlkit.training import fit as fitting

    extract.SHARD_BYTES = 4096  # features of a few examples, so that there are shards for both
    stored, store, run_epoch, done = [], extract._store, fitting._run_epoch, []

    def noted(request, number, *arguments):
        stored.append(f"{request.folder.name} {number}")
        store(request, number, *arguments)

    def ending(*arguments):
        if killed == f"{index} {len(done)}":
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(1)
        return run_epoch(*arguments)

    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    extract._store, fitting._run_epoch = noted, ending
    run = fit(folder, strategy, dropout=float(dropout), epochs=(2, 2), checkpoints=checkpoints or None)
    return kept(run, stored=stored, worker=run.worker, resumed=len(done) < 4)


def one(folder: str, epochs: str) -> dict[str, np.ndarray]:
    """One device, `epochs` epochs of each phase."""
    return kept(fit(folder, epochs=(int(epochs), int(epochs))))


JOBS = {"one": one, "mirrored": mirrored, "worker": worker}

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    job, out, *arguments = sys.argv[1:]
    np.savez(out, **JOBS[job](*arguments))
