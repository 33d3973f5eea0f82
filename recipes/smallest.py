"""The smallest recipe, without flags: emoji and a pretrained module become a classifier for a phone.

tlkit run smallest
"""

import tlkit


def main() -> tlkit.Run:
    """Classify the bundled emoji; data, module and folder are yours to change."""
    splits = tlkit.datasets.samples.emoji10("noto")
    task = tlkit.tasks.classify(splits.labels)
    run = tlkit.finetune("zoo:efficientnet-lite0", task, splits, out="runs/smallest")
    return tlkit.export(run)


if __name__ == "__main__":
    tlkit.flags.cli(main)
