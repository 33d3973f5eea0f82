"""Recommend items: who took what when becomes a file that takes a history and gives the ten items likeliest next.

tlkit run recommendation --data ratings.csv --items items.csv --out runs/films
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path,
    items: Path,
    out: Path = Path("runs/recommendation"),
    features: tuple[str, ...] = ("texts",),
    texts: str = "zoo:minilm-l6-v2",
    image: str | None = None,
    image_module: str = "zoo:efficientnet-lite0",
    k: int = 10,
    min_rating: float | None = None,
    cold: float = 0.1,
    neighbours: int = 20,
    width: int = 64,
    history: int = 256,
    encoding: str | None = None,
    epochs: int = 10,
    lr: float = 2e-3,
    batch_size: int = 512,
    seed: int = 0,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "float16")),
) -> tlkit.Run:
    """Learn what comes next in histories, give new items vectors by what they are like, and export the result.

    Scores: `ndcg_at_10` and `recall_at_10` of each user's last item among all; `cold_...` of held-out items among
    themselves; with `_popularity`, `_neighbours` (of items) and `_factors` those of what it is compared with.

    Args:
        data: Table of `user`, `item`, `rating` (or without it, events) and `time`.
        items: Table of `item`, `title`, and what else describes an item.
        out: Folder of the run.
        features: What tells how like a new item is to known ones: of texts, images and columns (as they are) any.
        texts: Handle of the frozen module that reads the items' texts.
        image: Column of paths of the items' images, from their table's folder on.
        image_module: Handle of the frozen module that reads them.
        k: Items given.
        min_rating: Ratings below it are left out; without it each is a sign of interest.
        cold: Share of the items that is held out to measure what new items are worth.
        neighbours: Known items that a new one takes its vector from.
        width: Of the vectors.
        history: Items of a user that the model sees, and does not give again.
        encoding: Python's name of the tables' encoding.
        epochs: Passes over the training examples.
        lr: Peak learning rate.
        batch_size: Histories a step.
        seed: Of the held-out items, the weights and the order of examples.
        export: Which files to write.
    """
    if unknown := set(features) - {"texts", "images", "columns"}:
        raise tlkit.InputError(f"`features` are of texts, images and columns. Received: {', '.join(sorted(unknown))}.")
    if ("images" in features) != (image is not None):
        raise tlkit.InputError("`--features images` and `--image COLUMN` go together: give both, or none.")
    catalogue = tlkit.data.ratings.catalogue(items, image=image, encoding=encoding)
    splits = tlkit.data.ratings.from_table(
        data, catalogue, min_rating=min_rating, history=history, cold=cold, encoding=encoding, seed=seed
    )
    handles = {"texts": texts, "images": image_module, "columns": None} if cold else {}
    readers = [handle and tlkit.HubLayer(handle) for name, handle in handles.items() if name in features]  # first
    backbone = tlkit.data.ratings.module(splits, width=width, seed=seed)
    phases = tlkit.plans.whole(epochs=epochs, lr=lr, weight_decay=1e-2)
    task = tlkit.tasks.recommend(catalogue.titles, k=k)
    run = tlkit.finetune(backbone, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    run = tlkit.methods.beside_popularity(run, seed=seed)
    if readers:
        module = readers if len(readers) > 1 else readers[0]
        run = tlkit.methods.new_items(run, catalogue, module, neighbours=neighbours)
    return tlkit.export(tlkit.save(run, out, seed=seed), formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
