"""The zoo on disk: built once, whole or absent, checked when opened. The builder is a stand-in."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tlkit import zoo
from tlkit.core.errors import InputError, TlkitError
from tlkit.core.files import PARTIAL
from tlkit.zoo import store

NAME = "efficientnet-lite0"


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """A cache of its own, and the list of builds that were started in it."""
    started = []

    def builder(order):
        started.append(order["name"])
        (Path(order["folder"]) / "assets.extra").mkdir()
        (Path(order["folder"]) / "saved_model.pb").write_bytes(b"graph")

    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "fetch", lambda package, folder, offline: dict.fromkeys(package.files, folder / "w"))
    monkeypatch.setattr(store, "_run_builder", builder)
    return started


def test_built_once(builds):
    folder = zoo.folder(NAME)
    assert (folder / "saved_model.pb").read_bytes() == b"graph"
    assert zoo.folder(NAME) == folder
    assert builds == [NAME]


@pytest.mark.parametrize("damage", ["change", "remove", "manifest", "garbage", "more"])
def test_a_damaged_module_is_built_again(builds, damage):
    folder = zoo.folder(NAME)
    file = folder / (store.MANIFEST if damage in ("manifest", "garbage") else "saved_model.pb")
    file = folder / "variables" / "stray" if damage == "more" else file
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"[1]" if damage == "garbage" else b"x") if damage != "remove" else file.unlink()
    assert (zoo.folder(NAME) / "saved_model.pb").read_bytes() == b"graph"
    assert not (folder / "variables").exists()
    assert builds == [NAME, NAME]


def test_a_build_that_fails_or_was_killed_leaves_nothing_in_the_way(builds, monkeypatch, tmp_path):
    fine = store._run_builder
    monkeypatch.setattr(store, "_run_builder", lambda order: (_ for _ in ()).throw(TlkitError("no")))
    with pytest.raises(TlkitError):
        zoo.folder(NAME)
    home = tmp_path / "zoo" / NAME
    killed = home / f"{PARTIAL}killed"
    killed.mkdir()
    (killed / "saved_model.pb").write_bytes(b"half")
    monkeypatch.setattr(store, "_run_builder", fine)
    folder = zoo.folder(NAME)
    assert sorted(p.name for p in home.iterdir()) == sorted([folder.name, "lock"])


def test_two_at_once_build_once(builds):
    threads = [threading.Thread(target=zoo.folder, args=(NAME,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builds == [NAME]


def test_another_recipe_builds_anew(builds, monkeypatch):
    import dataclasses

    old = zoo.folder(NAME)
    module = store._module(NAME)
    monkeypatch.setattr(module, "CARD", dataclasses.replace(module.CARD, recipe=module.CARD.recipe + 1))
    assert zoo.folder(NAME) != old
    assert store.is_intact(old)


def test_a_builder_that_fails_says_why(tmp_path):
    with pytest.raises(TlkitError, match=r"Building zoo:no-such failed(.|\n)*ModuleNotFoundError"):
        store._run_builder(
            {"name": "no-such", "module": "tlkit.zoo.no_such", "path": [], "files": {}, "folder": str(tmp_path)}
        )


def test_what_building_needs_is_asked_for_before_the_download(builds, monkeypatch):
    import dataclasses

    module = store._module(NAME)
    monkeypatch.setattr(module, "CARD", dataclasses.replace(module.CARD, needs=("no_such_package", "some")))
    monkeypatch.setattr(store, "fetch", lambda *_, **__: pytest.fail("downloaded for nothing"))
    with pytest.raises(InputError, match=r"needs no_such_package, which is not installed: .*tlkit\[some\]"):
        zoo.folder(NAME)


def test_an_unknown_name():
    with pytest.raises(InputError, match=r"there are: efficientnet-lite0.*Received: 'resnet'"):
        zoo.folder("resnet")


def test_cards_are_complete():
    cards = zoo.cards()
    assert tuple(cards) == zoo.NAMES
    for name, card in cards.items():
        assert card.name == name
        assert card.licence and card.summary and card.credits and card.parameters > 0
        assert (card.modality == "audio") == (card.sample_rate is not None)
        if card.package is None:  # tlkit makes its weights itself
            continue
        assert all(len(digest) == 64 for digest in (card.sha256, *card.package.files.values()))
        assert card.to_json()["source"] in (f"{card.package.name}{mark}{card.package.version}" for mark in ("==", "@"))


def test_importing_the_zoo_imports_no_tensorflow():
    code = "import sys, tlkit.zoo; tlkit.zoo.cards(); assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
