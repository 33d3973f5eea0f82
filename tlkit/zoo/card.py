"""What a zoo module is, and which package carries its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tlkit.core.packages import Package


@dataclass(frozen=True)
class Card:
    """Facts about one zoo module; the same in `tlkit zoo` and, as JSON, inside the module.

    Attributes:
        name: Handle without its `zoo:`.
        summary: One line.
        modality: "image", "text", "audio".
        licence: SPDX name of the licence of the weights.
        credits: Whose weights these are.
        package: Where they come from; None where the module is computed and nothing is downloaded.
        inputs: What the module takes, in words.
        outputs: What it gives, in words.
        input_range: Lowest and highest value of its inputs, or None where that has no meaning.
        parameters: Count of all weights, statistics of BatchNorm included.
        recipe: Number of the way it is built; another number builds anew.
        sample_rate: Samples a second of the waveforms it takes, or None where it takes no sound.
        window_s: Seconds of sound that it hears at a time, or None where it hears any.
        labels: Names of what it tells apart, in the order of its outputs; () where it gives features alone.
        needs: Import name of what building it needs beyond tlkit's own requirements, and the extra that installs it.
    """

    name: str
    summary: str
    modality: str
    licence: str
    credits: str
    package: Package | None
    inputs: str
    outputs: str
    input_range: tuple[float, float] | None
    parameters: int
    recipe: int = 1
    sample_rate: int | None = None
    needs: tuple[str, str] | None = None
    labels: tuple[str, ...] = ()
    window_s: float | None = None

    @property
    def source(self) -> str:
        """Package and version of the weights; "" where they are computed."""
        return "" if self.package is None else self.package.source

    @property
    def sha256(self) -> str:
        """Of the package's archive; "" where there is none."""
        return "" if self.package is None else self.package.sha256

    @property
    def download_mb(self) -> float:
        """Size of what is downloaded to build it."""
        return 0.0 if self.package is None else self.package.download_mb

    def to_json(self) -> dict[str, Any]:
        """Plain data, as kept in the module."""
        words = ("name", "summary", "modality", "licence", "credits", "source", "sha256", "inputs", "outputs")
        return {
            **{word: getattr(self, word) for word in words},
            "input_range": None if self.input_range is None else list(self.input_range),
            "parameters": self.parameters,
            "recipe": self.recipe,
            "sample_rate": self.sample_rate,
            "download_mb": self.download_mb,
            **({"labels": list(self.labels)} if self.labels else {}),
            **({} if self.window_s is None else {"window_s": self.window_s}),
        }
