"""Workers that Ray places, as the process sees them that asks for them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cluster.placed import Actor, asked, of_actors, of_workers, one_worker, printing, saved_run, setting
from tlkit.core.errors import InputError
from tlkit.core.files import PARTIAL, cache_dir
from tlkit.core.progress import Progress, shown
from tlkit.core.trouble import first_line
from tlkit.core.workers import CONFIG, Pool, pooled

if TYPE_CHECKING:
    from tlkit.core.run import Run

LOCAL = "local"
MISSING = "Ray with its trainers is not installed: pip install 'tlkit[ray]'."
STORE_BYTES = 256 << 20  # of shared memory, on one host: what is sent is a module and records of data
REACH_S = 5.0
ROOM_S = 60  # that other jobs of a cluster are given to end
RECIPE = "tlkit_recipe_"  # beginning of the names of modules that no other process can import
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed"}  # said otherwise


@dataclass(eq=False)
class Cluster:
    """Workers that Ray places.

    Attributes:
        workers: How many.
        cpus: CPUs that Ray counts for each.
        gpus: GPUs of each.
    """

    workers: int
    cpus: float
    gpus: float
    _engine: Any = None
    _actors: list[Any] = field(default_factory=list)
    _home: list[Any] = field(default_factory=list)

    def train(self, make_run: Callable[..., Run], **given: Any) -> Run:
        """Let all workers train one model: each calls a function that calls `finetune`, under one strategy.

        Args:
            make_run: Called on each worker with the same arguments; it neither takes nor makes a strategy. The folder
                of its run and `TLKIT_CACHE` lie where all hosts see them.
            **given: Its arguments.

        Returns:
            The run that the chief saved, opened from its folder.

        Raises:
            InputError: What the workers raise; or if nothing was saved.
            TrainingError: If a worker has ended.
        """
        from tlkit.runs.folder import load

        folder = self.call(saved_run, make_run, given)
        if folder is None:
            raise InputError("`train` opens the run that was saved: the function must give back what finetune gives.")
        run: Run = load(folder)
        return run

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on every worker at once, with TF_CONFIG set, as Ray Train does it for TensorFlow.

        Args:
            function: It must be one that can be sent; what it prints on the chief is printed here.
            *arguments: Of the function.

        Returns:
            What the chief's call gives, which must be plain JSON.

        Raises:
            InputError: What the workers raise.
            TrainingError: If a worker has ended.
        """
        os.environ |= {"RAY_TRAIN_V2_ENABLED": "1", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}
        try:
            from ray.train import RunConfig, ScalingConfig
            from ray.train.tensorflow import TensorflowTrainer
            from ray.util.queue import Queue
        except ImportError:  # Ray without what its trainers need
            raise InputError(MISSING) from None

        sent = _pickled(self._engine, functools.partial(function, *arguments))
        self._release()  # the pool's processes hold the CPUs
        cache_dir().mkdir(parents=True, exist_ok=True)
        needs = {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}ray-", dir=cache_dir()))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            lines = Queue(actor_options={"num_cpus": 0})
            stack.callback(lines.shutdown, force=True)
            trainer = TensorflowTrainer(
                one_worker,
                train_loop_config={"work": sent, "setting": setting(), "lines": lines},
                scaling_config=ScalingConfig(
                    num_workers=self.workers, use_gpu=self.gpus > 0, resources_per_worker=needs
                ),
                run_config=RunConfig(name="placed", storage_path=str(folder)),
            )
            try:
                with printing(lines) as results:
                    trainer.fit()
            except Exception as error:
                if (reason := of_workers(error)) is error:
                    raise
                raise reason from error
            return json.loads(results[0])

    @property
    def _pool(self) -> Pool:
        return Pool(self.workers, self._each, self._here)

    def _each(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """What `Pool.each` gives, by actors that live until the pool is left or its CPUs are needed."""
        from ray.util import ActorPool

        try:
            if not self._actors:
                options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_restarts": 0}
                kind = self._engine.remote(**options)(Actor)
                self._actors += [kind.remote() for _ in range(self.workers)]
            sent = self._engine.put(_pickled(self._engine, function))
            self._engine.get([actor.take.remote(sent, setting()) for actor in self._actors])
            crew: Any = ActorPool(self._actors)
            for number, arguments in enumerate(calls):
                crew.submit(lambda actor, call: actor.work.remote(*call), (number, arguments))
                if not crew.has_free():
                    yield crew.get_next_unordered()
            while crew.has_next():
                yield crew.get_next_unordered()
        except BaseException as error:  # also where whoever asks has given up: what is under way ends
            self._release()
            if (reason := of_actors(error)) is error:
                raise
            raise reason from error

    def _here(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What `Pool.here` gives, by an actor that is bound to this host."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = NodeAffinitySchedulingStrategy(self._engine.get_runtime_context().get_node_id(), soft=False)
        actor = self._engine.remote(num_cpus=0, scheduling_strategy=node)(Actor).remote()
        self._engine.get(actor.take.remote(_pickled(self._engine, function), setting()))
        self._home.append(actor)
        return functools.partial(asked, actor)

    def _release(self) -> None:
        for actor in (*self._actors, *self._home):
            self._engine.kill(actor)
        self._actors.clear()
        self._home.clear()


@contextlib.contextmanager
def ray(
    address: str = LOCAL,
    workers: int = 2,
    *,
    cpus: float = 1,
    gpus: float | None = None,
    progress: Progress | None = None,
) -> Iterator[Cluster]:
    """Let Ray place work on a cluster, or on processes of this host.

    Inside, what can be done one by one is shared out among so many processes: features of a frozen module by shard
    (`extract`, `fit`, `finetune`), trials of `tune`, modules of `rank(..., convert=False)`, seeds of `transfer_check`.
    A process opens the module once, and what it computes has the bytes that one process computes. `Cluster.train` lets
    the workers train one model together. Data, `TLKIT_CACHE` and folders of runs lie on a path that all hosts see.
    Ray's dashboard is left out where it is started here, and it sends no usage statistics.

    Args:
        address: "local" starts Ray on this host and ends it behind the block; "HOST:PORT" joins a cluster that
            `ray start` began, of which this host is one.
        workers: Processes, 1 or more.
        cpus: CPUs that Ray counts for each; TensorFlow does not keep to them.
        gpus: GPUs of each; None is one where the cluster has as many, else none.
        progress: Where progress goes; None shows it.

    Raises:
        InputError: If Ray is not installed, the cluster cannot be reached or has less than is asked for.

    Example:
        >>> with tlkit.cluster.ray(workers=2) as cluster:  # doctest: +SKIP
        ...     run = tlkit.finetune("zoo:efficientnet-lite0", task, data)

    Source: Moritz et al. 2018, OSDI (Ray).
    """
    _check(address, workers, cpus, gpus)
    os.environ |= QUIET
    try:
        import ray as engine
    except ImportError:
        raise InputError(MISSING) from None
    if engine.is_initialized():
        raise InputError(
            "Ray runs in this process already: end it with ray.shutdown(), or leave the block around this."
        )
    with contextlib.ExitStack() as stack:
        stack.callback(engine.shutdown)
        _start(engine, address, workers * cpus, stack)
        each_gpus = _gpus(engine.nodes(), address, workers, cpus, gpus)
        if address != LOCAL:
            _await_room(address, workers, cpus, each_gpus)
        cluster = Cluster(workers, cpus, each_gpus, engine)
        each = f"{cpus:g} CPUs and {cluster.gpus:g} GPUs"
        (progress or shown()).line(f"ray     {workers} workers at {address}, each with {each}")
        stack.callback(cluster._release)
        with pooled(cluster._pool):
            yield cluster


def _check(address: str, workers: int, cpus: float, gpus: float | None) -> None:
    """Refuse what cannot be meant, before Ray is started."""
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise InputError(f"`workers` must be a whole number, 1 or more. Received: workers={workers!r}.")
    if not cpus > 0 or (gpus is not None and not gpus >= 0):
        raise InputError(f"`cpus` must be above 0, and `gpus` 0 or more. Received: cpus={cpus!r}, gpus={gpus!r}.")
    if os.environ.get(CONFIG):
        raise InputError(f"{CONFIG} is set, and Ray sets it itself: unset it, or leave Ray out.")
    host, colon, port = address.rpartition(":")
    if address != LOCAL and not (host and colon and port.isdigit() and "/" not in host):
        raise InputError(f'The address of Ray is "local" or HOST:PORT, as `ray start` says it. Received: {address!r}.')
    if address != LOCAL:
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
        except (OSError, OverflowError) as error:
            raise InputError(
                f"No Ray cluster can be reached at {address} ({first_line(error)}): start one with `ray start --head`, "
                "or take the address `local`."
            ) from None


def _start(engine: Any, address: str, cpus: float, stack: contextlib.ExitStack) -> None:
    """Start Ray with so many CPUs, or join it.

    Raises:
        InputError: If that fails.
    """
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        size = {"num_cpus": max(1, -int(-cpus // 1)), "object_store_memory": STORE_BYTES, "_temp_dir": place}
        quiet |= {"include_dashboard": False} | size
        stack.callback(engine.shutdown)  # before its folder goes
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        engine.init(address=address, **quiet)
    except Exception as error:
        how = (
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token" if _unknown(error) else "see its logs"
        )
        raise InputError(f"Ray cannot be started or joined at {address} ({first_line(error)}): {how}.") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)  # Ray puts one of its own in its place


def _gpus(nodes: Iterable[Mapping[str, Any]], address: str, workers: int, cpus: float, gpus: float | None) -> float:
    """GPUs of each worker, none of which can lie on two hosts.

    Raises:
        InputError: If the hosts have less than all need.
    """
    hosts = [node["Resources"] for node in nodes if node.get("Alive")]

    def room(needs: Mapping[str, float]) -> int:
        needed = {name: count for name, count in needs.items() if count}
        return sum(min(int(host.get(name, 0) / count + 1e-6) for name, count in needed.items()) for host in hosts)

    each = float(room({"GPU": 1}) >= workers) if gpus is None else gpus
    places = room({"CPU": cpus, "GPU": each})
    if places < workers:
        raise InputError(
            f"The hosts of the cluster at {address} have room for {places} workers with {cpus:g} CPUs and {each:g} "
            f"GPUs each, and not for {workers}: take fewer workers, or less for each."
        )
    return each


def _await_room(address: str, workers: int, cpus: float, gpus: float) -> None:
    """Wait until other jobs of the cluster leave enough free for all workers at once.

    Raises:
        InputError: If they do not within `ROOM_S`.
    """
    from ray.util import placement_group, remove_placement_group

    needs = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    group = placement_group([needs] * workers)
    try:
        if not group.wait(ROOM_S):
            raise InputError(
                f"Other jobs of the cluster at {address} have left no room for {workers} workers with {cpus:g} CPUs "
                f"and {gpus:g} GPUs each within {ROOM_S} seconds: take fewer workers, or wait for those jobs."
            )
    finally:
        remove_placement_group(group)


def _unknown(error: BaseException | None) -> bool:
    """Whether a cluster asked for a token, as `ray start` lets it where its user has one."""
    while error is not None:
        if "AuthToken" in str(error):
            return True
        error = error.__cause__
    return False


def _pickled(engine: Any, function: Callable[..., Any]) -> bytes:
    """A function with all that it holds; modules that only this process can import travel with it.

    Raises:
        InputError: If it holds what cannot be sent.
    """
    by_value = [module for name, module in sys.modules.items() if name.startswith(RECIPE)]
    for module in by_value:
        engine.cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = engine.cloudpickle.dumps(function)
    except Exception as error:
        raise InputError(
            f"What is to be done cannot be sent to other processes ({first_line(error)}): give modules by handle, and "
            "data that tlkit reads from files or arrays."
        ) from error
    finally:
        for module in by_value:
            engine.cloudpickle.unregister_pickle_by_value(module)
    return pickled
