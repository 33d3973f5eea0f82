"""Transfer methods, one a file: any of them composes with any task that it names, any module and any plan.

A method is a function of one of five types: `Task -> Task`, `Splits -> Splits`, `... -> tuple[Phase, ...]`,
`Layer -> Layer`, or a procedure over build and fit that returns a Run. Importing this imports neither Keras nor
TensorFlow.
"""

from tlkit.methods.alignment import aligned
from tlkit.methods.boosting import tradaboost
from tlkit.methods.class_balance import balance
from tlkit.methods.class_confusion import mcc
from tlkit.methods.cold_start import new_items
from tlkit.methods.conditional_adversarial import cdan
from tlkit.methods.correlation import coral
from tlkit.methods.distillation import distill, taught
from tlkit.methods.domain_adversarial import dann
from tlkit.methods.importance import density_ratio
from tlkit.methods.kernel_mean_matching import kmm
from tlkit.methods.likeness import item_vectors
from tlkit.methods.linear_first import linear_then_tune
from tlkit.methods.low_rank import lora
from tlkit.methods.mean_discrepancy import mmd
from tlkit.methods.mixing import domain_mix
from tlkit.methods.multi_task import multitask, one_head
from tlkit.methods.recommenders import beside_popularity
from tlkit.methods.souping import soup
from tlkit.methods.starting_point import l2_sp
from tlkit.methods.target_statistics import adabn
from tlkit.methods.task_mixing import relabelled, task_mix
from tlkit.methods.trees import beside_trees, trees

__all__ = [
    "adabn",
    "aligned",
    "balance",
    "beside_popularity",
    "beside_trees",
    "cdan",
    "coral",
    "dann",
    "density_ratio",
    "distill",
    "domain_mix",
    "item_vectors",
    "kmm",
    "l2_sp",
    "linear_then_tune",
    "lora",
    "mcc",
    "mmd",
    "multitask",
    "new_items",
    "one_head",
    "relabelled",
    "soup",
    "task_mix",
    "taught",
    "tradaboost",
    "trees",
]


def __dir__() -> list[str]:
    return sorted(__all__)
