"""Handles that other packages resolve: Kaggle, gs://, the zoo, keras.applications, and tensorflow_hub's import."""

import http.server
import json
import os
import subprocess
import sys
import threading
from http.client import IncompleteRead
from pathlib import Path

import modules
import numpy as np
import pytest

from tlkit import zoo
from tlkit.core.errors import DownloadError, InputError, OfflineError
from tlkit.hub import applications, open_module, resolve, resolving

ROOT = Path(__file__).parents[2]
NAME = "someone/tiny/tensorFlow2/feature-vector"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("TFHUB_CACHE_DIR", "TLKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kaggle(monkeypatch, module_folder):
    """A server that speaks as much of Kaggle's protocol as kagglehub asks for; kagglehub itself is the real one."""
    import kagglehub  # noqa: F401
    from kagglesdk import kaggle_env

    folder = module_folder("no_training")
    content = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            call = self.path.rsplit("/", 1)[1]
            asked.append(call)
            if request.get("modelSlug") != "tiny":
                return self._send(json.dumps({"code": 404, "message": "Not found"}).encode(), "application/json", 404)
            if call == "DownloadModelInstanceVersion":
                return self._send(content[request["path"]], "application/octet-stream")
            files = [{"name": n} for n in content]
            answer = {"GetModelInstance": {"versionNumber": 3}, "ListModelInstanceVersionFiles": {"files": files}}
            return self._send(json.dumps(answer[call]).encode(), "application/json")

        def _send(self, body, kind, status=200):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.TEST, address)
    yield asked
    server.shutdown()
    server.server_close()


def test_kaggle(kaggle, module_folder, tmp_path):
    module = open_module(f"kaggle:{NAME}")
    assert module.folder.is_relative_to(tmp_path / "kagglehub")
    assert module.sha256 == open_module(module_folder("no_training")).sha256
    asked = len(kaggle)
    assert asked > 2
    assert resolve(f"https://www.kaggle.com/models/{NAME}", offline=True) == module.folder
    assert len(kaggle) == asked, "the second call went to the server"


def test_a_damaged_kaggle_module_is_fetched_again(kaggle):
    folder = resolve(f"kaggle:{NAME}/3")
    (folder / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(OfflineError, match="damaged"):
        resolve(f"kaggle:{NAME}/3", offline=True)
    with pytest.warns(UserWarning, match="damaged"):
        again = resolve(f"kaggle:{NAME}/3")
    assert (again / "saved_model.pb").read_bytes() != b"damaged"


def test_kaggle_failures_are_one_sentence(kaggle):
    with pytest.raises(DownloadError, match=r"kaggle:someone/other/x/y/1 cannot be downloaded .*check the handle") as e:
        resolve("kaggle:someone/other/x/y/1")
    assert "\n" not in str(e.value)
    with pytest.raises(OfflineError, match="kaggle:someone/other/x/y/1 is not in the cache"):
        resolve("kaggle:someone/other/x/y/1", offline=True)


def test_google_storage(monkeypatch, module_folder):
    """TensorFlow's file in memory stands for the bucket; tensorflow_hub resolves the real handle."""
    import tensorflow as tf

    source = module_folder("vocabulary")
    for path in source.rglob("*"):
        if path.is_file():
            target = f"ram://bucket/model/{path.relative_to(source).as_posix()}"
            tf.io.gfile.makedirs(target.rpartition("/")[0])
            tf.io.gfile.copy(str(path), target, overwrite=True)
    hub = resolving.tensorflow_hub()
    monkeypatch.setattr(hub, "resolve", lambda handle: handle.replace("gs://", "ram://"))
    module = open_module("gs://bucket/model")
    assert module.sha256 == open_module(source).sha256
    assert resolve("gs://bucket/model", offline=True) == module.folder
    with pytest.raises(OfflineError):
        resolve("gs://bucket/other", offline=True)


def test_the_zoo(monkeypatch, module_folder):
    asked = []

    def folder(name, *, offline=None):
        asked.append((name, offline))
        return module_folder("keras3_hub")

    monkeypatch.setattr(zoo, "folder", folder)
    assert resolve("zoo:tiny", offline=True) == module_folder("keras3_hub")
    assert asked == [("tiny", True)]
    with pytest.raises(InputError, match="not what was expected"):
        resolve("zoo:tiny", sha256="0" * 64)


@pytest.mark.long
def test_tensorflow_hub_without_pkg_resources():
    """As with setuptools 82 and newer; nobody else gets to see the stand-in."""
    code = """
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pkg_resources":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
from tlkit.hub.tfhub import tensorflow_hub
assert "tensorflow" not in sys.modules
assert callable(tensorflow_hub().resolve)
assert tensorflow_hub() is sys.modules["tensorflow_hub"]
assert "pkg_resources" not in sys.modules
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("fine\n"), done.stderr[-2000:]


def test_importing_hub_imports_no_tensorflow():
    code = "import sys, tlkit.hub; assert not {'tensorflow', 'keras', 'requests', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# keras.applications


@pytest.mark.long
def test_an_application_by_name():
    with pytest.warns(UserWarning, match=r"MobileNet cannot be had \(downloads are switched off\).*RANDOM weights"):
        module = open_module("keras.applications:mobilenet/96", offline=True)
    assert module.card["input_range"] == [-1.0, 1.0]
    assert module.card["image_size"] == [96, 96]
    assert module.card["weights"] == "random"
    images = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    features = module.loaded(images, training=False).numpy()
    assert features.shape == (2, 1024)
    assert np.ptp(features) > 0.1
    with pytest.warns(UserWarning, match="RANDOM"):
        assert resolve("keras.applications:MobileNet/96", offline=True) == module.folder


@pytest.mark.parametrize(
    ("name", "input_range", "in_graph"),
    [
        ("VGG16", (0.0, 255.0), True),
        ("ResNet50", (0.0, 255.0), True),
        ("DenseNet121", (0.0, 255.0), True),
        ("InceptionV3", (-1.0, 1.0), False),
        ("ResNet50V2", (-1.0, 1.0), False),
        ("Xception", (-1.0, 1.0), False),
        ("NASNetMobile", (-1.0, 1.0), False),
        ("EfficientNetB0", (0.0, 255.0), False),
        ("EfficientNetV2B0", (0.0, 255.0), False),
        ("MobileNetV3Small", (0.0, 255.0), False),
        ("ConvNeXtTiny", (0.0, 255.0), False),
    ],
)
def test_what_range_an_application_takes(name, input_range, in_graph):
    scaling, takes = applications._scaling(name)
    assert takes == input_range
    assert (scaling is not None) == in_graph


def test_scaling_by_channel_goes_into_the_module(monkeypatch):
    """A one-layer stand-in for VGG16: the module must do to pixels what its preprocess_input does."""
    import keras

    def tiny(**_):
        image = keras.Input((8, 8, 3))
        return keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))

    monkeypatch.setattr(applications, "_model", lambda *_: tiny())
    module = open_module("keras.applications:VGG16/8")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    expected = keras.applications.vgg16.preprocess_input(pixels.copy()).mean((1, 2))
    np.testing.assert_allclose(module.loaded(pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("vgg", "VGG16"), ("ResNet", "ResNet50"), ("inception-v3", "InceptionV3"), ("efficientnet_b0", "EfficientNetB0")],
)
def test_friendly_names(said, meant):
    assert applications.full_name(said) == meant


def test_unknown_applications():
    with pytest.raises(InputError, match="has no 'MobileNetV9'; did you mean MobileNet"):
        resolve("keras.applications:MobileNetV9")
    with pytest.raises(InputError, match=r"reads keras\.applications:VGG16/160"):
        resolve("keras.applications:VGG16/big")


def test_weights_that_cannot_be_downloaded(monkeypatch):
    import keras

    def fails(*_, **__):
        raise Exception("URL fetch failure on https://host/weights.h5: None -- refused\nmore")

    monkeypatch.setattr(keras.applications, "MobileNetV2", fails)
    with pytest.raises(applications._NoWeightsError, match="URL fetch failure") as caught:
        applications._model("MobileNetV2", 96, "imagenet", False)
    assert "\n" not in str(caught.value)


def test_weights_of_another_size_or_family_at_hand_are_not_taken_for_these(monkeypatch, tmp_path):
    """Keras itself says which file it would take; without downloads no request leaves."""
    import keras

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    seen = []

    def get_file(name, origin, **_):
        seen.append(name)
        return keras.utils.get_file(name, "http://127.0.0.1:9/weights.h5", cache_dir=str(tmp_path))

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", get_file)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5").write_bytes(b"other")
    with pytest.raises(applications._NoWeightsError, match=r"^downloads are switched off$"):
        applications._model("MobileNetV2", 96, "imagenet", True)
    assert seen == ["mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"]


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError("timed out"), IncompleteRead(b"")])
def test_a_connection_that_breaks_gives_no_weights(monkeypatch, error):
    monkeypatch.setattr("keras.applications.MobileNetV2", lambda **_: raised(error))
    with pytest.raises(applications._NoWeightsError):
        applications._model("MobileNetV2", 96, "imagenet", False)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("Incomplete or corrupted file detected. The md5 file hash"), InputError),
        (ValueError("Input size must be at least 71x71"), InputError),
        (OSError(28, "No space left on device"), OSError),
    ],
)
def test_what_else_is_wrong_with_an_application_is_said_and_gives_no_random_weights(monkeypatch, error, said):
    monkeypatch.setattr("keras.applications.MobileNetV2", lambda **_: raised(error))
    for weights in ("imagenet", None):
        with pytest.raises(said, match=str(error.args[-1])[:20]):
            applications._model("MobileNetV2", 96, weights, False)


def raised(error):
    raise error


def test_an_application_of_images_that_are_too_small_is_one_sentence():
    with pytest.raises(InputError, match="cannot make Xception for images of 8x8: Input size must be at least 71x71"):
        open_module("keras.applications:Xception/8", offline=True)


def test_fixture_kinds_are_as_assumed():
    assert {"no_training", "vocabulary", "keras3_hub"} <= set(modules.WRITERS)
