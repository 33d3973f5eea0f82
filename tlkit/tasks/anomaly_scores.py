"""What detectors of anomalies are measured by, a batch at a time: histograms of pixels are kept, not maps.

Values of maps go into bins whose ends are 1 % apart, so areas under curves are right to about .001.
"""

from __future__ import annotations

import base64
import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers import drawing
from tlkit.answers.anomaly import ANOMALY_MAP, PRED_SCORE, REACH
from tlkit.core.examples import Examples
from tlkit.core.task import Decoded, Evaluation
from tlkit.data.anomalies import GOOD, KIND
from tlkit.tasks import metrics

THRESHOLD = "threshold_of_good"  # among the details: the raw score that good examples set
WORST, SIDE = 6, 160  # images of each kind of mistake that the report shows, and the longest side of each in pixels
BINS, PER_DOUBLING = 2560, 64  # values from 2^-20 to 2^20
FALSE_POSITIVES = 0.3  # share of normal pixels up to which the overlap of regions is averaged


class AnomalyScorer:
    """Areas under the curves of images, of pixels and of regions; what the threshold finds, misses and gets wrong.

    Intervals are a bootstrap over images.

    Source: Bergmann et al. 2021, doi:10.1007/s11263-020-01400-4 (per-region overlap, up to a false positive rate .3).
    """

    def __init__(
        self, false_alarm_rate: float, threshold: float | None, tried: Sequence[Mapping[str, Any]] | None
    ) -> None:
        self.rate, self.threshold, self.tried = false_alarm_rate, threshold, tried
        self.ids: list[str] = []
        self.kinds: list[str] = []
        self.bad: list[bool] = []
        self.scores: list[float] = []
        self.pixels: list[np.ndarray] = []  # of each image (2, BINS): normal and faulty pixels
        self.regions: list[np.ndarray] = []  # of each image (1 + BINS): faulty regions, and the sum of their shares
        self.drawn: dict[str, list[tuple[float, int, dict[str, Any]]]] = {"missed": [], "alarm": []}

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some images."""
        kinds = examples.columns.get(KIND)
        for row, name in enumerate(examples.ids):
            mask = np.asarray(examples.targets[row])
            heat, score = decoded[ANOMALY_MAP][row], float(decoded[PRED_SCORE][row])
            bad = bool(mask.any())
            bins = _bins(heat)
            self.pixels.append(np.stack([_counts(bins[mask == side]) for side in (0, 1)]))
            self.regions.append(_region_shares(mask, bins))
            self.ids.append(name)
            self.kinds.append(str(kinds[row]) if kinds is not None else "bad" if bad else GOOD)
            self.bad.append(bad)
            self.scores.append(score)
            self._keep(name, bad, score, mask, heat)

    def _keep(self, name: str, bad: bool, score: float, mask: np.ndarray, heat: np.ndarray) -> None:
        """Of the bad images those of the lowest scores, of the good ones those of the highest."""
        worst = self.drawn["missed" if bad else "alarm"]
        order = score if bad else -score
        if len(worst) < WORST or order < worst[-1][0]:
            entry = {"id": name, "kind": self.kinds[-1], "score": score, "mask": mask, "map": heat}
            worst.append((order, len(self.ids), entry))
            worst.sort(key=lambda ranked: ranked[:2])
            del worst[WORST:]

    def result(self) -> Evaluation:
        """Scores image_auroc, pixel_auroc and pro, each with its interval, where there are good and bad ones; and with
        a threshold f1, precision, recall and false_alarms.
        """
        bad, scores = np.array(self.bad), np.array(self.scores)
        has_both = 0 < bad.sum() < len(bad)
        figures = self._curves(bad, scores) if has_both else {}
        figures |= {} if self.threshold is None else self._decisions(bad, scores)
        name = "image_auroc" if "image_auroc" in figures else "false_alarms"
        headline = (
            metrics.headline(name, "Image AUROC", "bootstrap")
            if name == "image_auroc"
            else metrics.headline(name, "False alarms", "Wilson", lower_is_better=True)
        )
        details: dict[str, Any] = {
            **({"headline": headline} if name in figures else {}),
            **({"example_scores": wins(bad, scores).tolist()} if has_both else {}),
            THRESHOLD: threshold_of(scores[~bad], self.rate),
            "faults": self._by_kind(bad, scores),
            "tried": list(self.tried or ()),
            "anomalies": {"judged": self.threshold is not None, "images": self._images()},
        }
        return Evaluation(metrics.finite(figures), details)

    def _curves(self, bad: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        pixels, regions = np.stack(self.pixels), np.stack(self.regions)
        statistics: dict[str, Callable[[np.ndarray], float]] = {
            "image_auroc": lambda drawn: metrics.roc_auc(bad[drawn], scores[drawn])
        }
        if pixels[:, 1].any():
            used = np.flatnonzero(pixels.any(axis=(0, 1)))
            pixels = pixels[..., used].astype(np.float64)
            regions = regions[:, [0, *(1 + used)]]
            statistics["pixel_auroc"] = functools.partial(_drawn, lambda px, _: area(px[0], px[1]), pixels, regions)
            statistics["pro"] = functools.partial(
                _drawn, lambda px, shares: region_overlap(px[0], shares), pixels, regions
            )
        indices, curves = np.arange(len(bad)), dict[str, float]()
        for name, statistic in statistics.items():
            curves |= metrics.with_interval(name, statistic(indices), metrics.bootstrap(statistic, len(bad)))
        return curves

    def _decisions(self, bad: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        """What scores above 1, the threshold, mean."""
        flagged = scores > 1
        hits = float((flagged & bad).sum())
        precision, recall, f1 = metrics.precision_recall_f1(*(np.array([n]) for n in (hits, flagged.sum(), bad.sum())))
        decisions = {"threshold": float(self.threshold or 0.0)}
        if bad.any():
            decisions |= {"f1": float(f1[0]), "precision": float(precision[0]), "recall": float(recall[0])}
        if not bad.all():
            alarms, good = int((flagged & ~bad).sum()), int((~bad).sum())
            decisions |= metrics.with_interval("false_alarms", alarms / good, metrics.wilson(alarms, good))
        return decisions

    def _by_kind(self, bad: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
        good, kinds = scores[~bad], np.array(self.kinds)
        if not bad.any() or not len(good):
            return {}
        rows = []
        for kind in sorted(set(kinds[bad].tolist())):
            of_kind = scores[bad & (kinds == kind)]
            labels = np.repeat([False, True], [len(good), len(of_kind)])
            auroc = metrics.roc_auc(labels, np.concatenate([good, of_kind]))
            rows.append(
                {"kind": kind, "images": len(of_kind), "image_auroc": auroc, "found": float((of_kind > 1).mean())}
            )
        return {"rows": rows, "judged": self.threshold is not None, "false_alarms": float((good > 1).mean())}

    def _images(self) -> list[dict[str, Any]]:
        drawn = [entry for kind in ("missed", "alarm") for _, _, entry in self.drawn[kind]]
        highest = max((float(entry["map"].max()) for entry in drawn), default=1.0)
        reach = REACH if self.threshold is not None else max(highest, 1e-9)
        return [
            {**{key: entry[key] for key in ("id", "kind", "score")}, "map": _png(drawing.heat(entry["map"], reach)),
             "mask": _mask_png(entry["mask"]) if (entry["mask"] == 1).any() else ""}
            for entry in drawn
        ]  # fmt: skip


def areas(scorer: AnomalyScorer) -> tuple[float, float]:
    """AUROC of images and of pixels of what a scorer took in, without intervals."""
    pixels = np.stack(scorer.pixels).sum(axis=0).astype(np.float64)
    return metrics.roc_auc(np.array(scorer.bad), np.array(scorer.scores)), area(pixels[0], pixels[1])


def wins(bad: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float64 (n,): of each bad example the share of good ones that score lower, of each good one of bad ones that
    score higher, ties counted half; its mean is the area under the curve.

    Example:
        >>> wins(np.array([False, False, True]), np.array([1.0, 3.0, 2.0])).tolist()
        [1.0, 0.0, 0.5]
    """
    shares = np.zeros(len(scores))
    for side, sign in ((True, 1), (False, -1)):
        others = np.sort(sign * scores[bad != side])
        scored = sign * scores[bad == side]
        shares[bad == side] = (
            (np.searchsorted(others, scored) + np.searchsorted(others, scored, "right")) / 2 / len(others)
        )
    return shares


def threshold_of(good: np.ndarray, rate: float) -> float | None:
    """The score that a new good example exceeds with a chance of `rate` at most, or as near as so many good ones allow.

    It is the k-th lowest of n scores, k = ceil((n + 1) (1 - rate)); the highest where k is more than n.

    Args:
        good: float (n,) scores of good examples that nothing was fitted on.
        rate: In (0, 1).

    Example:
        >>> threshold_of(np.arange(1.0, 20.0), 0.1), threshold_of(np.array([3.0, 5.0]), 0.1)
        (18.0, 5.0)

    Source: Vovk et al. 2005, "Algorithmic Learning in a Random World" (conformal prediction).
    """
    if not len(good):
        return None
    place = math.ceil(round((len(good) + 1) * (1 - rate), 9))
    return float(np.sort(good)[min(place, len(good)) - 1])


def area(normal: np.ndarray, faulty: np.ndarray) -> float:
    """Chance that a faulty pixel lies in a higher bin than a normal one, ties counted half, of counts (bins,) of each.

    Example:
        >>> area(np.array([2, 2, 0]), np.array([0, 1, 1]))
        0.875
    """
    below = np.cumsum(normal) - normal
    pairs = float(normal.sum()) * float(faulty.sum())
    return float(((below + normal / 2) * faulty).sum() / pairs) if pairs else 0.5


def region_overlap(normal: np.ndarray, regions: np.ndarray) -> float:
    """Mean share of faulty regions that is found, averaged over thresholds with at most so many normal pixels above.

    Args:
        normal: (bins,) counts of normal pixels.
        regions: (1 + bins,): how many regions there are, and the sum over them of the shares of their pixels.

    Example:
        >>> region_overlap(np.array([10, 0]), np.array([1, 0, 1.0]))
        1.0
    """
    count, shares = regions[0], regions[1:]
    if not count or not normal.sum():
        return 0.0
    rate = np.append(0.0, np.cumsum(normal[::-1]) / normal.sum())
    overlap = np.append(0.0, np.cumsum(shares[::-1]) / count)
    end = float(np.interp(FALSE_POSITIVES, rate, overlap))
    inside = rate < FALSE_POSITIVES
    x, y = np.append(rate[inside], FALSE_POSITIVES), np.append(overlap[inside], end)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / FALSE_POSITIVES)


def components(marked: np.ndarray) -> np.ndarray:
    """int (H, W): the number from 1 of the connected region (of 8 neighbours) that each marked pixel is of, else 0.

    Example:
        >>> components(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool)).tolist()
        [[1, 0, 0, 2], [0, 1, 0, 2]]
    """
    parent: list[int] = []
    labels = np.zeros(marked.shape, np.int64)
    above: list[tuple[int, int, int]] = []
    for y, row in enumerate(marked):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
        runs = []
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            touching = [label for a, b, label in above if a <= last and b >= first]
            label = _united(parent, touching)
            runs.append((first, last, label))
            labels[y, first:last] = label + 1
        above = runs
    roots = np.array([0, *(_root(parent, i) + 1 for i in range(len(parent)))], np.int64)
    return np.unique(roots[labels], return_inverse=True)[1].reshape(marked.shape) + (0 if (~marked).any() else 1)


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        i = parent[i]
    return i


def _united(parent: list[int], labels: Sequence[int]) -> int:
    """The label of a run that touches runs of these labels; a new one where it touches none."""
    if not labels:
        parent.append(len(parent))
        return len(parent) - 1
    roots = {_root(parent, label) for label in labels}
    first = min(roots)
    for root in roots:
        parent[root] = first
    return first


# -- histograms


def _bins(values: np.ndarray) -> np.ndarray:
    exact = np.log2(np.maximum(np.nan_to_num(values), 2.0**-20)) * PER_DOUBLING + BINS // 2
    numbers: np.ndarray = np.clip(exact, 0, BINS - 1).astype(np.int64)
    return numbers


def _counts(bins: np.ndarray) -> np.ndarray:
    return np.bincount(bins, minlength=BINS).astype(np.int32)


def _region_shares(mask: np.ndarray, bins: np.ndarray) -> np.ndarray:
    shares = np.zeros(1 + BINS, np.float32)
    if (mask == 1).any():
        labels = components(mask == 1)
        shares[0] = labels.max()
        sizes = np.bincount(labels.reshape(-1))
        inside = labels > 0
        shares[1:] = np.bincount(bins[inside], 1 / sizes[labels[inside]], minlength=BINS)
    return shares


def _drawn(
    figure: Callable[[np.ndarray, np.ndarray], float], pixels: np.ndarray, regions: np.ndarray, indices: np.ndarray
) -> float:
    times = np.bincount(indices, minlength=len(pixels)).astype(np.float64)
    return figure(np.tensordot(times, pixels, 1), times @ regions)


# -- pictures


def _mask_png(mask: np.ndarray) -> str:
    return _png(np.where(mask[..., None] == 1, [255, 255, 255], [48, 48, 54]).astype(np.uint8))


def _png(pixels: np.ndarray) -> str:
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
