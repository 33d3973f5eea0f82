"""A method, Splits -> Splits: every group (a patient, a speaker) counts alike, however many examples it has."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

import tlkit


def by_group(data: tlkit.Splits) -> tlkit.Splits:
    """Training examples weighted by one over the size of their group, times the weights that they had; of mean 1.

    Raises:
        InputError: If the training examples have no groups.
    """
    train = data.train
    if not train.groups:
        raise tlkit.InputError("`by_group` needs examples with groups: read the data with `groups=`.")
    sizes = collections.Counter(train.groups)
    weights = np.array([1 / sizes[group] for group in train.groups]) * (1 if train.weights is None else train.weights)
    weights = (weights / weights.mean()).astype(np.float32)
    return dataclasses.replace(data, train=dataclasses.replace(train, weights=weights))
