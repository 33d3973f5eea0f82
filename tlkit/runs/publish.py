"""publish: a trained backbone as a module in the hub's format, so that one run's result is the next run's handle."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.files import atomic_folder
from tlkit.core.run import Run
from tlkit.formats import hub_module
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import backbone_of
from tlkit.runs.folder import opened

_OF_A_SOURCE = ("source_tokenizer_file", "source_tokenizer_config")  # where what is read has other tokens
# what modules of texts bring besides their functions
_OF_THE_HUB = ("vocab_file", "do_lower_case", "tokenizer_file", "tokenizer_config", *_OF_A_SOURCE)


def publish(run: Run | HubLayer | str | Path, folder: str | Path, *, card: Mapping[str, Any] | None = None) -> Path:
    """Write the module of a run, with the weights that it has now, as a SavedModel in the hub's format.

    The head is left out. What the new module takes and gives is what the old one did: pixels in its own range, word
    pieces by its own vocabulary, its parts by their own names. Its card keeps the old one's facts, its licence among
    them, and says from which module and which data it was trained.

    Args:
        run: A Run, the folder of one, or a HubLayer.
        folder: Where to write; must not exist.
        card: Further plain data for the card; takes the place of the same facts of the old one.

    Returns:
        The folder: a handle for `HubLayer`, `finetune`, `tlkit inspect`.

    Raises:
        InputError: If the folder exists, or the model has no module.
    """
    target = Path(folder)
    if target.exists():
        raise InputError(f"{target} exists already; publish into a new folder.")
    layer, record = _published(run)
    endpoint = layer.endpoint
    origin = {"module": layer.handle, "sha256": layer.sha256, "date": datetime.date.today().isoformat(), **record}
    trained_with = {} if layer.input_range is None else {"input_range": list(layer.input_range)}  # the card may differ
    facts = {**layer.card, "name": target.name, "trained_from": origin, **trained_with, **(card or {})}
    module = layer.resolved_object
    brought = {name: getattr(module, name) for name in _OF_THE_HUB if hasattr(module, name)}
    with atomic_folder(target) as partial:
        hub_module.write_module(
            endpoint.call,
            endpoint.variables,
            endpoint.trainable,
            endpoint.inputs,
            partial,
            card=facts,
            regularization_losses=endpoint.regularization_losses,
            attachments={"module": module, **brought},
            signatures=_endpoints(module),
        )
    return target


def _endpoints(module: Any) -> dict[str, tuple[Callable[[Any], Any], Any]]:
    """The module's further signatures, such as those of an encoder and a decoder, with the specs that each takes."""
    further = {
        name: function for name, function in getattr(module, "signatures", {}).items() if name != "serving_default"
    }
    return {
        name: (functools.partial(_called, function), dict(function.structured_input_signature[1]))
        for name, function in further.items()
    }


def _called(function: Any, inputs: Mapping[str, Any]) -> Any:
    return function(**inputs)


def _published(source: Run | HubLayer | str | Path) -> tuple[HubLayer, dict[str, Any]]:
    """The module, and what is known of its training."""
    if isinstance(source, HubLayer):
        return source, {}
    run = opened(source)
    layer = backbone_of(run.model)
    if layer is None:
        raise InputError("The run's model has no HubLayer, or several, so there is no module to publish.")
    data = run.record.get("data") or {}
    return layer, {"task": run.task.name, "data": data.get("fingerprint"), "scores": dict(run.scores)}
