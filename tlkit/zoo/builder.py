"""The process that builds one zoo module: `python -m tlkit.zoo.builder ORDER`, ORDER being JSON from `store`."""

import importlib
import json
import sys
from pathlib import Path

from tlkit.core import quick


def main(order: str) -> None:
    """Build what the order names, from the files it names, into its folder."""
    quick.start()
    job = json.loads(order)
    sys.path[:0] = job["path"]
    module = importlib.import_module(job["module"])
    module.build({key: Path(path) for key, path in job["files"].items()}, Path(job["folder"]))


if __name__ == "__main__":
    main(sys.argv[1])
