"""A dialogue as tokens: what a module's chat template writes around what people say."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.trouble import first_line
from tlkit.tokenizing.bytepairs import BytePairs

_PLACE = "\ue000{}\ue001"  # private characters, in the place of what is said while the template is filled in
_PLACES = re.compile("\ue000(\\d+)\ue001")


def prompt_tokens(tokenizer: BytePairs, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Tokens of some messages and the beginning of an answer; [] where there are none.

    What people say is never read as a special token, and what the template writes is. A module without a template
    gets each message on a line of its own.

    Raises:
        InputError: If the template does not take such messages.
    """
    if not messages:
        return []
    tokens: list[int] = []
    for number, part in enumerate(_PLACES.split(_written(tokenizer, messages))):
        if number % 2:
            tokens += tokenizer.encode(messages[int(part)]["content"].strip())
        elif part:
            tokens += tokenizer.encode(part, special=True)
    begins = tokenizer.begin is not None and (not tokens or tokens[0] != tokenizer.begin)
    return [tokenizer.begin, *tokens] if begins and tokenizer.begin is not None else tokens


def around(tokenizer: BytePairs) -> tuple[str, str]:
    """What the template writes in front of a question and behind it, special tokens as they are spelled."""
    before, _, behind = _PLACES.split(_written(tokenizer, [{"role": "user", "content": ""}]))
    return before, behind


def with_system(template: str, system: str) -> str:
    """A chat template that tells the model something first, unless the messages do.

    Args:
        template: Of the module; "" writes each message on a line of its own.
        system: What is told.
    """
    told = json.dumps(system, ensure_ascii=False)
    first = "{% if messages[0]['role'] != 'system' %}{% set messages = [{'role': 'system', 'content': " + told
    lines = "{% for message in messages %}{{ message['content'] }}{{ '\\n' }}{% endfor %}"
    return first + "}] + messages %}{% endif %}" + (template or lines)


def answer_tokens(tokenizer: BytePairs, answer: str) -> list[int]:
    """Tokens of an answer, and the one that ends it."""
    return [*tokenizer.encode(answer.strip()), tokenizer.end]


def general_tokens(tokenizer: BytePairs, text: str) -> list[int]:
    """Tokens of a text without a prompt, with the token that begins one."""
    return [*([] if tokenizer.begin is None else [tokenizer.begin]), *tokenizer.encode(text.strip())]


def _written(tokenizer: BytePairs, messages: Sequence[Mapping[str, str]]) -> str:
    places = [{"role": message["role"], "content": _PLACE.format(i)} for i, message in enumerate(messages)]
    if not tokenizer.chat_template:
        return "".join(f"{place['content']}\n" for place in places)
    import jinja2

    special = {number: token for token, number in tokenizer.special.items()}
    begin = "" if tokenizer.begin is None else special.get(tokenizer.begin, "")
    try:
        return str(
            compiled(tokenizer.chat_template).render(
                messages=places, add_generation_prompt=True, bos_token=begin, eos_token=special.get(tokenizer.end, "")
            )
        )
    except (jinja2.TemplateError, TypeError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise InputError(
            f"The module's chat template takes no messages of the roles {roles}: {first_line(error)}."
        ) from error


@functools.lru_cache(maxsize=4)
def compiled(source: str) -> Any:
    """A chat template that can be rendered; nothing that it calls can do harm."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(source)


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)
