"""Weight files that torch wrote, read without torch; and files that want more than that."""

import collections
import io
import os
import pickle
import sys
import tracemalloc
import types
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.zoo.torchfile import MAGIC, read_tensors

TYPES = {"f4": "FloatStorage", "i8": "LongStorage", "f2": "HalfStorage"}


class Storage:
    """Stands for a torch storage while the file is written."""

    def __init__(self, key, array):
        self.key, self.array = key, array


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.parts = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


@pytest.fixture(autouse=True)
def fake_torch(monkeypatch):
    """Modules with the names that torch's pickles mention, for the writer alone."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.__version__ = "0"
    for name in TYPES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*parts): ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Writer(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            kind = getattr(sys.modules["torch"], TYPES[obj.array.dtype.str[1:]])
            return ("storage", kind, obj.key, "cpu", obj.array.size, None)
        return None


def legacy(state, storages):
    file = io.BytesIO()
    for plain in (MAGIC, 1001, {"little_endian": True}):
        pickle.dump(plain, file, protocol=2)
    Writer(file, protocol=2).dump(state)
    pickle.dump([s.key for s in storages], file, protocol=2)
    for storage in storages:
        file.write(storage.array.size.to_bytes(8, "little") + storage.array.tobytes())
    return file.getvalue()


def sample():
    numbers, counts = Storage("7", np.arange(12, dtype="<f4")), Storage("9", np.array([5], "<i8"))
    state = collections.OrderedDict(
        whole=Tensor(numbers, 0, (3, 4), (4, 1)),
        part=Tensor(numbers, 4, (2, 4), (4, 1)),
        turned=Tensor(numbers, 0, (4, 3), (1, 4)),
        scalar=Tensor(counts, 0, (), ()),
        none=Tensor(numbers, 0, (0, 4), (4, 1)),
    )
    return legacy(state, [numbers, counts])


def test_tensors_come_back(tmp_path):
    (tmp_path / "w.pth").write_bytes(sample())
    tensors = read_tensors(tmp_path / "w.pth")
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(tensors["whole"], whole)
    np.testing.assert_array_equal(tensors["part"], whole[1:])
    np.testing.assert_array_equal(tensors["turned"], whole.T)
    assert tensors["scalar"] == 5 and tensors["scalar"].dtype == np.int64
    assert tensors["none"].shape == (0, 4)


def test_tensors_of_nested_state_dicts_have_dotted_names(tmp_path):
    numbers = Storage("0", np.arange(3, dtype="<f4"))
    state = {"step": 7, "model": {"w": Tensor(numbers, 1, (2,), (1,)), "deep": {4: Tensor(numbers, 0, (1,), (1,))}}}
    (tmp_path / "w.pth").write_bytes(legacy(state, [numbers]))
    tensors = read_tensors(tmp_path / "w.pth")
    assert {name: list(value) for name, value in tensors.items()} == {"model.w": [1, 2], "model.deep.4": [0]}


def archived(state, storages, byteorder=b"little", pickled=None):
    """The newer layout."""
    written, file = io.BytesIO(), io.BytesIO()
    Writer(written, protocol=2).dump(state)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickled if pickled is not None else written.getvalue())
        archive.writestr("net/byteorder", byteorder)
        for storage in storages:
            archive.writestr(f"net/data/{storage.key}", storage.array.tobytes())
    return file.getvalue()


def test_tensors_come_out_of_an_archive(tmp_path):
    numbers, counts = Storage("7", np.arange(12, dtype="<f4")), Storage("9", np.array([5], "<i8"))
    state = {"net": {"turned": Tensor(numbers, 0, (4, 3), (1, 4)), "count": Tensor(counts, 0, (), ())}}
    (tmp_path / "w.pth").write_bytes(archived(state, [numbers, counts]))
    tensors = read_tensors(tmp_path / "w.pth")
    np.testing.assert_array_equal(tensors["net.turned"], np.arange(12, dtype=np.float32).reshape(3, 4).T)
    assert tensors["net.count"] == 5


def test_an_archive_that_is_not_what_torch_writes_is_an_input_error(tmp_path):
    numbers = Storage("0", np.arange(3, dtype="<f4"))
    state = {"w": Tensor(numbers, 0, (3,), (1,))}
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    contents = (
        archived(state, [numbers], byteorder=b"big"),
        archived(state, []),
        archived({"w": Tensor(numbers, 0, (4,), (1,))}, [numbers]),
        archived(state, [numbers]).replace(b"data", b"date"),
        empty.getvalue(),
    )
    for content in contents:
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(InputError, match="not a weight file of torch"):
            read_tensors(tmp_path / "w.pth")


def test_an_archive_whose_pickle_wants_more_than_tensors_is_refused(tmp_path):
    trace = tmp_path / "ran"
    (tmp_path / "evil.pth").write_bytes(archived({"w": Evil(os.system, f"touch {trace}")}, []))
    with pytest.raises(UnsafeModuleError, match=r"asks for `\w+\.\w+`, which is no tensor"):
        read_tensors(tmp_path / "evil.pth")
    assert not trace.exists()


class Evil:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["magic", "state", "keys"])
@pytest.mark.parametrize(
    ("function", "args"), [(os.system, ("touch {}",)), (eval, ("open('{}','w')",)), (open, ("{}", "w"))]
)
def test_a_pickle_that_wants_more_than_tensors_is_refused(tmp_path, place, function, args):
    trace = tmp_path / "ran"
    evil = Evil(function, *(a.format(trace) for a in args))
    file = io.BytesIO()
    for plain in (evil if place == "magic" else MAGIC, 1001, {"little_endian": True}):
        pickle.dump(plain, file, protocol=2)
    pickle.dump(collections.OrderedDict(w=evil) if place == "state" else {}, file, protocol=2)
    pickle.dump(evil, file, protocol=2)
    (tmp_path / "evil.pth").write_bytes(file.getvalue())
    with pytest.raises(UnsafeModuleError, match=r"asks for `\w+\.\w+`, which is no tensor"):
        read_tensors(tmp_path / "evil.pth")
    assert not trace.exists()


def test_a_name_reached_through_an_admitted_module_is_refused(tmp_path):
    file = io.BytesIO()
    for plain in (MAGIC, 1001, {"little_endian": True}):
        pickle.dump(plain, file, protocol=2)
    file.write(b"\x80\x04\x8c\x0bcollections\x8c\x20OrderedDict.__init__.__globals__\x93.")
    (tmp_path / "evil.pth").write_bytes(file.getvalue())
    with pytest.raises(UnsafeModuleError):
        read_tensors(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    "tensor",
    [
        lambda s: Tensor(s, 0, (4, 4), (4, 1)),
        lambda s: Tensor(s, -1, (1,), (1,)),
        lambda s: Tensor(s, 11, (2,), (-1,)),
        lambda s: Tensor(s, 0, (3, 4), (4,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, tensor):
    storage = Storage("0", np.arange(12, dtype="<f4"))
    (tmp_path / "w.pth").write_bytes(legacy({"w": tensor(storage)}, [storage]))
    with pytest.raises(InputError, match="damaged"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 zip", b"<html>", pickle.dumps(MAGIC + 1)])
def test_another_file_is_an_input_error(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match="not a weight file of torch"):
        read_tensors(tmp_path / "w.pth")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_always_an_input_error_or_other_numbers(tmp_path, data):
    whole = bytearray(sample())
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "w.pth").write_bytes(whole)
    try:
        tensors = read_tensors(tmp_path / "w.pth")
    except InputError:
        return
    assert all(isinstance(t, np.ndarray) for t in tensors.values())


# -- damage of every kind, each in one sentence, with bounded memory


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content cut off, with bytes flipped, left out, put in or said twice."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, length = int(rng.integers(0, max(1, len(changed)))), int(rng.integers(1, 9))
        kind = rng.integers(0, 6)
        if kind == 0:
            del changed[at:]
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = rng.bytes(length)
        elif kind == 3:
            changed[at:at] = changed[at : at + 8 * length]
        elif changed:
            changed[at % len(changed)] ^= int(rng.integers(1, 256))
    return bytes(changed)


def sample_archive(pickled=None):
    numbers, counts = Storage("7", np.arange(12, dtype="<f4")), Storage("9", np.array([5], "<i8"))
    state = {"net": {"turned": Tensor(numbers, 0, (4, 3), (1, 4)), "count": Tensor(counts, 0, (), ())}}
    return archived(state, [numbers, counts], pickled=pickled)


def pickle_of(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read("net/data.pkl")


def check_damage(path, content: bytes, same: dict | None):
    """Read it: the same tensors, or others where the format has no checksum, or one sentence."""
    path.write_bytes(content)
    try:
        tensors = read_tensors(path)
    except (InputError, UnsafeModuleError) as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000
        return
    assert sum(tensor.nbytes for tensor in tensors.values()) <= 8 * len(content)
    if same is not None:
        assert tensors.keys() == same.keys()
        assert all(np.array_equal(tensors[name], same[name]) for name in same)


def fuzz(path, seeds):
    whole, archive = sample(), sample_archive()
    pickled = pickle_of(archive)
    path.write_bytes(archive)
    same = read_tensors(path)
    tracemalloc.start()
    try:
        for seed in seeds:
            rng = np.random.default_rng(seed)
            check_damage(path, damaged(whole, rng), None)
            check_damage(path, damaged(archive, rng), same)
            check_damage(path, sample_archive(damaged(pickled, rng)), None)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_damage_of_files_and_archives_is_one_sentence(tmp_path):
    fuzz(tmp_path / "w.pth", range(200))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_much_damage(tmp_path):
    fuzz(tmp_path / "w.pth", range(1_000, 11_000))


def bombs():
    single = Storage("0", np.zeros(1, "<f4"))
    many = Storage("0", np.zeros(1 << 20, "<f4"))
    packed = io.BytesIO(archived({"w": Tensor(many, 0, (4,), (1,))}, [many]))
    deflated = io.BytesIO()
    with zipfile.ZipFile(packed) as plain, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as smaller:
        for name in plain.namelist():
            smaller.writestr(name, plain.read(name))
    return {
        "one number said often": archived({"w": Tensor(single, 0, (1 << 40,), (0,))}, [single]),
        "one storage in many tensors": archived(
            {str(i): Tensor(many, 0, (1 << 20,), (1,)) for i in range(1000)}, [many]
        ),
        "zeros that were packed": deflated.getvalue(),
        "a length beyond the end": sample()[:-16] + (1 << 36).to_bytes(8, "little") + bytes(8),
    }


@pytest.mark.parametrize(
    "name",
    ["one number said often", "one storage in many tensors", "zeros that were packed", "a length beyond the end"],
)
def test_a_small_file_does_not_fill_the_memory(tmp_path, name):
    (tmp_path / "w.pth").write_bytes(bombs()[name])
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="not a weight file of torch"):
            read_tensors(tmp_path / "w.pth")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_key_that_is_no_text_is_not_written_out(tmp_path):
    """A list that holds another twice, and so on, is small, and takes 2**40 letters to say."""
    nested: list = []
    for _ in range(40):
        nested = [nested, nested]
    storage = Storage(nested, np.zeros(1, "<f4"))
    (tmp_path / "w.pth").write_bytes(archived({"w": Tensor(storage, 0, (1,), (1,))}, []))
    with pytest.raises(InputError, match="no storage"):
        read_tensors(tmp_path / "w.pth")
