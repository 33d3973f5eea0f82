"""Generation: a causal language model learns to answer, and is used token by token."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.continuations import continuation, token_likelihoods
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.task import Deployment, FileCheck, Objective, Task
from tlkit.data.dialogue_rows import STEP, of_use
from tlkit.generating.search import GREEDY, Rule
from tlkit.generating.stepping import run
from tlkit.layer import reads
from tlkit.tasks import client_loops, generation_functions, generation_scores, recording
from tlkit.tasks.corpus_scores import check_packages
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_training

if TYPE_CHECKING:
    import keras

HEADS = ("frozen", "untied", "lora")
HEAD = "head_scores"  # the layer
LIMIT = (
    "As advice on health, law or money, or as a source of facts: it makes things up in fluent sentences, and never "
    "says so. An app of such talk must say that it is no advice, and people who know must read the answers."
)


def generate(
    head: str = "frozen",
    rank: int = 8,
    rule: str = "greedy",
    most: int = 64,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    beams: int = 4,
    seed: int = 0,
    samples: int = 8,
    texts: Sequence[str] = (),
    end: int | None = None,
) -> Task:
    """Learn to answer: the tokens of answers are predicted from those before, prompts are given.

    Scores are the perplexity of the test's answers and the share of their tokens that are the likeliest, and where the
    data have general texts their perplexity, which shows what was forgotten; each also of the untrained model. Exports
    hold functions with a cache of keys and values where the module's are known, and one that reads all tokens each time
    where they are not; `predict` and gates run them in a loop.

    Args:
        head: What gives the scores of tokens: "frozen", products with the module's own table; "untied", with a copy
            that trains; "lora", with a change of low rank that trains.
        rank: Of that change, >= 1.
        rule: How tokens are chosen when it is used: "greedy", "sample" or "beam".
        most: Most tokens of an answer in use, >= 1.
        temperature: Of "sample": scores are divided by it, > 0.
        top_k: Of "sample": one of so many likeliest tokens; 0 is any.
        top_p: Of "sample": one of the likeliest with this probability together, in (0, 1].
        beams: Of "beam": beginnings that are followed at a time, >= 1.
        seed: Of "sample".
        samples: Questions of the test answered before training and after it, for the report and `texts`; 0 is none.
        texts: Further scores of these answers: some of "exact" and "rouge_l", means over answers, and "chrf" and
            "bleu", in 0 to 100, of all answers together, as `translate` has them (extra `generation`).
        end: Number of the token that ends an answer; None is that of the module, which `finetune` fills in.

    Returns:
        A task for causal modules with byte pairs, such as zoo:smollm2-135m.

    Raises:
        InputError: If an argument is out of its range, or a score needs a package that is not there.

    Example:
        >>> generate(most=32).reads.name, generate().deployment.checked
        ('answers()', 20)
    """
    checks = {
        "head": (head in HEADS, f"be one of {', '.join(HEADS)}", head),
        "rank": (rank >= 1, "be 1 or more", rank),
        "samples": (samples >= 0, "be 0 or more", samples),
        "texts": (set(texts) <= set(generation_scores.TEXTS), f"be of {', '.join(generation_scores.TEXTS)}", texts),
    }
    check_rules(checks)
    check_packages(texts)
    chosen = Rule(rule, most, () if end is None else (end,), temperature, top_k, top_p, beams, seed)
    arguments = {
        "head": head, "rank": rank, "rule": rule, "most": most, "temperature": temperature, "top_k": top_k,
        "top_p": top_p, "beams": beams, "seed": seed, "samples": samples, "texts": tuple(texts), "end": end,
    }  # fmt: skip
    scorer = functools.partial(generation_scores.written_scores, tuple(texts), -1 if end is None else end)
    return Task(
        name="generate",
        made_by=recording.record("tlkit.tasks.generate", arguments),
        reads=reads.answers(),
        head=functools.partial(_head, kind=head, rank=rank),
        objective=_objective(1.0),
        answers=(token_likelihoods(),),
        scorer=gathered(generation_scores.likelihood_scores),
        begin=None if end is not None else functools.partial(_begin, arguments),
        deployment=Deployment(
            examples=of_use,
            functions=functools.partial(generation_functions.functions, HEAD, chosen),
            run=functools.partial(run, rule=chosen),
            answer=continuation(-1 if end is None else end),
            further=_likeliest(chosen),
            scorer=gathered(scorer) if samples else None,
            scored=samples,
            calls=functools.partial(client_loops.of_generation, chosen),
            limits=(LIMIT,),
        ),
        before=True,
    )


def _begin(arguments: Mapping[str, Any], splits: Splits, say: Callable[[str], None]) -> Task:
    """The task with the token that ends an answer, and the loss in shares of how long answers are."""
    layout = splits.train.pipeline.get(STEP)
    if layout is None:
        raise InputError("Language models learn from dialogues: make the data with `tlkit.data.text.from_dialogues`.")
    task = generate(**{**arguments, "end": layout["end"]})
    rows = np.asarray(splits.train.inputs.take(np.arange(len(splits.train))))
    counts = [(int(row[np.flatnonzero(row != layout["pad"])[-1]]) - layout["pad"]) * layout["sign"] for row in rows]
    return dataclasses.replace(task, objective=_objective(float(np.mean(counts))))


def _likeliest(rule: Rule) -> tuple[FileCheck, ...]:
    """The comparison of the likeliest answers, which `serving_default` gives whatever the rule is."""
    if rule.name == GREEDY:
        return ()
    return (FileCheck(functools.partial(run, rule=dataclasses.replace(rule, name=GREEDY)), continuation(-1)),)


def _objective(mean_tokens: float) -> Objective:
    return Objective(
        loss=functools.partial(_loss, mean_tokens), metrics=_metrics, monitor=("val_loss", "min"), check=_check
    )


def _head(features: Mapping[str, Any], kind: str, rank: int) -> Any:
    from tlkit.tasks.generation_layers import TokenScores

    scores = TokenScores(kind, rank, name=HEAD)
    return scores([features["states"], features["embedding"], features["targets"]])


def _loss(mean_tokens: float) -> keras.losses.Loss:
    from tlkit.tasks.generation_layers import AnswerLoss

    return AnswerLoss(mean_tokens)


def _metrics() -> list[keras.metrics.Metric]:
    import keras

    from tlkit.tasks.generation_layers import token_accuracy

    return [keras.metrics.MeanMetricWrapper(token_accuracy, name="accuracy")]


def _check(splits: Splits) -> None:
    if splits.train.modality != "dialogue":
        raise InputError(
            "A language model learns from prompts and answers: make the data with `tlkit.data.text.from_pairs` or "
            f"`from_dialogues`. Received: examples of the modality {splits.train.modality!r}."
        )
    check_training(splits, "give more answers, or a larger share of them to it")
