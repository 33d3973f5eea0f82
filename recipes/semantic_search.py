"""Search texts by what they mean: a folder of texts or a table, and a pretrained module, become an index.

tlkit run semantic_search --data reviews.csv --query "the battery died" "sounds great" --out runs/search
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tlkit
from tlkit.core.files import write_atomic

EXAMPLES = ("the battery does not last", "a moving love story", "I want my money back")


def main(
    data: Path | None = None,
    query: tuple[str, ...] = EXAMPLES,
    module: str = "zoo:minilm-l6-v2",
    out: Path = Path("runs/semantic_search"),
    text: str = "text",
    k: int = 5,
    length: int | None = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Index texts and answer queries; the index is kept in OUT/index, the answers in OUT/answers.json.

    Args:
        data: Folder of text files, or a table (CSV, TSV, JSONL, Parquet); without it, sentences of product and movie
            reviews (vaderSentiment's, MIT).
        query: What to look for; several may follow each other.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the index and the answers.
        text: Name of the table's column of texts.
        k: Texts found for each query.
        length: Word pieces at which texts are cut; None cuts at 512 only.
        batch_size: Texts at a time.
    """
    index = tlkit.index(module, _texts(data, text), length=length, batch_size=batch_size).save(out / "index")
    hits = index.nearest(query, k)
    for question, best in zip(query, hits, strict=True):
        print(f"\n{question}", file=sys.stderr)
        for hit in best:
            print(f"  {hit.score:6.3f}  {hit.id:<12} {' '.join(hit.text.split())[:90]}", file=sys.stderr)
    answers = [{"query": q, "hits": [h._asdict() for h in best]} for q, best in zip(query, hits, strict=True)]
    record = {"texts": len(index), "made_by": asdict(index.made_by), "answers": answers}
    write_atomic(out / "answers.json", json.dumps(record, indent=1, ensure_ascii=False))
    return record


def _texts(data: Path | None, text: str) -> tlkit.Examples:
    if data is not None:
        return tlkit.data.collection.texts(data, text=text).train
    kinds = ("products", "movies")
    return tlkit.data.collection.joined({k: tlkit.datasets.reviews.sentences(k, split=(1, 0, 0)).train for k in kinds})


if __name__ == "__main__":
    tlkit.flags.cli(main)
