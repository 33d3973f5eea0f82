"""HubLayer: a pretrained module as a Keras 3 layer that one can look into, cut and train in part."""

from __future__ import annotations

import base64
import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit import hub
from tlkit.endpoints import Endpoint, gradients_reach, open_endpoint
from tlkit.errors import InputError
from tlkit.graph.flat import part_as

PIXEL_MAX = 255.0


@keras.saving.register_keras_serializable(package="tlkit")
class HubLayer(keras.layers.Layer):
    """A pretrained module (TF Hub, Kaggle, any SavedModel, a keras.Model) as a layer.

    It takes the arguments of `hub.KerasLayer` and differs in what Keras 3 needs: the module's variables are the
    layer's own weights (so Adam trains them and `.keras` files hold them), the config carries the module's graph (so
    a saved model opens where the module is not), and BatchNorm stays in inference mode unless asked otherwise.

    Args:
        handle: Folder, .tar.gz, http(s) URL, `kaggle:...`, `gs://...`, `zoo:NAME`, `keras.applications:NAME`, a loaded
            SavedModel, or a keras.Model.
        trainable: Whether the module's trainable variables are trained.
        arguments: Further keyword arguments of the module's `__call__`, plain values.
        tags: Tags of the SavedModel's graph, where it has several.
        signature: Name of a signature to use instead of `__call__`.
        signature_outputs_as_dict: Whether a signature's outputs are given as a dict.
        output_key: The one output to give, where there are several.
        output_shape: Shape of the output without the batch, where the module does not know it.
        load_options: `tf.saved_model.LoadOptions`; not saved.
        input_range: Range that the module expects of pixels. Given, the layer takes pixels in 0..255 and scales them
            by one affine; None passes inputs on unchanged, as hub.KerasLayer does.
        batch_stats: "frozen" runs BatchNorm and the module's dropout in inference mode always; "adapt" runs the whole
            module in training mode while it trains.
        unfrozen: Share of the module's depth that trains when `trainable`, in [0, 1], from the output down.
        sha256: Expected sha256 of the module's folder; another one is an error.
        trust: Load a module that the scan refuses.
        offline: Do not download; None reads `TLKIT_OFFLINE`.
        graph: The module's graph as `get_config` holds it; used instead of `handle` when a saved model is opened.
        dtype: Own dtype policy; "float32" keeps the module right inside a mixed_float16 model.
        **kwargs: `name` and what else `keras.layers.Layer` takes.

    Raises:
        InputError: If the module cannot be had, is refused, or cannot do what the arguments ask.

    Example:
        model = keras.Sequential([HubLayer("zoo:efficientnet-lite0", trainable=True), keras.layers.Dense(10)])
    """

    def __init__(
        self,
        handle: Any = None,
        trainable: bool = False,
        arguments: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        signature: str | None = None,
        signature_outputs_as_dict: bool | None = None,
        output_key: str | None = None,
        output_shape: Any = None,
        load_options: Any = None,
        input_range: tuple[float, float] | None = None,
        batch_stats: str = "frozen",
        unfrozen: float = 1.0,
        sha256: str | None = None,
        trust: bool = False,
        offline: bool | None = None,
        graph: str | None = None,
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        _check_arguments(handle, graph, batch_stats, unfrozen, input_range)
        super().__init__(trainable=trainable, dtype=dtype, **kwargs)
        self._graph_bytes = base64.b64decode(graph) if graph else None
        if self._graph_bytes is not None:
            module = hub.unpack(self._graph_bytes, tags=tags, trust=trust)
            self._handle, self._sha256 = str(handle), sha256
        else:
            module = hub.open_module(
                handle, tags=tags, load_options=load_options, trust=trust, sha256=sha256, offline=offline
            )
            self._handle, self._sha256 = module.handle, module.sha256
        self._tags = list(tags) if tags is not None else None
        self._signature, self._arguments = signature, dict(arguments or {})
        self._as_dict, self._output_key, self._output_shape = signature_outputs_as_dict, output_key, output_shape
        self._input_range = tuple(float(v) for v in input_range) if input_range is not None else None
        self._batch_stats, self._unfrozen = batch_stats, float(unfrozen)
        self._strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        self._attach(module)
        if trainable:
            self._apply_unfrozen()

    # -- loading

    def _attach(self, module: Any) -> None:
        """Make the module's variables the layer's own. Plain `__dict__` entries are what Keras should not track."""
        endpoint = open_endpoint(module.loaded, self._signature, self._arguments)
        self._module = module.loaded  # tracked, so that tables and assets travel with exports
        self.__dict__["_endpoint"] = endpoint
        self.__dict__["_folder"] = module.folder
        self.__dict__["card"] = dict(module.card)
        trainable = {id(v) for v in endpoint.trainable}
        names = _clean_names([v.name for v in endpoint.variables])
        own = {}
        with keras.name_scope(self.name, caller=self):
            for index, (variable, name) in enumerate(zip(endpoint.variables, names, strict=True)):
                if variable.dtype != tf.string:
                    own[index] = _as_keras_variable(variable, name, id(variable) in trainable)
                    self._track_variable(own[index])
        self.__dict__["_own"] = own
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        """Nothing is left to be built: the variables came with the module."""
        self.built = True

    # -- what is inside

    @property
    def handle(self) -> str:
        """Where the module came from."""
        return str(self._handle)

    @property
    def sha256(self) -> str | None:
        """Hash of the module's folder when it was first loaded."""
        return self._sha256

    @property
    def endpoint(self) -> Endpoint:
        """The function of the module that this layer calls."""
        return self.__dict__["_endpoint"]  # type: ignore[no-any-return]

    @property
    def module_variables(self) -> dict[int, keras.Variable]:
        """The layer's weights by their index in `endpoint.variables`."""
        return self.__dict__["_own"]  # type: ignore[no-any-return]

    @functools.cached_property
    def graph(self) -> graphs.Graph:
        """The flattened inference graph.

        Raises:
            InputError: If this module's graph cannot be taken apart (the message says why).
        """
        with tf.init_scope():  # the first use may lie inside a trace
            return graphs.flatten(self.endpoint.inference, self.endpoint.variables)

    @functools.cached_property
    def blocks(self) -> tuple[graphs.Block, ...]:
        """The module's blocks, input side first: name, shape, parameters, depth, share of the forward cost."""
        with tf.init_scope():
            return graphs.blocks(self.graph)

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Range that the module expects of pixels, or None where inputs pass unchanged."""
        return self._input_range  # type: ignore[return-value]

    @input_range.setter
    def input_range(self, value: tuple[float, float] | None) -> None:
        _check_range(value)
        self._input_range = None if value is None else tuple(float(v) for v in value)
        self.__dict__.pop("_folded", None)

    @property
    def unfrozen(self) -> float:
        """Share of the module's depth that trains when `trainable`; `unfreeze` sets it."""
        return self._unfrozen

    @property
    def batch_stats(self) -> str:
        """ "frozen" or "adapt"."""
        return self._batch_stats

    @batch_stats.setter
    def batch_stats(self, value: str) -> None:
        _check_batch_stats(value)
        self._batch_stats = value

    # -- freezing

    @property
    def trainable(self) -> bool:
        """Whether the unfrozen share of the module trains."""
        return bool(self._trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        if value and "_own" in self.__dict__:
            self._apply_unfrozen()

    def unfreeze(self, share: float) -> tuple[graphs.Block, ...]:
        """Train the last `share` of the module's depth in anybody's `fit`; compile the model again afterwards.

        Args:
            share: In [0, 1], from the output down; rounded to the nearest cut towards the output.

        Returns:
            The blocks that train from now on.

        Raises:
            InputError: If `share` lies outside [0, 1], or the module has nothing to train.
        """
        if not 0 <= share <= 1:
            raise InputError(f"`share` must lie in [0, 1]. Received: share={share!r}.")
        self._unfrozen = float(share)
        self.trainable = share > 0
        if share > 0:
            self._apply_unfrozen()  # TensorFlow's tracking skips a setter whose value is the same as before
        cut = self.cut_for(share)
        start = cut.depth if cut is not None else 0.0
        return () if share == 0 else tuple(b for b in self._blocks_or_none() if b.depth > start + 1e-9)

    def _blocks_or_none(self) -> tuple[graphs.Block, ...]:
        try:
            return self.blocks
        except InputError:
            return ()

    def cut_for(self, unfrozen: float) -> graphs.Cut | None:
        """Where the module is cut to train the last `unfrozen` of its depth; None trains the whole."""
        if unfrozen >= 1:
            return None
        try:
            return graphs.nearest_cut(self.graph, unfrozen)
        except InputError as error:
            if 0 < unfrozen:
                warnings.warn(f"{self.name}: the module cannot be cut, so all of it trains: {error}", stacklevel=2)
            return None

    def _apply_unfrozen(self) -> None:
        """Flags of the single variables, as `unfrozen` says."""
        self._require_gradients()
        declared = {id(v) for v in self.endpoint.trainable}
        cut = self.cut_for(self._unfrozen)
        behind = set(self.module_variables) if cut is None else set(cut.variables_behind)
        for index, variable in self.module_variables.items():
            if id(self.endpoint.variables[index]) in declared:
                variable.trainable = index in behind

    def depth_factors(self, decay: float) -> dict[str, float]:
        """Learning-rate factor by `variable.path`: `decay`**k, with k = 1 for the block next to the head.

        Source: Howard and Ruder 2018, arXiv:1801.06146 (discriminative fine-tuning).
        """
        factors = {}
        for k, block in enumerate(reversed(self.blocks), start=1):
            for index in block.variables:
                if index in self.module_variables:
                    factors[self.module_variables[index].path] = decay**k
        return factors

    def _require_gradients(self) -> None:
        """Say why a module cannot be trained, where no gradient reaches any of its variables."""
        if not self.endpoint.trainable:
            raise InputError(
                f"{self.handle} has no trainable variables, so trainable=True can do nothing; "
                "use it with trainable=False and train the layers on top."
            )
        if self.endpoint.name != "__call__" and not self._reached:
            raise InputError(
                f"No gradient reaches the variables of {self.handle} through its {self.endpoint.name!r}; "
                "use another signature, or trainable=False."
            )

    @functools.cached_property
    def _reached(self) -> set[int]:
        return gradients_reach(self.endpoint)

    # -- calling

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Run the module; dict inputs and outputs stay dicts."""
        self._require_strategy()
        adapt = bool(training) and self.trainable and self._batch_stats == "adapt"
        outputs = self._run(tf.nest.map_structure(tf.convert_to_tensor, inputs), adapt)
        if self.trainable:
            for loss in self.endpoint.regularization_losses:
                self.add_loss(loss())
        return self._chosen(outputs)

    def _run(self, inputs: Any, adapt: bool) -> Any:
        if self.input_range is not None and not adapt and self._folded is not None:
            scale, offset, function = self._folded
            return function(tf.cast(inputs, tf.float32) * scale + offset)
        return self._call_module(self.scaled(inputs), adapt)

    def _call_module(self, inputs: Any, adapt: bool) -> Any:
        inputs = self._cast(inputs)
        try:
            return self.endpoint.call(inputs, adapt)
        except (ValueError, TypeError) as error:
            expected = tf.nest.map_structure(_spec_text, self.endpoint.inputs)
            given = tf.nest.map_structure(_spec_text, inputs)
            raise InputError(
                f"{self.handle} does not take these inputs; give what it was exported for. "
                f"Expected: {expected}. Received: {given}."
            ) from error

    def scaled(self, inputs: Any) -> Any:
        """Pixels 0..255 in the module's range, where `input_range` is set; anything else unchanged."""
        if self.input_range is None:
            return inputs
        low, high = self.input_range
        return tf.cast(inputs, tf.float32) * ((high - low) / PIXEL_MAX) + low

    def _cast(self, inputs: Any) -> Any:
        """Numbers in the dtype that the module was traced with; autocast or NumPy may have chosen another."""
        try:
            tf.nest.assert_same_structure(self.endpoint.inputs, inputs)
        except (ValueError, TypeError):
            return inputs
        return tf.nest.map_structure(_cast_numbers, inputs, self.endpoint.inputs)

    @functools.cached_property
    def _folded(self) -> tuple[np.ndarray, np.ndarray, Callable[[Any], Any]] | None:
        """One affine for the layer's scaling and the one that the module begins with: int8 files need it (FACTS)."""
        if self._strategy is not None:
            return None
        with tf.init_scope():
            affine = graphs.input_affine(self.graph)
            if affine is None:
                return None
            back = part_as(self.graph, [affine.tensor], self.graph.outputs, self.graph.structure)
        low, high = self.input_range or (0.0, PIXEL_MAX)
        scale = affine.scale * (high - low) / PIXEL_MAX
        offset = affine.scale * low + affine.offset
        return np.asarray(scale, "float32"), np.asarray(offset, "float32"), back

    def _chosen(self, outputs: Any) -> Any:
        """The output that was asked for, of known shape where the user gave it."""
        if isinstance(outputs, Mapping) and not (self._as_dict and self._output_key is None):
            outputs = self._one_of(outputs)
        if self._output_shape is not None:
            tf.nest.map_structure(_set_shape, outputs, _shapes(self._output_shape, outputs))
        return outputs

    def _one_of(self, outputs: Mapping[str, Any]) -> Any:
        if self._output_key is not None:
            if self._output_key not in outputs:
                raise InputError(
                    f"`output_key` must be one of {sorted(outputs)}. Received: output_key={self._output_key!r}."
                )
            return outputs[self._output_key]
        if self.endpoint.name == "__call__":
            return outputs
        if "default" in outputs or len(outputs) == 1:
            return outputs.get("default", next(iter(outputs.values())))
        raise InputError(
            f"{self.handle} gives several outputs; choose one with `output_key`, or pass "
            f"signature_outputs_as_dict=True. Outputs: {sorted(outputs)}."
        )

    def _require_strategy(self) -> None:
        if tf.distribute.has_strategy() and tf.distribute.get_strategy() is not self._strategy:
            raise InputError(
                f"{self.name} was made outside this tf.distribute strategy's scope; make the layer, "
                "and compile the model, inside `with strategy.scope():`."
            )

    # -- splitting

    def front(self, cut: graphs.Cut) -> Callable[[Any], Any]:
        """A function from the layer's inputs to the tensor at a cut, in inference mode.

        Args:
            cut: One of `graphs.cuts(self.graph)`.
        """
        with tf.init_scope():
            front = graphs.split(self.graph, cut)[0]
        return lambda inputs: front(*tf.nest.flatten(self._cast(self.scaled(inputs))))

    def back(self, cut: graphs.Cut) -> BackLayer:
        """A layer from the tensor at a cut to this layer's output; it shares its variables and their flags.

        Raises:
            InputError: If what lies behind the cut needs the module's inputs as well (masks).
        """
        if cut.inputs:
            raise InputError(f"{self.name} cannot be split at {cut.tensor}: what lies behind needs the inputs as well.")
        with tf.init_scope():
            return BackLayer(self, graphs.split(self.graph, cut)[1], name=f"{self.name}_back")

    def between(self, first: graphs.Cut, second: graphs.Cut | None) -> Callable[[Any], Any]:
        """A function from the tensor at one cut to that at a later one; None is the layer's output."""
        if second is None:
            return self.back(first)
        with tf.init_scope():
            part = graphs.part(self.graph, [first.tensor], [second.tensor])
        return lambda x: part(x)[0]

    # -- shapes and saving

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """Traces the module with inputs of these shapes: it knows its outputs best."""
        return keras.Operation.compute_output_spec(self, inputs, training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input shape (or a dict of them)."""
        dtypes = [s.dtype.name for s in self.endpoint.input_leaves]
        shapes = list(input_shape.values()) if isinstance(input_shape, Mapping) else [input_shape]
        tensors = [keras.KerasTensor(s, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]
        inputs = dict(zip(input_shape, tensors, strict=True)) if isinstance(input_shape, Mapping) else tensors[0]
        return keras.tree.map_structure(lambda t: t.shape, self.compute_output_spec(inputs))

    def packed_graph(self) -> bytes:
        """The module's graph and assets without its variables, as the config carries them."""
        if self._graph_bytes is None:
            self._graph_bytes = hub.pack(self.__dict__["_folder"], self._module)
        return self._graph_bytes

    def get_config(self) -> dict[str, Any]:
        """Handle, sha256, and the graph itself, so that a saved model opens on a machine without the module."""
        return {
            **super().get_config(),
            "handle": self.handle,
            "sha256": self.sha256,
            "graph": base64.b64encode(self.packed_graph()).decode(),
            "arguments": self._arguments,
            "tags": self._tags,
            "signature": self._signature,
            "signature_outputs_as_dict": self._as_dict,
            "output_key": self._output_key,
            "output_shape": self._output_shape,
            "input_range": self.input_range,
            "batch_stats": self.batch_stats,
            "unfrozen": self._unfrozen,
        }


class BackLayer(keras.layers.Layer):
    """The part of a HubLayer behind a cut; it tracks the very variables of the whole layer."""

    def __init__(self, whole: HubLayer, function: Any, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        used = {id(v) for v in function.graph.variables}
        for index, variable in whole.module_variables.items():
            if id(whole.endpoint.variables[index]) in used:
                self._track_variable(variable)
        self.__dict__["_whole"], self.__dict__["_function"] = whole, function
        self.built = True

    def call(self, inputs: Any) -> Any:
        """From the tensor at the cut to the layer's output, in inference mode."""
        whole: HubLayer = self.__dict__["_whole"]
        if whole.trainable:
            for loss in whole.endpoint.regularization_losses:
                self.add_loss(loss())
        return whole._chosen(self.__dict__["_function"](inputs))  # noqa: SLF001 (the other half of one layer)


def _check_arguments(handle: Any, graph: Any, batch_stats: str, unfrozen: float, input_range: Any) -> None:
    if handle is None and graph is None:
        raise InputError("HubLayer needs a `handle`: a folder, a URL, zoo:NAME, or a keras.Model.")
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"A hub module is TensorFlow, but Keras runs on {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow before keras is imported."
        )
    _check_batch_stats(batch_stats)
    if not 0 <= unfrozen <= 1:
        raise InputError(f"`unfrozen` must lie in [0, 1]. Received: unfrozen={unfrozen!r}.")
    _check_range(input_range)


def _check_range(value: Any) -> None:
    if value is not None and (len(tuple(value)) != 2 or not math.isfinite(sum(value))):
        raise InputError(f"`input_range` must be two numbers, low and high. Received: input_range={value!r}.")


def _check_batch_stats(value: str) -> None:
    if value not in ("frozen", "adapt"):
        raise InputError(f'`batch_stats` must be "frozen" or "adapt". Received: batch_stats={value!r}.')


def _as_keras_variable(variable: Any, name: str, trainable: bool) -> keras.Variable:
    """A Keras variable over the same storage: keras.Variable keeps a tf.Variable that it is given (FACTS)."""
    return keras.Variable(variable, trainable=trainable, dtype=variable.dtype.base_dtype.name, name=name)


def _clean_names(names: Sequence[str]) -> list[str]:
    """Names without "/" and ":", each once; optimizers build scopes of them."""
    seen: dict[str, int] = {}
    cleaned = []
    for name in names:
        base = name.split(":")[0].replace("/", ".").lstrip("._") or "variable"
        seen[base] = seen.get(base, 0) + 1
        cleaned.append(base if seen[base] == 1 else f"{base}.{seen[base]}")
    return cleaned


def _cast_numbers(value: Any, spec: Any) -> Any:
    """Float to float and integer to integer freely; anything else is the user's mistake and is said by the call."""
    dtype = getattr(spec, "dtype", None)
    if dtype is None or value.dtype == dtype or tf.string in (value.dtype, dtype):
        return value
    return tf.cast(value, dtype) if dtype.is_floating or value.dtype.is_integer else value


def _spec_text(spec: Any) -> str:
    return f"{spec.dtype.name} {tuple(spec.shape) if spec.shape.rank is not None else 'any shape'}"


def _set_shape(tensor: Any, shape: Any) -> None:
    tensor.set_shape([None, *shape])


def _shapes(shape: Any, outputs: Any) -> Any:
    """The user's shapes in the structure of the outputs, as one leaf a tensor."""
    if isinstance(outputs, Mapping):
        return {k: tf.TensorShape(shape[k]) for k in outputs}
    return tf.TensorShape(shape)


def local_folder(layer: HubLayer) -> Path | None:
    """The folder that the module was loaded from; None once it came out of a .keras file."""
    return layer.__dict__["_folder"]  # type: ignore[no-any-return]
