"""Inspect images or recordings: good ones alone become a detector of what is unlike them, on a phone.

tlkit run anomaly_detection --data screws --out runs/screws
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tlkit


def main(
    data: Path | None = None,
    module: str | None = None,
    out: Path = Path("runs/anomaly_detection"),
    detector: Literal["choose", "padim", "padim_shared", "patchcore"] = "choose",
    image_size: tuple[int, int] | None = None,
    seconds: float = 1.0,
    windows: Literal["all", "first"] = "all",
    strides: tuple[int, ...] = (8, 16),
    n_features: int = 50,
    coreset_sampling_ratio: float = 0.01,
    num_neighbors: int = 1,
    false_alarm_rate: float = 0.05,
    seed: int = 0,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "dynamic")),
) -> tlkit.Run:
    """Fit a detector to good images or recordings, judge it by bad ones and export the result.

    Args:
        data: Folder with good/, and to judge by bad/ (folders inside are kinds of faults) and, of images, masks/ of the
            same paths; without it, synthetic images of a coin. Recordings (.wav, .flac and the like) are read in
            windows, each an example of its own, and the detector is tasks.sequence_anomalies.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...; by default
            zoo:efficientnet-lite0, and zoo:log-spectrum of recordings.
        out: Folder of the run.
        detector: "choose" compares the others on synthetic faults. padim is for parts that always lie in the same
            place, padim_shared and patchcore are for textures and for parts that lie anywhere.
        image_size: Height and width at which images are read; by default the module's own.
        seconds: Of recordings: length of a window. All windows of a bad recording count as bad: where a fault is
            shorter than its recording, choose the length of the recording.
        windows: Of recordings: "all" of each, silent ones aside, or the "first".
        strides: Pixels of the image per place of the feature maps that the detector reads.
        n_features: Of padim: directions that are left of the features.
        coreset_sampling_ratio: Of patchcore: share of the good images' places that are kept.
        num_neighbors: Of patchcore: nearest places whose distances are averaged.
        false_alarm_rate: Share of good images that may be called anomalous.
        seed: Of the division and of the synthetic faults.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
    """
    if data is not None and tlkit.data.sequence_anomalies.holds_recordings(data / "good"):
        if detector != "choose" or image_size is not None:
            raise tlkit.InputError(f"{str(data / 'good')!r} holds recordings: leave out --detector and --image-size.")
        bad = data / "bad" if (data / "bad").is_dir() else None
        splits = tlkit.data.sequence_anomalies.from_recordings(
            data / "good", bad, seconds=seconds, windows=windows, seed=seed, strict=strict
        )
        task = tlkit.tasks.sequence_anomalies(false_alarm_rate=false_alarm_rate)
        run = tlkit.finetune(module or "zoo:log-spectrum", task, splits, out=out, seed=seed)
        return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)
    if data is None:
        splits = tlkit.datasets.inspected.parts(seed=seed)
    else:
        bad, masks = (folder if (folder := data / name).is_dir() else None for name in ("bad", "masks"))
        splits = tlkit.data.anomalies.from_folder(
            data / "good", bad, masks, image_size=image_size, seed=seed, strict=strict
        )
    rate = false_alarm_rate
    if detector == "choose":
        task = tlkit.tasks.anomalies(strides, false_alarm_rate=rate)
    elif detector == "patchcore":
        task = tlkit.tasks.patchcore(strides, coreset_sampling_ratio, num_neighbors, false_alarm_rate=rate)
    else:
        task = tlkit.tasks.padim(strides, n_features, shared=detector == "padim_shared", false_alarm_rate=rate)
    run = tlkit.finetune(module or "zoo:efficientnet-lite0", task, splits, out=out, seed=seed, image_size=image_size)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
