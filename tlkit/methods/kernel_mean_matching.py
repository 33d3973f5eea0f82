"""KMM: weights of the source's examples by which its mean in a kernel's space is that of the target."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tlkit.core.checks import check_positive
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.methods import mixing
from tlkit.methods.parts import instances

TOLERANCE = 1e-5  # of half the squared discrepancy, whose own chance variation is about 1 / n
STEPS = 5000


def kmm(
    source: Splits,
    target: Splits,
    backbone: Any = None,
    *,
    width: float | None = None,
    bound: float = 10.0,
    slack: float | None = None,
    batch_size: int = 32,
) -> Splits:
    """Kernel mean matching: weight the source's training examples so that their inputs look like the target's.

    It assumes that only the inputs are distributed differently (the label of an input is the same in both domains) and
    that the source has examples wherever the target has. No label of the target is read. The kernel's matrix takes
    8 n^2 bytes: 0.8 GB for 10,000 training examples of the source.

    Args:
        source: Labelled splits.
        target: Splits of the other domain, read alike; of training the inputs are used, the test becomes the result's.
        backbone: Module whose features are matched, a HubLayer or what that takes as handle; None matches the
            examples' own arrays, flattened. Columns are brought to one scale first.
        width: Of the Gaussian kernel, > 0; None is the median distance of two examples, in many dimensions less: down
            to a third of it, as distances there vary little.
        bound: Largest weight before the mean is made 1, > 0; the paper took 1000, by which a few examples can
            outweigh all others.
        slack: How far the mean weight may lie from 1 while matching, >= 0; None is (sqrt(n) - 1) / sqrt(n).
        batch_size: Examples at a time through the module.

    Returns:
        The source's splits with `weights` of mean 1 on the training examples (times those they had), the target's
        test, and the effective sample size among the notes.

    Raises:
        InputError: If an argument is out of its range, or the domains are not read alike.

    Source: Huang et al. 2006, "Correcting Sample Selection Bias by Unlabeled Data" (NIPS 19), eq. 12.
    """
    check_positive(width=width, bound=bound)
    if slack is not None and not slack >= 0:
        raise InputError(f"`slack` must be 0 or more. Received: slack={slack!r}.")
    mixing.check_domains(source, target)
    source_rows, target_rows = instances.both_domains(source, target, backbone, batch_size)
    scale = width or instances.kernel_width(np.concatenate([source_rows, target_rows]))
    kernel = instances.gaussian(source_rows, source_rows, scale)
    kappa = len(source_rows) * instances.gaussian(source_rows, target_rows, scale).mean(axis=1)
    free = (math.sqrt(len(source_rows)) - 1) / math.sqrt(len(source_rows)) if slack is None else slack
    return instances.weighted(instances.for_target(source, target), matched(kernel, kappa, bound, free), "kmm")


def matched(kernel: np.ndarray, kappa: np.ndarray, bound: float, slack: float) -> np.ndarray:
    """The weights b that minimise b'Kb / 2 - kappa'b, with 0 <= b_i <= bound and |mean(b) - 1| <= slack.

    Accelerated projected gradient with restarts; it ends when the Frank-Wolfe gap, which bounds the distance from the
    optimum, is below TOLERANCE in units of the squared discrepancy.

    Args:
        kernel: float (n, n), positive semidefinite, entries >= 0.
        kappa: float (n,): n / m times the sum of the kernel of each example with the m of the target (eq. 12).
        bound: B of the paper.
        slack: epsilon of the paper.

    Source: Beck and Teboulle 2009 (FISTA), with the restarts of O'Donoghue and Candes 2015, arXiv:1204.3982.
    """
    n = len(kappa)
    sums = n * max(0.0, 1 - slack), n * (1 + slack)
    if n * bound < sums[0]:
        raise InputError(f"`bound` must let the mean reach {1 - slack:.3g}. Received: bound={bound!r}.")
    rate = 1.0 / kernel.sum(axis=1).max()  # of a matrix without negative entries no eigenvalue exceeds a row's sum
    b = ahead = projected(np.ones(n), bound, sums)
    momentum = 1.0
    for step in range(STEPS):
        new = projected(ahead - rate * (kernel @ ahead - kappa), bound, sums)
        if (ahead - new) @ (new - b) > 0:  # it runs uphill
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - b)
        b, momentum = new, following
        if step % 10 == 0 and gap(kernel @ b - kappa, b, bound, sums) <= TOLERANCE * n**2:
            break
    return np.asarray(b)


def projected(point: np.ndarray, bound: float, sums: tuple[float, float]) -> np.ndarray:
    """The nearest point with entries in [0, bound] and a sum within `sums`: clip(point - shift), shift by bisection."""
    clipped = np.clip(point, 0.0, bound)
    if sums[0] <= clipped.sum() <= sums[1]:
        return np.asarray(clipped)
    total = sums[0] if clipped.sum() < sums[0] else sums[1]
    low, high = point.min() - bound, point.max()
    for _ in range(60):
        shift = (low + high) / 2
        low, high = (shift, high) if np.clip(point - shift, 0.0, bound).sum() > total else (low, shift)
    return np.asarray(np.clip(point - high, 0.0, bound))


def gap(gradient: np.ndarray, b: np.ndarray, bound: float, sums: tuple[float, float]) -> float:
    """Largest fall that the gradient promises within the constraints; never less than what is left to gain."""
    order = np.sort(gradient)
    filled = np.clip(sums[1] - bound * np.arange(len(order)), 0.0, bound)
    needed = np.clip(sums[0] - bound * np.arange(len(order)), 0.0, bound)
    lowest = np.where(order < 0, filled, needed) @ order
    return float(gradient @ b - lowest)
