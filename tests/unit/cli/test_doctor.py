"""The doctor, on environments that are ill in one way each; it must speak where TensorFlow is missing."""

import subprocess
import sys
import textwrap

import pytest

from tlkit.cli import doctor


def test_numbers_of_versions():
    assert doctor.number("2.19.0rc1") == (2, 19, 0)
    assert doctor.number("3.15.1") > doctor.number("3.14")
    assert doctor.number("unknown") == ()


@pytest.mark.parametrize(
    ("finding", "status", "words"),
    [
        (lambda: doctor._python((3, 10, 1)), "fail", "use Python 3.11 or newer"),
        (lambda: doctor._python((3, 12, 0)), "ok", "3.12.0"),
        (lambda: doctor._package("keras", "3.14", "4", None), "fail", "pip install 'keras>=3.14,<4'"),
        (lambda: doctor._package("keras", "3.14", "4", "2.15.0"), "fail", "2.15.0, but tlkit needs keras>=3.14,<4"),
        (lambda: doctor._package("keras", "3.14", "4", "4.0.0"), "fail", "4.0.0, but"),
        (lambda: doctor._package("keras", "3.14", "4", "3.14.0"), "ok", "3.14.0"),
        (lambda: doctor._tensorflow_hub("0.16.1", "82.0.1", "2.21.0"), "note", "tlkit stands in for it"),
        (lambda: doctor._tensorflow_hub("0.16.1", None, "2.21.0"), "note", "setuptools is missing"),
        (lambda: doctor._tensorflow_hub("0.16.1", "80.0", "2.21.0"), "ok", "tf_keras 2.21.0"),
        (lambda: doctor._tensorflow_hub("0.16.1", "80.0", None), "warn", "pip install tf_keras"),
        (lambda: doctor._tensorflow_hub(None, "80.0", None), "warn", "pip install tensorflow-hub tf_keras"),
        (lambda: doctor._backend({"KERAS_BACKEND": "jax"}), "fail", "set KERAS_BACKEND=tensorflow"),
        (lambda: doctor._backend({"KERAS_BACKEND": "tensorflow"}), "ok", "tensorflow"),
        (lambda: doctor._legacy_keras({"TF_USE_LEGACY_KERAS": "1"}, None), "warn", "which is not installed"),
        (lambda: doctor._legacy_keras({"TF_USE_LEGACY_KERAS": "1"}, "2.21"), "warn", "do not mix"),
        (lambda: doctor._legacy_keras({"TF_USE_LEGACY_KERAS": "0"}, "2.21"), "ok", "not set"),
        (lambda: doctor._downloads({"TLKIT_OFFLINE": "1"}, True, None), "note", "switched off"),
        (lambda: doctor._downloads({}, False, None), "warn", "ensurepip"),
        (lambda: doctor._downloads({}, False, "/bin/uv"), "ok", "through uv"),
    ],
)
def test_each_illness_is_named_with_its_cure(finding, status, words):
    diagnosis = finding()
    assert diagnosis.status == status
    assert words in doctor.lines([diagnosis])[0]


def test_the_backend_of_the_settings_file(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float32", "backend": "torch"}')
    assert doctor._backend({"KERAS_HOME": str(tmp_path)}).status == "fail"


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    diagnosis = doctor._cache(tmp_path / "file" / "cache")
    assert diagnosis.status == "fail"
    assert "set TLKIT_CACHE" in diagnosis.fix


@pytest.mark.parametrize(("free", "status"), [(50e9, "ok"), (1e9, "warn"), (1e6, "fail")])
def test_room_on_the_disk(tmp_path, monkeypatch, free, status):
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert doctor._cache(tmp_path).status == status


def test_litert_runs_here():
    assert doctor._litert() == doctor.Finding("LiteRT", "ok", "runs a model")


def test_a_process_that_fails_gives_its_last_line(monkeypatch):
    assert doctor._failure("raise SystemExit('no AVX here')") == "no AVX here"
    assert doctor._failure("import os; os._exit(3)") == "the process ended with 3"
    monkeypatch.setattr(doctor, "RUN_TIMEOUT_S", 0.1)
    assert "no answer" in doctor._failure("import time; time.sleep(9)")


def test_it_speaks_where_tensorflow_and_keras_are_missing(tmp_path):
    """In a process whose environment has none of the packages; only tlkit's own light imports are there."""
    code = textwrap.dedent("""
        import importlib.metadata, sys
        gone = ("tensorflow", "keras", "tf_keras", "tensorflow-hub", "ai-edge-litert")
        whole = importlib.metadata.version
        def version(name):
            if name.startswith(gone) or name.startswith("tf-nightly"):
                raise importlib.metadata.PackageNotFoundError(name)
            return whole(name)
        importlib.metadata.version = version
        sys.modules["tensorflow"] = sys.modules["keras"] = None
        from tlkit.cli import doctor
        print("\\n".join(doctor.lines(doctor.doctor())))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert [line.split()[1] for line in failed] == ["tensorflow:", "keras:", "ai-edge-litert:", "LiteRT:"]
    assert "pip install 'tensorflow>=2.19'" in failed[0]


def test_this_environment_is_sound():
    findings = doctor.doctor()
    assert not [f for f in findings if f.status == "fail"], doctor.lines(findings)
    assert "tensorflow" not in {f.name for f in findings if f.status != "ok"}
