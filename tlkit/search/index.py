"""index: a collection as unit vectors, searched by what its items mean, and kept in a folder."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkit.core.batches import gathered, pieces_of, read_batches
from tlkit.core.brief import brief
from tlkit.core.checks import check_given
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Pipeline, Splits
from tlkit.core.files import atomic_folder, sha256_bytes, sha256_file
from tlkit.core.modality import FileInfo
from tlkit.core.naming import is_users, trusted
from tlkit.core.progress import Progress, shown
from tlkit.data import image_source
from tlkit.data.ratings import RATINGS, items_of
from tlkit.data.text import LONGEST
from tlkit.data.text_source import TEXT, TEXT_MODALITY, piece_counts
from tlkit.features.extract import extract
from tlkit.features.vectors import averaged, opened
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import is_image, own_image_size
from tlkit.modalities.prepare import known_settings, named, prepare
from tlkit.modalities.text import is_text, takes_tokens
from tlkit.model.partition import weights_hash
from tlkit.search.items import history_vectors, item_vectors, numbers_of

EXACT_BELOW = 100_000  # items; from so many on, faiss' graph of neighbours answers
FORMAT = 2
RECORD, VECTORS, ITEMS, NEIGHBOURS = "index.json", "vectors.npy", "items.json", "neighbours.faiss"

_BLOCK = 16_384  # items that are compared at a time
_NEAR = 1e-5  # float32 products that differ by less are compared again in float64
_LINKS = 32  # of each item in faiss' graph
_WIDTH = 128  # candidates that a search of the graph keeps


class Hit(NamedTuple):
    """One item found: its id, its cosine with the query in [-1, 1], and its text ("" where there is none)."""

    id: str
    score: float
    text: str


@dataclass(frozen=True)
class Maker:
    """What made the vectors, so that queries are made alike.

    Attributes:
        handle: The module's handle.
        sha256: Hash of the module's folder; None where it has none, such as a keras.Model.
        weights: Hash of the weights as they were, of the output taken and of the input range.
        output: Which of several outputs was taken.
        input_range: Range of the pixels that the module takes.
        pipeline: What turned the items into inputs.
        length: Word pieces at which texts are cut; None cuts at 512 only.
        image_size: (height, width) of images.
        modality: Name of the items' modality.
        shapes: Shape of each input of the module without the batch, by name, as items of a user's modality have it.
    """

    handle: str
    sha256: str | None
    weights: str
    output: str | int | None
    input_range: tuple[float, float] | None
    pipeline: Pipeline
    length: int | None = None
    image_size: tuple[int, int] | None = None
    modality: str = ""
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Index:
    """A collection that can be searched; `tlkit.index` makes one, `tlkit.load` opens a saved one.

    Attributes:
        vectors: float32 (n, d) of length 1; an item in which the module finds nothing has zeros, and scores 0.
        ids: Name of each item.
        texts: Its text; () where items are no texts.
        made_by: What made the vectors.
        backbone: The module; None opens the one of `made_by` when the first query comes.
        folder: Where it was saved, or None.
    """

    vectors: np.ndarray
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    made_by: Maker
    backbone: HubLayer | None = None
    folder: Path | None = None

    def __repr__(self) -> str:
        return brief(self)

    def __len__(self) -> int:
        return len(self.ids)

    def nearest(self, queries: Sequence[Any], k: int = 10, *, exact: bool | None = None) -> list[list[Hit]]:
        """The items whose vectors point most nearly where the query's does, the best first; equal ones by position.

        Args:
            queries: What the items are: strings for texts, uint8 arrays (height, width, 3) for images, else arrays; of
                a catalogue histories, lists of ids, the latest last, whose own items are not found again. Of your own
                modality, what its `parse` takes, which may be paths.
            k: Items for each query, >= 1; fewer where the collection is smaller.
            exact: Compare every item (True), or follow faiss' graph of neighbours, which may miss some (False); None
                compares every item of a collection below 100,000.

        Returns:
            A list of hits for each query.

        Raises:
            InputError: If queries are of another kind, the module's weights are no longer those that made the
                vectors, or faiss is needed and missing.
        """
        if k < 1:
            raise InputError(f"`k` must be 1 or more. Received: k={k!r}.")
        if isinstance(queries, str | bytes):
            raise InputError(f"`queries` must be a list of queries. Received: one text, {queries!r:.60}.")
        if not len(queries):
            return []
        layer = self._layer
        _check_same(layer, self.made_by)
        if self.made_by.pipeline.get(RATINGS) is not None:
            return self._unseen(layer, numbers_of(queries, self.ids), k, exact)
        if is_users(self.made_by.modality):
            return self.nearest_vectors(_parsed(queries, layer, self.made_by), k, exact=exact)
        return self.nearest_vectors(_embedded(layer, _asked(queries, layer, self.made_by)), k, exact=exact)

    def nearest_vectors(self, vectors: np.ndarray, k: int = 10, *, exact: bool | None = None) -> list[list[Hit]]:
        """`nearest` for queries that are vectors already: float32 (q, d) of length 1."""
        if vectors.ndim != 2 or vectors.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"Queries must be vectors (q, {self.vectors.shape[1]}), as the items are. "
                f"Received: shape={vectors.shape}."
            )
        everything = len(self) < EXACT_BELOW if exact is None else exact
        candidates = _all_near(self.vectors, vectors, k) if everything else self._neighbours_of(vectors, k)
        return [
            [Hit(self.ids[i], score, self.texts[i] if self.texts else "") for i, score in best(self.vectors, q, at, k)]
            for q, at in zip(vectors, candidates, strict=True)
        ]

    def _unseen(self, layer: HubLayer, histories: Sequence[np.ndarray], k: int, exact: bool | None) -> list[list[Hit]]:
        """The best items of each history that it does not hold."""
        vectors, most = history_vectors(layer, histories, self.made_by.pipeline), max(map(len, histories))
        rows = zip(histories, self.nearest_vectors(vectors, k + most, exact=exact), strict=True)
        seen_hits = [({self.ids[number - 1] for number in history if number}, hits) for history, hits in rows]
        return [[hit for hit in hits if hit.id not in seen][:k] for seen, hits in seen_hits]

    def save(self, folder: str | Path) -> Index:
        """Write the index into a folder of its own, whole or not at all.

        Returns:
            The index with its `folder`.

        Raises:
            InputError: If the folder holds something else.
        """
        path = Path(folder)
        if path.exists() and any(path.iterdir()) and not (path / RECORD).is_file():
            raise InputError(f"{path} holds something else than an index; choose a folder that is empty or new.")
        with atomic_folder(path) as partial:
            np.save(partial / VECTORS, self.vectors)
            (partial / ITEMS).write_text(json.dumps({"ids": self.ids, "texts": self.texts}, ensure_ascii=False))
            if len(self) >= EXACT_BELOW:
                _faiss().write_index(self._graph, str(partial / NEIGHBOURS))
            files = {file.name: sha256_file(file) for file in sorted(partial.iterdir())}
            record = {"format": FORMAT, "count": len(self), "made_by": dataclasses.asdict(self.made_by), "files": files}
            (partial / RECORD).write_text(json.dumps(record, indent=1))
        return dataclasses.replace(self, folder=path)

    @staticmethod
    def load(folder: str | Path, backbone: Any = None) -> Index:
        """Open a saved index.

        Args:
            folder: Where `save` wrote it.
            backbone: The module that made it, a HubLayer or what that takes as handle; None opens the handle that
                the index recorded, and checks its sha256.

        Raises:
            InputError: If there is no index, a file is damaged, or `backbone` is another module.
        """
        path = Path(folder)
        record = _record(path)
        made_by = _maker(record["made_by"])
        if trusted() and is_users(made_by.modality):
            named(made_by.modality)  # while trust lasts
        items = json.loads((path / ITEMS).read_text())
        layer = None if backbone is None else _prepared(backbone, made_by)
        if layer is not None:
            _check_same(layer, made_by)
        vectors = np.load(path / VECTORS, mmap_mode="r", allow_pickle=False)
        return Index(vectors, tuple(items["ids"]), tuple(items["texts"]), made_by, layer, path)

    @functools.cached_property
    def _layer(self) -> HubLayer:
        return self.backbone or _prepared(HubLayer(self.made_by.handle, sha256=self.made_by.sha256), self.made_by)

    @functools.cached_property
    def _graph(self) -> Any:
        """faiss' graph of neighbours, from the index's folder or made anew."""
        file = None if self.folder is None else self.folder / NEIGHBOURS
        return _faiss().read_index(str(file)) if file is not None and file.is_file() else _linked(self.vectors)

    def _neighbours_of(self, queries: np.ndarray, k: int) -> Iterator[np.ndarray]:
        faiss = _faiss()
        width = faiss.SearchParametersHNSW(efSearch=max(_WIDTH, 2 * k))
        _, neighbours = self._graph.search(np.ascontiguousarray(queries), min(k, len(self)), params=width)
        return (row[row >= 0] for row in neighbours)


def index(
    backbone: Any,
    examples: Examples,
    *,
    length: int | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Index:
    """Embed a collection, so that it can be searched by meaning.

    Args:
        backbone: A HubLayer, or what HubLayer takes as handle; it is frozen, and what it gives is cached as `extract`
            does. A vector for each step or place is averaged.
        examples: The collection: texts, images of any size, or what the module takes; targets are not looked at. Of
            ratings, the items of their catalogue, which histories find by the module that learned them.
        length: Word pieces, or words, at which texts, and later queries, are cut; None cuts at 512 only.
        batch_size: Items at a time, >= 1.
        progress: Where progress goes; None shows it on stderr.

    Returns:
        An Index: `nearest(queries, k)`, `save(folder)`.

    Raises:
        InputError: If the collection is empty, does not fit the module, or its features are not finite.
    """
    if isinstance(examples, Splits):
        raise InputError("An index is of one collection, and these are three parts: give `data.train`, say.")
    if not len(examples):
        raise InputError("There is nothing to index: the examples are empty.")
    layer = _prepared(backbone, spec=examples.inputs.spec)
    if examples.modality == RATINGS:
        return _of_catalogue(layer, examples)
    size = _image_size(layer, examples)
    texts = tuple(_texts_of(examples))
    weights = _weights(layer)
    ready = _taken(examples, layer, length, size)
    if _weights(layer) != weights:
        raise InputError(
            f"{layer.handle} takes thresholds from what it reads first, so that no other process could ask the index: "
            "tlkit.publish a run of it, and index with the folder."
        )
    with (progress or shown(to_stderr=True)).bar("features", len(ready)) as advance:
        features = extract(layer, ready, batch_size=batch_size, progress=advance)
    if any(features.steps):
        raise InputError(f"{layer.handle} gives a vector for each step of a text; choose its pooled output_key.")
    made_by = Maker(
        layer.handle, layer.sha256, weights, layer.output_key, layer.input_range, ready.pipeline, length, size,
        examples.modality, _shapes(ready.inputs.spec) if is_users(examples.modality) else {},
    )  # fmt: skip
    return Index(_unit(np.asarray(features)), ready.ids, texts, made_by, layer)


def _of_catalogue(layer: HubLayer, examples: Examples) -> Index:
    ids, titles = items_of(examples.pipeline)
    vectors = item_vectors(layer)
    if len(vectors) != len(ids):
        raise InputError(f"{layer.handle} has {len(vectors):,} items, and the catalogue {len(ids):,}.")
    settings = {**(examples.pipeline.get(RATINGS) or {}), "items": [], "titles": []}  # the index has them
    made_by = Maker(layer.handle, layer.sha256, _weights(layer), None, None, Pipeline().then(RATINGS, **settings))
    return Index(vectors, ids, titles, made_by, layer)


# -- searching


def best(vectors: np.ndarray, query: np.ndarray, candidates: np.ndarray, k: int) -> list[tuple[int, float]]:
    """(position, cosine) of the `k` candidates nearest to a query, in float64; equal ones in the order of positions.

    Each product is computed the same way wherever its item stands, so that equal items score equally.
    """
    rows = np.sort(candidates)
    scores = (vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(rows[i]), float(scores[i])) for i in order]


def _all_near(vectors: np.ndarray, queries: np.ndarray, k: int) -> list[np.ndarray]:
    """Positions that may belong to the `k` nearest of each query, by float32 products, a block of items at a time."""
    near: list[np.ndarray] = [np.zeros(0, np.int64) for _ in queries]
    scores: list[np.ndarray] = [np.zeros(0, np.float32) for _ in queries]
    for start in range(0, len(vectors), _BLOCK):
        block = queries @ vectors[start : start + _BLOCK].T
        for q, row in enumerate(block):
            leaders = _leading(row, k)
            merged = np.concatenate([scores[q], row[leaders]])
            leading = _leading(merged, k)
            near[q] = np.concatenate([near[q], leaders + start])[leading]
            scores[q] = merged[leading]
    return near


def _leading(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the `k` highest scores, and of those that rounding alone may keep from being among them."""
    if len(scores) <= k:
        return np.arange(len(scores))
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= kth - _NEAR)


def _linked(vectors: np.ndarray) -> Any:
    """faiss' graph over all vectors; by one thread, as several would make another graph each time.

    Source: Malkov and Yashunin 2018, arXiv:1603.09320 (HNSW).
    """
    faiss = _faiss()
    graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        graph.add(np.ascontiguousarray(vectors))
    finally:
        faiss.omp_set_num_threads(threads)
    return graph


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            f"Searching {EXACT_BELOW:,} items or more needs faiss: pip install 'tlkit[ann]', or compare every item "
            "with nearest(..., exact=True)."
        ) from error
    return faiss


# -- what the module takes, and gives


def _prepared(backbone: Any, made_by: Maker | None = None, spec: Any = None) -> HubLayer:
    """The module as a layer that gives one output, as `made_by` has it, for items of this the spec of inputs."""
    layer = backbone if isinstance(backbone, HubLayer) else HubLayer(backbone)
    if made_by is not None:
        layer.shaped(spec if made_by.image_size is None else ArraySpec((*made_by.image_size, 3), "uint8"))
        layer.input_range = layer.input_range if layer.input_range is not None else made_by.input_range
        layer.output_key = layer.output_key if layer.output_key is not None else made_by.output
    return opened(layer, spec=spec)


def _weights(layer: HubLayer) -> str:
    return sha256_bytes(str(layer.output_key), str(layer.input_range), weights_hash(layer.variables))


def _check_same(layer: HubLayer, made_by: Maker) -> None:
    another_module = None not in (layer.sha256, made_by.sha256) and layer.sha256 != made_by.sha256
    if another_module or _weights(layer) != made_by.weights:
        kind = "another module" if another_module else "the same module with other weights"
        raise InputError(
            f"{made_by.handle} (sha256 {str(made_by.sha256)[:12]}) made the index, and {layer.handle} is {kind}; "
            "pass the one that made it to Index.load(folder, backbone), or index the collection again."
        )


def _image_size(layer: HubLayer, examples: Examples) -> tuple[int, int] | None:
    if not is_image(layer):
        return None
    module_size = own_image_size(layer)
    size = examples.inputs.spec.shape[:2] if module_size is None else module_size
    if None in size:
        raise InputError(f"{layer.handle} takes images of any size; read the examples at one: image_size=(224, 224).")
    return (int(size[0]), int(size[1]))


def _taken(examples: Examples, layer: HubLayer, length: int | None, size: tuple[int, int] | None) -> Examples:
    """A collection or queries as the module takes them; texts are cut at `length` only."""
    if takes_tokens(layer) and is_text(examples.inputs.spec) and length is None and layer.tokenizer is not None:
        longest = int(piece_counts(examples, layer.tokenizer).max())
        length = _open_length(layer, longest)
    nothing = examples.subset([])
    settings = {"length": length, **known_settings(examples, image_size=size)}
    return prepare(Splits(examples, nothing, nothing), layer, **settings).train


def _open_length(layer: HubLayer, longest: int) -> int | None:
    """Pieces that nothing is cut by, in eights; None where the module takes one length only."""
    fixed = all(spec.shape[1] is not None for spec in layer.endpoint.input_leaves)
    return None if fixed else min(LONGEST, -(-longest // 8) * 8)


def _asked(queries: Sequence[Any], layer: HubLayer, made_by: Maker) -> Examples:
    """Queries as Examples that the module takes."""
    strings = [isinstance(query, str) for query in queries]
    if any(strings) != _wants_texts(layer) or any(strings) != all(strings):
        kind = "texts (str)" if _wants_texts(layer) else "arrays"
        wrong = next(q for q, string in zip(queries, strings, strict=True) if string != _wants_texts(layer))
        raise InputError(f"{layer.handle} takes {kind} as queries. Received: {wrong!r:.60} ({type(wrong).__name__}).")
    if made_by.image_size is not None:
        pictures = list(
            image_source.checked_arrays(queries, (made_by.pipeline.get(image_source.IMAGE) or {}).get("white"))
        )
        reader = image_source.ImageReader(pictures.__getitem__, (255, 255, 255), made_by.image_size)
        return _plain(reader, len(pictures), reader.spec, image_source.IMAGE)
    arrays = [np.array(query, object) if isinstance(query, str) else np.asarray(query) for query in queries]
    spec = TEXT if all(strings) else ArraySpec(arrays[0].shape, arrays[0].dtype.name)
    modality = TEXT_MODALITY if all(strings) else "plain"
    return _taken(_plain(arrays.__getitem__, len(arrays), spec, modality), layer, made_by.length, None)


def _parsed(queries: Sequence[Any], layer: HubLayer, made_by: Maker) -> np.ndarray:
    """Unit vectors of queries of a user's own modality; of several examples that are one thing, that of their mean."""
    modality, info = named(made_by.modality), FileInfo(made_by.pipeline, made_by.shapes)
    vectors = []
    for query in queries:
        read: Any = _one_example if modality.parse is None else modality.parse
        examples = read(query, info)
        check_given(examples, Examples, "parse", f"the modality {modality.name!r}")
        ready = _taken(dataclasses.replace(examples, modality=modality.name), layer, None, None)
        vectors.append(_embedded(layer, ready).mean(axis=0))
    return _unit(np.stack(vectors))


def _one_example(query: Any, _info: FileInfo) -> Examples:
    value = np.asarray(query)
    return _plain([value].__getitem__, 1, ArraySpec(value.shape, value.dtype.name), "plain")


def _shapes(spec: Any) -> dict[str, tuple[int, ...]]:
    """Shape of each input by name."""
    specs = spec if isinstance(spec, Mapping) else {"inputs": spec}
    return {name: tuple(part.shape) for name, part in specs.items()}


def _wants_texts(layer: HubLayer) -> bool:
    return takes_tokens(layer) or layer.endpoint.input_leaves[0].dtype.as_numpy_dtype is object


def _plain(read: Any, count: int, spec: ArraySpec, modality: str) -> Examples:
    names = tuple(str(i) for i in range(count))
    return Examples(names, ReadColumn(read, spec, names), ArrayColumn(np.zeros((count, 0), np.float32)), modality)


def _embedded(layer: HubLayer, examples: Examples) -> np.ndarray:
    """Unit vectors of queries; computed at once, and not kept."""
    pieces = pieces_of(examples, np.arange(len(examples)), 1 if _sizes_differ(examples) else 32)
    input_specs = layer.endpoint.inputs
    outputs = (np.asarray(layer(_cast(batch, input_specs), training=False)) for batch in read_batches(examples, pieces))
    return _unit(gathered(pieces, (averaged(output) for output in outputs)))


def _sizes_differ(examples: Examples) -> bool:
    """Sounds may each have a length of their own."""
    return (
        isinstance(examples.inputs.spec, ArraySpec)
        and len({examples.inputs[i].shape for i in range(len(examples))}) > 1
    )


def _cast(batch: Any, specs: Any) -> Any:
    if isinstance(batch, dict):
        return {key: np.asarray(batch[key], specs[key].dtype.as_numpy_dtype) for key in specs}
    return np.asarray(batch, specs.dtype.as_numpy_dtype)


def _unit(features: np.ndarray) -> np.ndarray:
    """float32 (n, d) of length 1; zeros stay zeros."""
    flat = averaged(features) if features.ndim > 2 else features
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(flat, lengths, out=np.zeros(flat.shape, np.float32), where=lengths > 0)
    return unit


def _maker(plain: Mapping[str, Any]) -> Maker:
    """What `dataclasses.asdict` and JSON made of a Maker."""
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    shapes = {name: tuple(shape) for name, shape in plain.get("shapes", {}).items()}
    return Maker(**arguments | {"pipeline": Pipeline.of(plain["pipeline"]["steps"]), "shapes": shapes})


def _texts_of(examples: Examples) -> Iterator[str]:
    if "text" in examples.columns:
        yield from (str(examples.columns["text"][i]) for i in range(len(examples)))
    elif examples.inputs.spec == TEXT:
        yield from (str(examples.inputs[i]) for i in range(len(examples)))


def _record(path: Path) -> dict[str, Any]:
    """What index.json says, its files checked."""
    if not (path / RECORD).is_file():
        raise InputError(f"{path} is no index (it has no {RECORD}); give the folder that `save` wrote.")
    try:
        record: dict[str, Any] = dict(json.loads((path / RECORD).read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path / RECORD} is damaged; index the collection again.") from error
    if record.get("format") == FORMAT and not all(isinstance(record.get(n), dict) for n in ("files", "made_by")):
        raise InputError(f"{path / RECORD} is damaged; index the collection again.")
    if record.get("format") != FORMAT:
        raise InputError(f"{path} was written by another version of tlkit; index the collection again.")
    for name, digest in record["files"].items():
        if not (path / name).is_file() or sha256_file(path / name) != digest:
            raise InputError(f"{path / name} is damaged; index the collection again.")
    return record
