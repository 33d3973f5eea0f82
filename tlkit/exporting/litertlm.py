"""Language models as .litertlm, the container of LiteRT-LM: model, tokenizer and chat template in one file.

As formats of `tlkit.export`: `formats=("float32", "tlkit.exporting.litertlm.dynamic")`. They are checked as other files
are: the model inside is taken out and asked. Needs the extra `generation`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.format import Format, Opened, Source
from tlkit.exporting import gates
from tlkit.exporting.formats import tflite as files
from tlkit.generating.stepping import CACHE, DECODE
from tlkit.modalities.dialogue import FILE, SETTINGS
from tlkit.tokenizing.chat import compiled


def write_float32(source: Source, file: Path) -> None:
    """Weights in float32."""
    _write(source, file, files.write_float32)


def write_dynamic(source: Source, file: Path) -> None:
    """Weights of 8 bits, and activations that are rounded to 8 bits as they come."""
    _write(source, file, files.write_dynamic)


def write_weight_only(source: Source, file: Path) -> None:
    """Weights of 8 bits, products in float32."""
    _write(source, file, files.write_weight_only)


def _write(source: Source, file: Path, write_model: Any) -> None:
    builder = _builder()
    with tempfile.TemporaryDirectory(prefix="tlkit-litertlm-", dir=file.parent) as scratch:
        model, tokenizer = Path(scratch) / "model.tflite", Path(scratch) / FILE
        write_model(source, model)
        if FILE not in source.metadata.files or DECODE not in (opened := files.open_file(model, 1)).signatures:
            raise InputError(
                "A .litertlm file holds a language model with a tokenizer and a cache of known keys and values, and "
                "this model has none: export it as float32 or dynamic, which tlkit.predict runs."
            )
        tokenizer.write_bytes(source.metadata.files[FILE])
        about = Path(scratch) / "about.pb"
        settings = json.loads(source.metadata.files[SETTINGS])
        shapes = getattr(opened.signatures[DECODE], "shapes", {})
        capacity = int(next(shape[2] for name, shape in shapes.items() if name.startswith(CACHE)))
        about.write_bytes(_about(settings, capacity, _numbers(source.metadata.files[FILE])))
        builder.add_system_metadata(_entry("tlkit_card", json.dumps(dict(source.metadata.card))))
        builder.add_llm_metadata(str(about))
        builder.add_hf_tokenizer(str(tokenizer))
        builder.add_tflite_model(str(model), _kinds().PREFILL_DECODE)
        with file.open("w+b") as stream:
            builder.build(stream)


def open_file(file: Path, threads: int) -> Opened:
    """The model inside, ready to run in LiteRT.

    Raises:
        InputError: If the file is damaged.
    """
    from litert_lm_builder import litertlm_peek

    scratch = tempfile.TemporaryDirectory(prefix="tlkit-litertlm-")
    try:
        litertlm_peek.peek_litertlm_file(str(file), scratch.name, io.StringIO())
        (model,) = Path(scratch.name).glob("*.tflite")
    except (ValueError, OSError, LookupError, TypeError) as error:
        raise InputError(f"{str(file)!r} is damaged, or no .litertlm file: export the run again.") from error
    opened = files.open_file(model, threads)
    return dataclasses.replace(opened, owner=(opened.owner, scratch))


def _about(settings: dict[str, Any], capacity: int, numbers: dict[str, int]) -> bytes:
    """What the runtime asks of a model: its template, the tokens that begin and end, how many fit."""
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    about = llm_metadata_pb2.LlmMetadata()
    if settings.get("bos_token"):
        about.start_token.token_ids.ids.append(numbers[settings["bos_token"]])
    about.stop_tokens.add().token_ids.ids.append(numbers[settings["eos_token"]])
    about.llm_model_type.generic_model.SetInParent()
    about.max_num_tokens = capacity
    about.sampler_params.type = (
        about.sampler_params.DESCRIPTOR.enum_types_by_name["Type"].values_by_name["GREEDY"].number
    )
    about.supports_thinking, about.supports_function_calling = False, False
    if settings.get("chat_template"):
        about.jinja_prompt_template = of_parts(settings["chat_template"])
        _check_parts(settings["chat_template"], about.jinja_prompt_template)
    return bytes(about.SerializeToString())


def of_parts(template: str) -> str:
    """A chat template that also takes contents in parts, as LiteRT-LM gives them: [{"type": "text", "text": ...}].

    Example:
        >>> of_parts("{{ m.content }}")
        "{{ (m.content if m.content is string else m.content[0]['text']) }}"
    """
    content = re.compile(r"""\b([A-Za-z_]\w*(?:\[[^\]]*\])?(?:\['content'\]|\["content"\]|\.content\b))""")
    return content.sub(r"(\1 if \1 is string else \1[0]['text'])", template)


def _check_parts(template: str, rewritten: str) -> None:
    """Refuse a template that writes something else once contents come in parts.

    Raises:
        InputError: If it does.
    """
    for roles in (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("user",)):
        contents = [f"{role} {i}" for i, role in enumerate(roles)]
        expected = _rendered(template, roles, contents)
        if expected is None:  # a template may refuse roles
            continue
        if _rendered(rewritten, roles, [[{"type": "text", "text": content}] for content in contents]) != expected:
            raise InputError(
                "The module's chat template reads `content` in a way that LiteRT-LM, which gives it in parts, does not "
                "support: write it as message['content'] or message.content, or export as float32 or dynamic."
            )


def _rendered(template: str, roles: Sequence[str], contents: Sequence[Any]) -> str | None:
    import jinja2

    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    try:
        written = compiled(template).render(messages=messages, add_generation_prompt=True, bos_token="", eos_token="")
    except (jinja2.TemplateError, TypeError, ValueError, AttributeError):
        return None
    return str(written)


def _numbers(tokenizer: bytes) -> dict[str, int]:
    content = json.loads(tokenizer)
    added = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
    return {**content["model"]["vocab"], **added}


def _entry(key: str, value: str) -> Any:
    from litert_lm_builder import litertlm_builder

    return litertlm_builder.Metadata(key=key, value=value, dtype=litertlm_builder.DType.STRING)


def _kinds() -> Any:
    from litert_lm_builder import litertlm_builder

    return litertlm_builder.TfLiteModelType


def _builder() -> Any:
    try:
        from litert_lm_builder import litertlm_builder
    except ImportError as error:
        raise InputError(
            "A .litertlm file is written by the package `litert-lm-builder`: run `pip install tlkit[generation]`."
        ) from error
    return litertlm_builder.LitertLmFileBuilder()


float32 = Format("tlkit.exporting.litertlm.float32", "model.litertlm", write_float32, open_file)
dynamic = Format(
    "tlkit.exporting.litertlm.dynamic", "model_dynamic.litertlm", write_dynamic, open_file, gates.quantised
)
weight_only = Format(
    "tlkit.exporting.litertlm.weight_only", "model_weight_only.litertlm", write_weight_only, open_file, gates.quantised
)
