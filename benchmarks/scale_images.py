"""The cost model of scale.py against a run: what small runs predict for 20,000 images, and what they take, as JSON.

    python benchmarks/scale_images.py --images 20000 --out benchmarks/results/scale_images.json

Generated JPEGs of 224 x 224, read at --side; the head of zoo:efficientnet-lite0 for two epochs; each process fresh,
with an empty cache and one thread for TensorFlow and LiteRT. One process over 3,000 and over 6,000 images gives the
seconds an image and those that do not depend on the images. From these follows what one process takes for all images,
and what each of two workers takes, which share features and steps but not the preflight. All are CPU seconds, as the
machine has other work; so what waits for the network is not in them. Bytes that this process keeps of each example
are measured too. --resume goes on behind the runs that --out holds.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import HERE, MACHINE
from scale import free_port
from scale_worker import CLASSES, picture

SMALL, EPOCHS = (3_000, 6_000), 2  # so many that LiteRT pays, as it does for more
STAGES = ("preflight", "features", "epoch")


def child(folder: Path, module: str, side: int, out: Path) -> None:
    """One process, alone or a worker of TF_CONFIG: its CPU seconds by stage."""
    os.cpu_count = lambda: 1  # LiteRT takes as many threads
    import keras
    import tensorflow as tf

    import tlkit

    strategy = tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else None
    layer = tlkit.HubLayer(module, name="backbone")
    marks = [time.process_time()]
    data = tlkit.data.image.from_folder(folder, image_size=(side, side), progress=False)
    marks.append(time.process_time())
    keras.utils.set_random_seed(0)  # workers begin with the same head
    task = tlkit.tasks.classify(data.labels)
    model = tlkit.build(layer, task, image_size=(side, side))
    marks.append(time.process_time())

    def begun(epoch, logs=None):
        marks.append(time.process_time())

    watch = keras.callbacks.LambdaCallback(on_epoch_begin=begun)
    chief = strategy is None or strategy.cluster_resolver.task_id == 0  # callbacks watch there alone
    plan = tlkit.plans.feature_extraction(EPOCHS)
    fitted = tlkit.fit(model, task, data, plan, callbacks=[watch], strategy=strategy)
    done = time.process_time()
    figures = {"start": marks[0], "preflight": marks[1] - marks[0], "all": done}
    if chief:
        figures |= {"features": marks[3] - marks[2], "epoch": done - marks[-1], "front": fitted.phases[0].had["front"]}
    out.write_text(json.dumps(figures))


def run(folder: Path, module: str, side: int, workers: int = 1) -> list[dict]:
    """Figures of each process over the images of a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        env = os.environ | threads | {"TLKIT_CACHE": scratch}
        addresses, processes = [f"127.0.0.1:{free_port()}" for _ in range(workers)], []
        outs = [Path(scratch) / f"{index}.json" for index in range(workers)]
        for index, out in enumerate(outs):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            words = ["--child", str(folder), module, str(side), str(out)]
            mine = env | ({"TF_CONFIG": json.dumps(config)} if workers > 1 else {})
            processes.append(subprocess.Popen([sys.executable, __file__, *words], env=mine, stdout=sys.stderr))
        assert [process.wait() for process in processes] == [0] * workers
        return [json.loads(out.read_text()) for out in outs]


def written(folder: Path, count: int) -> Path:
    """So many images in folders of their classes."""
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(lambda number: picture(folder, number), range(count)))
    return folder


def example_bytes(folder: Path, counts: tuple[int, int] = (2_000, 6_000)) -> float:
    """Bytes that a process keeps of an example in a folder: names, hashes, places, targets; by two counts of them."""
    from PIL import Image

    import tlkit

    sizes = []
    for count in (10, *counts):  # the first imports what is needed
        for number in range(count):
            target = folder / str(count) / f"class{number % 2}" / f"{number:08}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (1, 1)).save(target)
        tracemalloc.start()
        data = tlkit.data.image.from_folder(folder / str(count), image_size=(8, 8), progress=False)
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        del data
    return (sizes[2] - sizes[1]) / (counts[1] - counts[0])


def model_of(small: dict[int, dict]) -> dict[str, dict[str, float]]:
    """Seconds of each stage that every image takes, and that are there without any."""
    (few, first), (more, second) = sorted(small.items())
    each = {stage: (second[stage] - first[stage]) / (more - few) for stage in STAGES}
    return {"image": each, "fixed": {stage: first[stage] - few * each[stage] for stage in STAGES}}


def predicted(model: dict, images: int, workers: int) -> dict[str, float]:
    """Seconds of each stage for one of the workers; each checks all images."""
    share = {"preflight": 1.0, "features": 1 / workers, "epoch": 1 / workers}
    return {stage: model["fixed"][stage] + images * model["image"][stage] * share[stage] for stage in STAGES}


def compared(model: dict, images: int, outcomes: list[dict]) -> dict:
    """What was predicted and measured; the second worker tells no stages behind the preflight."""
    expected = predicted(model, images, len(outcomes))
    chief = {stage: outcomes[0][stage] for stage in STAGES}
    together = {name: sum(figures.values()) for name, figures in (("predicted", expected), ("measured", chief))}
    return {
        "workers": len(outcomes),
        "predicted": expected,
        "measured": chief,
        "measured_over_predicted": together["measured"] / together["predicted"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--child", nargs=4, metavar=("FOLDER", "MODULE", "SIDE", "OUT"))
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scale_images.json")
    options = parser.parse_args()
    if options.child:
        folder, module, side, out = options.child
        child(Path(folder), module, int(side), Path(out))
        return
    from tlkit import zoo

    module, side, total = str(zoo.folder("efficientnet-lite0")), options.side, options.images
    held = json.loads(options.out.read_text()) if options.resume else {"side": side, "runs": {}}
    if held.get("side") != side:
        raise SystemExit(
            f"{options.out} holds runs of images of another side: leave out --resume, or give that --side."
        )
    runs = held["runs"]
    with tempfile.TemporaryDirectory() as scratch:
        for count, workers in (*((count, 1) for count in SMALL), (total, 1), (total, 2)):
            if (name := f"{count} images, {workers} workers") not in runs:
                folder = Path(scratch) / str(count)
                runs[name] = run(folder if folder.exists() else written(folder, count), module, side, workers)
                options.out.write_text(json.dumps({"side": side, "runs": runs}, indent=1))
        kept_bytes = example_bytes(Path(scratch) / "tiny")
    model = model_of({count: runs[f"{count} images, 1 workers"][0] for count in SMALL})
    checks = [compared(model, total, runs[f"{total} images, {workers} workers"]) for workers in (1, 2)]
    record = {"machine": MACHINE, "load": os.getloadavg()[1], "images": total, "side": side, "model": model}
    record |= {"example_bytes": kept_bytes, "checks": checks, "runs": runs}
    options.out.write_text(json.dumps(record, indent=1))
    print(options.out.read_text())


if __name__ == "__main__":
    main()
