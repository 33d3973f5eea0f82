"""Which handle is of which kind, and what is said about the rest."""

import pytest

from tlkit.core.errors import InputError
from tlkit.hub.downloading import hub_address
from tlkit.hub.handles import Handle, kaggle_name, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://tfhub.dev/google/x/1", Handle("http", "https://tfhub.dev/google/x/1")),
        ("http://host:8000/mod?version=2", Handle("http", "http://host:8000/mod?version=2")),
        ("kaggle:o/m/tensorFlow2/v", Handle("kaggle", "o/m/tensorFlow2/v")),
        ("https://www.kaggle.com/models/o/m/tensorFlow2/v/3", Handle("kaggle", "o/m/tensorFlow2/v/3")),
        (
            "https://kaggle.com/models/o/m/frameworks/TensorFlow2/variations/v?x=1",
            Handle("kaggle", "o/m/TensorFlow2/v"),
        ),
        ("gs://bucket/model", Handle("gs", "gs://bucket/model")),
        ("zoo:efficientnet-lite0", Handle("zoo", "efficientnet-lite0")),
        ("keras.applications:VGG16", Handle("keras", "VGG16")),
    ],
)
def test_kinds(text, expected):
    assert parse(text) == expected


def test_paths(tmp_path):
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "saved_model.pb").touch()
    (tmp_path / "m.tar.gz").touch()
    assert parse(tmp_path / "module") == Handle("folder", str(tmp_path / "module"))
    assert parse(str(tmp_path / "module" / "saved_model.pb")) == Handle("folder", str(tmp_path / "module"))
    assert parse(tmp_path / "m.tar.gz") == Handle("archive", str(tmp_path / "m.tar.gz"))


def test_unknown_handles_say_what_a_handle_is(tmp_path):
    (tmp_path / "m.keras").touch()
    (tmp_path / "m.tflite").touch()
    with pytest.raises(InputError, match=r"no module 'mobilenet'.*zoo:NAME"):
        parse("mobilenet")
    with pytest.raises(InputError, match=r"keras\.saving\.load_model"):
        parse(tmp_path / "m.keras")
    with pytest.raises(InputError, match="is no module; a handle is"):
        parse(tmp_path / "m.tflite")


@pytest.mark.parametrize(
    "handle",
    [
        "", " ", "\n", "a\nb", "a\0b", "http://[::1/x", "http://[bad/", "http://h:port/x", "http:///x", "https://",
        "http://h/a b", "~nosuchuser/x", "x" * 5_000, "x/" * 5_000, "kaggle:" + "x" * 5_000, "file://otherhost/x",
        "file:///nothing/here", "\ud800", "zoo:", "gs:/x", "con:", "http://h:99999/x",
    ],
)  # fmt: skip
def test_odd_handles_get_one_short_line(handle):
    with pytest.raises(InputError) as caught:
        parse(handle)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_file_addresses(tmp_path):
    folder = tmp_path / "my m\u00f6dule"
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    (tmp_path / "m 1.ZIP").touch()
    assert parse(folder.as_uri()) == Handle("folder", str(folder))
    assert parse(f"file://localhost{tmp_path}/m%201.ZIP") == Handle("archive", str(tmp_path / "m 1.ZIP"))
    assert parse(f"FILE://{tmp_path}/m%201.ZIP") == Handle("archive", str(tmp_path / "m 1.ZIP"))


def test_the_folder_of_a_run(tmp_path):
    for name in ("run.json", "model.keras"):
        (tmp_path / name).touch()
    assert parse(tmp_path) == Handle("run", str(tmp_path))
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").touch()
    assert parse(tmp_path / "saved_model") == Handle("folder", str(tmp_path / "saved_model"))


@pytest.mark.parametrize("path", ["google/bert", "a/b/c/d/latest", "a/b/../d", "a/b/c/d/1/2", ""])
def test_kaggle_names_are_complete(path):
    with pytest.raises(InputError, match="owner/model/framework/variation"):
        kaggle_name(path)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://h/m/1", "http://h/m/1?tf-hub-format=compressed"),
        ("http://h/m/1?a=b%20c", "http://h/m/1?a=b%20c&tf-hub-format=compressed"),
        ("http://h/m/1?tf-hub-format=compressed", "http://h/m/1?tf-hub-format=compressed"),
        ("http://h/m.tar.gz?signature=x", "http://h/m.tar.gz?signature=x"),
    ],
)
def test_hub_address(address, expected):
    assert hub_address(address) == expected
