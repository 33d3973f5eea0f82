"""Recognise speech: recordings with texts and a pretrained module become a model that writes down what is said.

tlkit run speech_recognition --data clips.csv --out runs/speech
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:whisper-tiny-en",
    out: Path = Path("runs/speech_recognition"),
    path: str = "path",
    text: str = "text",
    groups: str = "text",
    window_s: float = 10.0,
    longest: int = 96,
    epochs: int = 4,
    lr: float = 5e-5,
    unfrozen: float = 0.25,
    batch_size: int = 8,
    seed: int = 0,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(),
) -> tlkit.Run:
    """Adapt the top of a module's decoder to recordings, judge it by texts that were not trained on, and export it.

    Scores are word and character error rates, before training ("wer_before") and after.

    Args:
        data: Table with the columns path and text; without it, telephone prompts that one woman reads.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        path: Name of the column of the recordings' paths.
        text: Name of the column of what is said.
        groups: What stays in one part: "text", or the name of a column such as speaker.
        window_s: Seconds that are heard at a time; longer recordings are left out. The module was trained on 30, which
            cost eight times as much as 10.
        longest: Most tokens that are written for a window.
        epochs: Passes over the training recordings.
        lr: Peak learning rate.
        unfrozen: Share of the module's depth that trains; what lies before is computed once.
        batch_size: Recordings a step.
        seed: Of the split, and of the order of recordings.
        strict: Fail on a broken recording instead of leaving it out.
        export: Which files to write. `max_drop` is the rise of the word error rate that a file of 8 bits may show.
    """
    if data is None:
        splits = tlkit.datasets.prompts.asterisk(window_s=window_s, seed=seed)
    else:
        splits = tlkit.data.speech.from_csv(
            data, path=path, text=text, groups=groups, window_s=window_s, seed=seed, strict=strict
        )
    phases = (tlkit.Phase(epochs, lr, unfrozen=unfrozen, warmup=0.1, cosine=True),)
    task = tlkit.tasks.transcribe(longest)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
