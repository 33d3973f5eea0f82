"""What the scores of the next token are made of, at each token: a module's own logits, or its states and its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlkit.core.task import Reads
from tlkit.data.teacher_forcing import IDS
from tlkit.layer.reads import hidden_and_embedding
from tlkit.tokenizing.bytepairs import BytePairs

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

LOGITS = "logits"  # the output of a module with a head of its own


def token_scores() -> Reads:
    """Of a module with a head of its own {"logits": (batch, tokens, ids)}, its output of that name.

    Of any other it is what `reads.hidden_and_embedding` gives; where the module brings its tokenizer also the "ids"
    (batch, tokens) that go in, and the number "pad" of the token that fills them up.
    """
    return Reads("token_scores()", _token_scores)


def _token_scores(layer: HubLayer, inputs: Any) -> dict[str, Any]:
    if not layer._inbound_nodes and not layer.taps:
        outputs = layer.compute_output_spec(inputs)
        if isinstance(outputs, Mapping) and LOGITS in outputs:
            layer.output_key = LOGITS
    if layer.output_key == LOGITS:
        return {LOGITS: layer(inputs)}
    read: dict[str, Any] = hidden_and_embedding().read(layer, inputs)
    tokenizer = layer.tokenizer
    return {**read, "ids": inputs[IDS], "pad": tokenizer.end} if isinstance(tokenizer, BytePairs) else read
