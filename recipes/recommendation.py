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
    user: str = "user",
    item: str = "item",
    rating: str = "rating",
    time: str = "time",
    title: str = "title",
    image: str | None = None,
    modules: tuple[str, ...] = ("zoo:minilm-l6-v2",),
    k: int = 10,
    min_rating: float | None = None,
    cold: float = 0.1,
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

    Scores: `ndcg_at_10`, `recall_at_10` and `coverage` of each user's last item among all; `cold_...` of held-out items
    among themselves; with `_popularity`, `_neighbours` (of items) and `_factors` those of what it is compared with.

    Args:
        data: Table of who took what when: users, items, times, and ratings (without them, events).
        items: Table of the items, and of what describes them.
        out: Folder of the run.
        user: Column of the users.
        item: Column of the items, in both tables.
        rating: Column of the ratings.
        time: Column of the times.
        title: Column of what people read of an item.
        image: Column of paths of the items' images, from their table's folder on.
        modules: Handles of frozen modules that tell by texts or images how like a new item is to known ones; "columns"
            takes the columns as they are.
        k: Items given.
        min_rating: Ratings below it are left out; without it each is a sign of interest.
        cold: Share of the items that is held out to measure what new items are worth; 0 learns from all.
        width: Of the vectors.
        history: Items of a user that the model sees, and does not give again.
        encoding: Python's name of the tables' encoding.
        epochs: Passes over the training examples.
        lr: Peak learning rate.
        batch_size: Histories a step.
        seed: Of the held-out items, the weights and the order of examples.
        export: Which files to write.
    """
    catalogue = tlkit.data.ratings.catalogue(items, item=item, title=title, image=image, encoding=encoding)
    splits = tlkit.data.ratings.from_table(
        data, catalogue, user=user, item=item, rating=rating, time=time,
        min_rating=min_rating, history=history, cold=cold, encoding=encoding, seed=seed,
    )  # fmt: skip
    readers = [None if name == "columns" else name for name in modules]
    described = tlkit.methods.item_vectors(catalogue, readers)  # first: it refuses before training
    backbone = tlkit.data.ratings.module(splits, width=width, seed=seed)
    phases = tlkit.plans.whole(epochs=epochs, lr=lr, weight_decay=1e-2)
    task = tlkit.tasks.recommend(catalogue.titles, k=k)
    run = tlkit.finetune(backbone, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    run = tlkit.methods.beside_popularity(run, seed=seed)
    run = tlkit.methods.new_items(run, catalogue, described)
    return tlkit.export(tlkit.save(run, out, seed=seed), formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
