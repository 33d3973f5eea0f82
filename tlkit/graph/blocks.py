"""The blocks that a module is made of, and its feature maps by stride."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlkit.graph.anatomy import Anatomy, anatomy_of, elements, sizes, tables
from tlkit.graph.cutting import Cut, cuts, depth_order, parameters, steps, variables_in_front
from tlkit.graph.flat import Graph, remembered

# What networks call their repeated parts, with the number that follows: block_3, blocks.3, conv2_block1, Mixed_5b.
WORD = r"(?:blocks?|layers?|stage|unit|cell|mbconv|expanded_conv|bottleneck|mixed|transformer|resblock)[._/-]*\d+[a-z]?"
NUMBERED = re.compile(rf"^(.*?{WORD}(?:[._/-]+{WORD})?)(?![a-z0-9])", re.IGNORECASE)
ANONYMOUS = re.compile(r"^(variable|kernel|weights?|w|bias|b|gamma|beta|embeddings?|unknown|arg)?[_\d:]*$", re.I)

DENSE_RANK = 2  # of what a dense layer gives: (batch, units); each is a block of its own


@dataclass(frozen=True)
class Block:
    """A stretch of the module between two cuts.

    Attributes:
        name: What its variables have in common, or "block_03" where their names say nothing.
        tensor: The tensor that it ends with, a cut; None where the module ends in several outputs.
        shape: That tensor's shape, batch first; None where unknown.
        variables: Indices of its variables, in order of first use.
        parameters: Count of their elements.
        ops: Count of its weight-bearing ops.
        depth: Share of the module's weight-bearing ops up to its end, in (0, 1].
        cost: Share of the forward pass's multiplications, in [0, 1].
    """

    name: str
    tensor: str | None
    shape: tuple[int | None, ...] | None
    variables: tuple[int, ...]
    parameters: int
    ops: int
    depth: float
    cost: float


@dataclass(frozen=True)
class _Atom:
    """What lies between two neighbouring cuts; nothing smaller can be frozen."""

    end: Cut | None
    variables: tuple[int, ...]
    ops: int
    cost: float
    key: str | None  # the numbered part of the network that its variables' names tell
    rank: int  # of what its first weight-bearing op gives
    grows: bool  # whether its widest tensor is larger than what enters it


def blocks(graph: Graph) -> tuple[Block, ...]:
    """The module's blocks, input side first; () where it cannot be cut.

    Residual and branching stretches, which nothing can cut, are blocks of their own unless names tell that several
    belong together. Chains of single ops are joined where names tell so or, without names, up to the place where the
    feature maps grow again: a bottleneck's expansion opens a new block.
    """
    return remembered(graph, "blocks", lambda: tuple(_blocks(graph)))  # type: ignore[no-any-return]


def _blocks(graph: Graph) -> list[Block]:
    groups: list[list[_Atom]] = []
    for atom in _atoms(graph):
        if groups and _belongs(groups[-1], atom):
            groups[-1].append(atom)
        else:
            groups.append([atom])
    all_blocks, ops_so_far = [], 0
    total = sum(atom.ops for group in groups for atom in group)
    for number, group in enumerate(groups):
        ops_so_far += sum(atom.ops for atom in group)
        all_blocks.append(_block(graph, group, number, ops_so_far / max(1, total)))
    return _distinct(all_blocks)


def _belongs(group: Sequence[_Atom], atom: _Atom) -> bool:
    key = group[-1].key
    if key is not None or atom.key is not None:
        return key == atom.key
    return not atom.grows and atom.rank > DENSE_RANK and all(a.ops == 1 and a.rank == atom.rank for a in (*group, atom))


def _block(graph: Graph, group: Sequence[_Atom], number: int, depth: float) -> Block:
    variables = tuple(v for atom in group for v in atom.variables)
    end = group[-1].end
    return Block(
        name=_name([graph.variables[v].name for v in variables], number),
        tensor=end.tensor if end else None,
        shape=end.shape if end else None,
        variables=variables,
        parameters=sum(parameters(graph, v) for v in variables),
        ops=sum(atom.ops for atom in group),
        depth=depth,
        cost=sum(atom.cost for atom in group),
    )


def _atoms(graph: Graph) -> list[_Atom]:
    ends: list[Cut | None] = [cut for cut in steps(graph) if cut.ops_in_front > 0]
    if not ends:
        return []
    last = ends[-1]
    if last is not None and last.ops_in_front < last.ops:
        ends.append(None)
    anatomy = anatomy_of(graph)
    atoms: list[_Atom] = []
    before: Cut | None = None
    for end in ends:
        atoms.append(_atom(graph, anatomy, before, end))
        before = end
    return atoms


def _atom(graph: Graph, anatomy: Anatomy, before: Cut | None, end: Cut | None) -> _Atom:
    front = set(variables_in_front(graph, before)) if before else set()
    upto = variables_in_front(graph, end) if end else depth_order(graph)
    variables = tuple(v for v in upto if v not in front)
    first = before.ops_in_front if before else 0
    last = end.ops_in_front if end else len(anatomy.bearing)
    shapes = [sizes(graph, anatomy.ops[i].outputs[0].name) or () for i in anatomy.bearing[first:last]]
    return _Atom(
        end=end,
        variables=variables,
        ops=last - first,
        cost=(before.cost_behind if before else 1.0) - (end.cost_behind if end else 0.0),
        key=_key([graph.variables[v].name for v in variables]),
        rank=len(shapes[0]),
        grows=before is not None and max(map(elements, shapes), default=0) > before.size,
    )


# Names


def _key(names: Sequence[str]) -> str | None:
    """The numbered part that most of the names speak of."""
    numbered = [m.group(1) for name in names if (m := NUMBERED.match(name))]
    return max(set(numbered), key=numbered.count) if len(numbered) * 2 > len(names) else None


def _name(names: Sequence[str], number: int) -> str:
    """What the names have in common, up to a whole word, or the block's number."""
    if key := _key(names):
        return key.strip("/._-")
    paths = ["/".join(name.split(":")[0].split("/")[:-1]) or name.split(":")[0] for name in names]
    first, last = min(paths, default=""), max(paths, default="")
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    common = first[:shared]
    if len(set(paths)) > 1:  # back to where a word ends
        common = re.sub(r"[^/._-]*$", "", common)
    common = common.strip("/._-")
    if common and not ANONYMOUS.match(common):
        return common
    named = [p for p in paths if not ANONYMOUS.match(p)]
    return named[0] if named and len(named) == len(paths) else f"block_{number:02d}"


def _distinct(all_blocks: Sequence[Block]) -> list[Block]:
    """The blocks with their numbers behind names that occur twice."""
    names = [block.name for block in all_blocks]
    return [
        replace(block, name=f"{block.name}_{i:02d}") if names.count(block.name) > 1 else block
        for i, block in enumerate(all_blocks)
    ]


# Feature maps

MIXING = ("Mean", "Max", "Sum", "Reshape", "Squeeze", "MatMul", "Einsum", "Softmax")  # places are lost behind these
PADDING = ("Pad", "PadV2", "MirrorPad", "SpaceToBatchND")


def taps(graph: Graph, *, narrow: bool = False, first: Sequence[str] = ()) -> Mapping[int, str]:
    """Stride -> name of the last feature map (batch, height, width, channels) at that stride, input side first.

    Maps at the ends of blocks are preferred, then cuts, then any feature map that weights have touched.

    Args:
        graph: A flat graph.
        narrow: Prefer cuts of at most half of the channels that the widest cut of the stride has.
        first: Names of tensors that are preferred to all.
    """
    anatomy = anatomy_of(graph) if graph.problem is None else None
    if anatomy is None:
        return {}
    strides = _strides(graph, anatomy)
    tops = {block.depth for block in blocks(graph)}
    ends = [cut.tensor for cut in cuts(graph) if cut.depth in tops]
    inner = [i for i, op in enumerate(anatomy.ops) if anatomy.weighty[i] and op.outputs and op.name in graph.nodes]
    every = [anatomy.ops[i].outputs[0].name for i in inner]  # outputs of the assembled function have names of their own
    maps: dict[int, str] = _narrow(graph, strides, [cut.tensor for cut in cuts(graph)]) if narrow else {}
    for names in ([name for name in every if name in first], ends, [cut.tensor for cut in cuts(graph)], every):
        last = {strides[name]: name for name in names if name in strides and not _padded(anatomy, name)}
        maps |= {stride: name for stride, name in last.items() if stride not in maps}
    return dict(sorted(maps.items()))


def _narrow(graph: Graph, strides: Mapping[str, int], names: Sequence[str]) -> dict[int, str]:
    """Stride -> the last of these tensors that has at most half as many channels as the widest of the stride."""
    channels = {name: (sizes(graph, name) or (0,))[-1] or 0 for name in names if name in strides}
    widest: dict[int, int] = {}
    for name, count in channels.items():
        widest[strides[name]] = max(count, widest.get(strides[name], 0))
    return {strides[name]: name for name, count in channels.items() if count <= widest[strides[name]] / 2}


def _padded(anatomy: Anatomy, tensor: str) -> bool:
    return anatomy.ops[anatomy.place[tensor.partition(":")[0]]].type in PADDING


def _strides(graph: Graph, anatomy: Anatomy) -> dict[str, int]:
    """Stride of every 4-D tensor that comes from the input by convolutions, poolings and what keeps places."""
    strides: dict[str, int] = {
        t.name: 1 for t in graph.whole.inputs[: len(graph.inputs)] if t.shape.rank == 4 and t.dtype.is_floating
    }
    for i, op in enumerate(anatomy.ops):
        before = [strides[t.name] for t in op.inputs if t.name in strides]
        if not before or not anatomy.data[i] or op.type in MIXING:
            continue
        shape = sizes(graph, op.outputs[0].name)
        if shape is not None and len(shape) == 4 and 1 not in shape[1:3]:
            strides[op.outputs[0].name] = _stride_behind(graph, op, max(before))
    return strides


def _stride_behind(graph: Graph, op: Any, before: int) -> int:
    if op.type in ("DepthToSpace", "SpaceToDepth"):
        block = int(op.get_attr("block_size"))
        return before * block if op.type == "SpaceToDepth" else max(1, before // block)
    if "Backprop" in op.type:  # a transposed convolution
        return max(1, before // int(max(op.get_attr("strides"))))
    if "strides" in op.node_def.attr:
        return before * int(max(op.get_attr("strides")))
    old, new = (sizes(graph, t.name) for t in (op.inputs[0], op.outputs[0]))
    if "Resize" in op.type and old and new and old[1] and new[1]:
        return max(1, round(before * old[1] / new[1]))
    return before


# Tables


def embedding(graph: Graph) -> str | None:
    """Name in `graph.resources` of the table that the module's ids are looked up in, of several the one with most rows.

    None where no whole numbers of the inputs are looked up.
    """
    if not graph.nodes:
        return None
    rows = tables(graph, anatomy_of(graph))
    names = {index: name for name, index in graph.resources.items()}
    return names[max(rows, key=lambda index: rows[index])] if rows else None
