"""Pure functions on one inference graph: what it is made of, where it can be cut, and its parts."""

from tlkit.graph.activations import activation_bytes
from tlkit.graph.blocks import Block, blocks, embedding, taps
from tlkit.graph.constant import OnValues, save_constant
from tlkit.graph.cutting import (
    Cut,
    Halves,
    cuts,
    depth_order,
    ending,
    halved,
    nearest_cut,
    operations,
    rows_of,
    split,
    split_at,
    tapped_cut,
    variables_in_front,
    variables_of,
)
from tlkit.graph.flat import (
    Graph,
    at_sizes,
    closed,
    flatten,
    giving,
    output_at,
    output_keys,
    part,
    part_as,
    with_output,
)
from tlkit.graph.looking import Affine, batch_norms, depthwise_kernels, input_affine
from tlkit.graph.numbering import renumber
from tlkit.graph.proving import USUAL_RANGES, Proof, entering, proved_range, way_to
from tlkit.graph.sizing import freed
from tlkit.graph.thawing import thawed
from tlkit.graph.trunk import of_trunk, trunk
from tlkit.graph.widening import behind_cast, computes_in_half, widened

__all__ = [
    "USUAL_RANGES",
    "Affine",
    "Block",
    "Cut",
    "Graph",
    "Halves",
    "OnValues",
    "Proof",
    "activation_bytes",
    "at_sizes",
    "batch_norms",
    "behind_cast",
    "blocks",
    "closed",
    "computes_in_half",
    "cuts",
    "depth_order",
    "depthwise_kernels",
    "embedding",
    "ending",
    "entering",
    "flatten",
    "freed",
    "giving",
    "halved",
    "input_affine",
    "nearest_cut",
    "of_trunk",
    "operations",
    "output_at",
    "output_keys",
    "part",
    "part_as",
    "proved_range",
    "renumber",
    "rows_of",
    "save_constant",
    "split",
    "split_at",
    "tapped_cut",
    "taps",
    "thawed",
    "trunk",
    "variables_in_front",
    "variables_of",
    "way_to",
    "widened",
    "with_output",
]
