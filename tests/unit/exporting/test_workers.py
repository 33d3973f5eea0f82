import os
import time
from pathlib import Path

import kept_workers
import pytest

from tlkit.core.naming import import_path
from tlkit.exporting import formats, workers

OPEN = import_path(formats.float32.open)


@pytest.fixture(autouse=True)
def ending():
    """Workers end with their export here."""
    with kept_workers.none_kept():
        yield


def test_a_job_that_fails_says_why(tmp_path: Path):
    with workers.started(tmp_path / "log", 60) as worker:
        (tmp_path / "broken.tflite").write_bytes(b"no model at all, and long enough")
        answer = workers.ask(worker, job="run", file=str(tmp_path / "broken.tflite"), open=OPEN, threads=1)
        assert "broken.tflite' was not exported by tlkit, or it is damaged" in answer["failure"]
        assert answer["seconds"] > 0


def test_a_worker_that_hangs_stops_by_itself(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")  # opening it waits for ever
    with workers.started(tmp_path / "log", 3) as worker:
        start = time.monotonic()
        answer = workers.ask(worker, job="time", file=str(tmp_path / "fifo"), open=OPEN, threads=1)
        assert "its time used up" in answer["failure"]
        assert time.monotonic() - start < 20


def test_a_worker_ends_with_its_input(tmp_path: Path):
    with workers.started(tmp_path / "log", 60) as worker:
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(timeout=30) == 0


def test_a_worker_that_was_killed_is_a_failure_of_its_job(tmp_path: Path):
    with workers.started(tmp_path / "log", 60) as worker:
        worker.process.kill()
        assert "ended with code -9" in workers.ask(worker, job="time", file="x", threads=1)["failure"]
    assert worker.process.poll() is not None


def test_a_worker_that_died_while_it_waited_is_replaced(tmp_path: Path):
    workers.start_ahead()
    (dead,) = workers._ahead
    dead.process.kill()
    dead.process.wait()
    with workers.started(tmp_path / "log", 60, tensorflow=True) as worker:
        assert "version" in workers.ask(worker, job="prepare")


def test_a_worker_takes_no_module_from_the_folder_where_it_starts(tmp_path: Path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with workers.started(tmp_path / "log", 60) as worker:
        assert "KeyError" in workers.ask(worker, job="no such job")["failure"]


def test_the_time_of_a_worker_begins_anew(tmp_path: Path):
    with workers.started(tmp_path / "log", 6) as worker:
        workers.limit(worker, 60)
        time.sleep(7)
        assert worker.process.poll() is None


def test_a_worker_that_was_started_ahead_is_taken_once_by_who_needs_tensorflow(tmp_path: Path, monkeypatch):
    workers.start_ahead()
    workers.start_ahead()
    (ahead,) = workers._ahead
    with workers.started(tmp_path / "plain", 60) as plain:
        assert plain.process.pid != ahead.process.pid
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "file.tflite").write_bytes(b"no model")
    monkeypatch.chdir(tmp_path / "log")  # it looks for files where this process is, not where that was
    with workers.started(tmp_path / "ahead", 60, tensorflow=True) as worker:
        assert worker.process.pid == ahead.process.pid
        assert workers.ask(worker, job="prepare")["version"]
        assert not workers._ahead
        answer = workers.ask(worker, job="run", file="file.tflite", open=OPEN, threads=1)
        assert "file.tflite' was not exported by tlkit" in answer["failure"]
    assert worker.process.poll() is not None
