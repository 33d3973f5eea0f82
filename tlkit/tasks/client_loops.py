"""What README.md of an export says of how clients go through the loop that an answer takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkit.core.examples import Examples
from tlkit.data import dialogue_rows, teacher_forcing
from tlkit.generating.search import STRETCHES, TIMES, Rule
from tlkit.generating.stepping import CACHE, DECODE, PREFILL
from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.tokenizing.chat import around

Calls = tuple[str, dict[str, Any]]  # a Jinja template, and names for it
SETTINGS = "tokenizer_config.json"
LOOP = {"shortest": STRETCHES[0], "stretch": STRETCHES[-1], "times": TIMES}  # what ends a text that repeats itself


def of_generation(
    rule: Rule, examples: Examples, signatures: Mapping[str, Any], files: Mapping[str, bytes]
) -> Calls | None:
    """Of a file with `prefill_32` and `decode`, as `Deployment.calls` gives it.

    Args:
        rule: For how many tokens there is room.
        examples: As they are trained on.
        signatures: Of the file: "inputs" and "outputs" of each.
        files: In the file.
    """
    layout = examples.pipeline.get(dialogue_rows.STEP)
    pieces = [int(name.removeprefix(PREFILL)) for name in signatures if name.startswith(PREFILL)]
    if not pieces or DECODE not in signatures or layout is None or SETTINGS not in files or not len(examples):
        return None
    settings = json.loads(files[SETTINGS])
    file = str(examples.columns[dialogue_rows.TOKENIZER][0])
    before, behind = around(BytePairs(file, None, layout["end"], layout["pad"], settings.get("chat_template") or ""))
    begin = settings.get("bos_token") or ""
    caches = [tensor for tensor in signatures[DECODE]["inputs"] if tensor.name.startswith(CACHE)]
    (logits,) = (tensor for tensor in signatures[DECODE]["outputs"] if tensor.name == "logits")
    return _template("generation"), {
        **LOOP,
        "before": before if before.startswith(begin) else begin + before,
        "behind": behind,
        "stop": layout["end"],
        "most": rule.most,
        "piece": pieces[0],
        "capacity": caches[0].shape[2],
        "caches": caches,
        "logits": logits,
    }


def of_encoder_decoder(
    whole: str, examples: Examples, signatures: Mapping[str, Any], files: Mapping[str, bytes]
) -> Calls | None:
    """Of a file with a function that holds the loop, as `Deployment.calls` gives it.

    Args:
        whole: Name of that function.
        examples: As they are trained on.
        signatures: Of the file: "inputs" and "outputs" of each.
        files: In the file.
    """
    settings = examples.pipeline.get(teacher_forcing.PROMPTED)
    if whole not in signatures or settings is None or len(files) != 1:  # of two tokenizers a client has to know more
        return None
    (source,) = signatures[whole]["inputs"]
    (ids,) = (tensor for tensor in signatures[whole]["outputs"] if tensor.name == "ids")
    read = {name: value for _, arguments in examples.pipeline.steps for name, value in arguments.items()}
    return _template("encoder_decoder"), {
        **LOOP,
        "whole": whole,
        "source": source,
        "ids": ids,
        "written": signatures[whole]["outputs"],
        "speech": source.dtype == "float32",
        "rate": read.get("sample_rate"),
        "pad": read.get("pad"),
        "prompt": settings["prompt"],
        "end": settings["end"],
        "barred": settings["barred"],
        "never": settings.get("never"),
        "longest": ids.shape[1],
    }


def _template(name: str) -> str:
    return Path(__file__).with_name(f"{name}_calls.md.j2").read_text(encoding="utf-8")
