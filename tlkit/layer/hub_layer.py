"""HubLayer: a pretrained module as a Keras 3 layer that one can look into, cut and train in part."""

from __future__ import annotations

import base64
import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tlkit import graph as graphs
from tlkit import hub
from tlkit.core.errors import InputError
from tlkit.layer import detectors
from tlkit.layer.endpoints import Endpoint, fitted, joined, open_endpoint, why_untrainable
from tlkit.layer.forms import USUAL, Form, form_of, formed
from tlkit.layer.image_size import at_image_size
from tlkit.layer.input_affine import PIXEL_MAX, Folded, checked_range, folded, scaled
from tlkit.layer.variables import keras_variables
from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.tokenizing.wordpiece import WordPiece
from tlkit.tokenizing.words import Words

SAID = "as it was given"  # how a range of pixels is known


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
        output_key: The one output to give, where there are several: a key of a dict, a position in a tuple or list
            (1 or "1"), or a path as `tlkit.inspect` shows it ("encoder_outputs/0").
        output_shape: Shape of the output without the batch, where the module does not know it; a dict (or list) of
            shapes for a dict (or list) of outputs.
        load_options: `tf.saved_model.LoadOptions`; not saved.
        input_range: Range that the module expects of pixels. Given, the layer takes pixels in 0..255 and scales them
            by one affine; None passes inputs on unchanged, as hub.KerasLayer does.
        batch_stats: "frozen" runs BatchNorm and the module's dropout in inference mode always; "adapt" runs the whole
            module in training mode while it trains, so that the statistics of all its blocks move.
        unfrozen: Share of the module's depth that trains when `trainable`, in [0, 1], from the output down.
        lower_case: Whether the vocabulary that the module brings is lower-cased; None is what the module says.
        sha256: Expected sha256 of the module's folder; another one is an error.
        trust: Load a module that the scan refuses; not saved.
        offline: Do not download; None reads `TLKIT_OFFLINE`; not saved.
        image_size: (height, width) of the images where the module was exported for another size; what is made of
            convolutions runs at any.
        taps: Names of tensors inside the module (values of `feature_maps`) or of its tables (`embedding`), which the
            layer gives as a tuple in place of its output.
        graph: The module's graph as `get_config` holds it; used instead of `handle` when a saved model is opened.
        dtype: Policy for the outputs: "mixed_float16" gives float16. The module computes as it was exported, so the
            default keeps it right inside a mixed_float16 model.
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
        output_key: str | int | None = None,
        output_shape: Any = None,
        load_options: Any = None,
        input_range: tuple[float, float] | None = None,
        batch_stats: str = "frozen",
        unfrozen: float = 1.0,
        lower_case: bool | None = None,
        sha256: str | None = None,
        trust: bool = False,
        offline: bool | None = None,
        image_size: tuple[int, int] | None = None,
        taps: Sequence[str] = (),
        graph: str | None = None,
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        _check_arguments(handle, graph, unfrozen)
        _check_kinds(arguments, tags, load_options)
        dtype = _policy(dtype, kwargs)
        super().__init__(trainable=trainable, dtype=dtype, autocast=False, **kwargs)
        self._tags = [tags] if isinstance(tags, str) else None if tags is None else list(tags)
        self._signature, self._arguments = signature, dict(arguments or {})
        self._as_dict, self._output_key = signature_outputs_as_dict, output_key
        self._output_shape = _checked_shape(output_shape)
        self._unfrozen = float(unfrozen)
        self._taps: tuple[str, ...] = ()
        self._strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        packed = None if graph is None else _decoded(graph)
        if packed is not None:
            self._attach(_reopened(packed, str(handle), sha256, self._tags, trust))
        else:
            self._attach(_opened(handle, self._tags, load_options, sha256, trust, offline))
        self.__dict__["_packed"] = packed
        self._lower_case = self._own_lower_case() if lower_case is None else lower_case
        self.batch_stats, self.input_range = batch_stats, input_range
        self.range_known_by = SAID
        if image_size is not None:
            self.resize(image_size)
        if taps:
            self.taps = tuple(taps)
        if trainable:
            self._train_from(self._unfrozen)

    def _attach(self, module: hub.Module) -> None:
        """Make the module's variables the layer's own. Plain `__dict__` entries are what Keras should not track."""
        endpoint = detectors.with_weights(open_endpoint(module.loaded, self._signature, self._arguments))
        self._module = module.loaded  # tracked, so that tables and assets travel with exports
        self.__dict__["_opened"] = dataclasses.replace(module, loaded=None)
        self.__dict__["_endpoint"] = self.__dict__["_own_endpoint"] = endpoint
        self.__dict__["_form"] = USUAL
        with keras.name_scope(self.name, caller=self):
            variables = keras_variables(endpoint.variables, endpoint.trainable)
            for variable in variables.values():
                self._track_variable(variable)
        self.__dict__["_own"] = variables
        dtypes = [spec.dtype for spec in endpoint.input_leaves]
        self.supports_jit = tf.string not in dtypes
        if len(dtypes) == 1 and not dtypes[0].is_floating:  # of which Sequential makes its Input
            self.dtype_policy = keras.dtype_policies.DTypePolicy(dtypes[0].name)
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        """Nothing is left to be built: the variables came with the module."""
        self.built = True

    # -- what is inside

    @property
    def handle(self) -> str:
        """Where the module came from."""
        return str(self.__dict__["_opened"].handle)

    @property
    def sha256(self) -> str | None:
        """Hash of the module's folder when it was first loaded."""
        return self.__dict__["_opened"].sha256 or None

    @property
    def card(self) -> Mapping[str, Any]:
        """What the module's author wrote down about it, or {}."""
        return self.__dict__["_opened"].card  # type: ignore[no-any-return]

    @property
    def tokenizer(self) -> WordPiece | Words | BytePairs | None:
        """The vocabulary that the module brings as an asset; None where it brings none, or takes no ids.

        `tokenizer_file` is a tokenizer.json of byte pairs, with the `tokenizer_config` beside it; `vocab_file` has word
        pieces where the module takes the three inputs of a BERT, whole words where it takes int32 (batch, words).
        """
        if not any(leaf.dtype.is_integer for leaf in self.endpoint.input_leaves):
            return None
        pairs, words = self.asset("tokenizer_file"), self.asset("vocab_file")
        if pairs is not None:
            return _byte_pairs(pairs, self.asset("tokenizer_config"))
        if words is None:
            return None
        return _wordpiece(words, self._lower_case) if isinstance(self.endpoint.inputs, Mapping) else _words(words)

    def tower(self, name: str) -> keras.Model:
        """The module as a part of a larger one, `towers.tower`; `name` is of its input, where it has no names."""
        from tlkit.layer.towers import tower

        return tower(self, name)

    def asset(self, name: str) -> str | None:
        """Path of a file that the module brings under a name, such as "vocab_file"; None where it brings none."""
        asset = getattr(self._module, name, None)
        return None if asset is None else asset.asset_path.numpy().decode()

    def function(self, name: str) -> Any | None:
        """A signature of the module as a concrete function of tensors by keyword, on this layer's own variables.

        Modules of several endpoints have such parts: an encoder, one step of a decoder. None where it has none.
        """
        return getattr(self._module, "signatures", {}).get(name)

    def _own_lower_case(self) -> bool:
        """What the module says of its vocabulary; a .keras file keeps it in the config, as it is no weight."""
        return bool(tf.get_static_value(tf.convert_to_tensor(getattr(self._module, "do_lower_case", True))))

    @property
    def resolved_object(self) -> Any:
        """The restored module itself, under the name that hub.KerasLayer gives it."""
        return self._module

    @property
    def endpoint(self) -> Endpoint:
        """The function of the module that this layer calls."""
        return self.__dict__["_endpoint"]  # type: ignore[no-any-return]

    @property
    def module_variables(self) -> dict[int, keras.Variable]:
        """The layer's weights by their index in `endpoint.variables`."""
        return self.__dict__["_own"]  # type: ignore[no-any-return]

    @property
    def form(self) -> Form:
        """In which way the module is called otherwise than most, and called as most all the same; `shaped` finds it."""
        return self.__dict__["_form"]  # type: ignore[no-any-return]

    @form.setter
    def form(self, value: Form) -> None:
        self.__dict__["_endpoint"] = formed(self.__dict__["_own_endpoint"], value)
        self.__dict__["_form"] = value
        self._taps = ()
        self._forget()
        if self.trainable:
            self._flag_variables()

    def shaped(self, spec: Any = None) -> HubLayer:
        """This layer, which from now on takes one tensor or a dict of them with any batch, whatever the module takes.

        What is called already, or has its form, stays as it is.

        Args:
            spec: the spec of inputs of the data, which tell what the module leaves open.
        """
        if self.form == USUAL and not self._inbound_nodes:
            form = form_of(self.__dict__["_own_endpoint"], spec)
            if form != USUAL:
                self.form = form
        return self

    def resize(self, image_size: tuple[int, int]) -> None:
        """Take images of a size that the module was not exported for, from now on.

        Args:
            image_size: (height, width).

        Raises:
            InputError: If the module takes no images, has been called, or has layers that were made for its own size.
        """
        spec = self.endpoint.input_leaves[0]
        if len(self.endpoint.input_leaves) != 1 or spec.shape.rank != 4:
            raise InputError(f"{self.handle} takes no images: leave image_size out.")
        height, width = image_size
        if None not in spec.shape[1:3].as_list():
            at_image_size(self, (int(height), int(width)))

    def unformed(self) -> Any:
        """The module as it is called by itself, for those who look into its graph.

        A method: Keras follows every attribute that is a layer when it saves one.
        """
        if self.form == USUAL:
            return self
        if "_unformed" not in self.__dict__:
            endpoint = self.__dict__["_own_endpoint"]
            endpoint = detectors.tapped(endpoint) if self.form.tapped else endpoint
            with tf.init_scope():
                graph = graphs.flatten(endpoint.inference, endpoint.variables)
            self.__dict__["_unformed"] = Unformed(self, endpoint, graph)
        return self.__dict__["_unformed"]

    @functools.cached_property
    def graph(self) -> graphs.Graph:
        """The flattened inference graph of the chosen output; its `problem` says why it cannot be cut, where so."""
        with tf.init_scope():  # the first use may lie inside a trace
            inference, variables = self.endpoint.inference, self.endpoint.variables
            if self.form.each:
                return graphs.closed(inference, variables, "takes no other number of examples at a time than its own")
            whole = graphs.flatten(inference, variables)
            return graphs.freed(graphs.with_output(whole, self._key_of(whole.structure)))

    @functools.cached_property
    def blocks(self) -> tuple[graphs.Block, ...]:
        """The module's blocks, input side first: name, shape, parameters, depth, share of the forward cost.

        Where the layer gives taps, those up to the last of them.
        """
        with tf.init_scope():
            return graphs.blocks(graphs.ending(self.graph, self.taps) if self.taps else self.graph)

    @property
    def cuts(self) -> tuple[graphs.Cut, ...]:
        """Where the graph can be split, input side first, for `extract(at=)` and `back`; () where it cannot."""
        with tf.init_scope():
            return graphs.cuts(self.graph)

    @property
    def feature_maps(self) -> Mapping[int, str]:
        """Stride -> name of the last tensor (batch, height, width, channels) in `graph` that has it; {} without maps.

        Example:
            layer.taps = (layer.feature_maps[8], layer.feature_maps[16])
        """
        with tf.init_scope():
            return graphs.taps(self.graph, first=self.graph.outputs if self.form.tapped else ())

    @property
    def narrow_maps(self) -> Mapping[int, str]:
        """As `feature_maps`, but of each stride the last of at most half as many channels as the widest has."""
        with tf.init_scope():
            return graphs.taps(self.graph, narrow=True)

    @property
    def embedding(self) -> str | None:
        """Name in `graph.resources` of the table (ids, d) that the module looks its ids up in; None without one."""
        with tf.init_scope():
            return graphs.embedding(self.graph)

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of tensors in `graph`, or of tables, that the layer gives as a tuple; () for the module's output."""
        return self._taps

    @taps.setter
    def taps(self, value: Sequence[str]) -> None:
        names = tuple(value)
        if isinstance(value, str) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise InputError(f"`taps` must be a list of names, each once. Received: taps={value!r}.")
        if names != self._taps and self._inbound_nodes:
            raise InputError(f"{self.name} has been called already, so its taps are settled: make a new HubLayer.")
        if names:
            if self.batch_stats == "adapt":
                raise InputError('Taps are of the module in inference mode; leave out batch_stats="adapt".')
            with tf.init_scope():
                graphs.rows_of(self.graph, names)
        self._taps = names
        self.__dict__.pop("blocks", None)
        self.__dict__.pop("_folded", None)
        if self.trainable:
            self._flag_variables()

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Range that the module expects of pixels, or None where inputs pass unchanged."""
        return self._input_range

    @input_range.setter
    def input_range(self, value: tuple[float, float] | None) -> None:
        checked = checked_range(value)
        leaves = self.endpoint.input_leaves
        if checked is not None and not all(spec.dtype.is_floating for spec in leaves):
            if checked != (0.0, PIXEL_MAX) or not all(spec.shape.rank == 4 for spec in leaves):
                kinds = " and ".join(spec.dtype.name for spec in leaves)
                raise InputError(
                    f"{self.handle} takes no pixels of a range, but {kinds}; "
                    f"leave out `input_range`. Received: input_range={value!r}."
                )
            checked = None  # whole numbers pass as they are
        self._input_range = checked
        self.__dict__.pop("_folded", None)

    @property
    def output_key(self) -> str | int | None:
        """The one output that the layer gives, where the module has several."""
        return self._output_key

    @output_key.setter
    def output_key(self, value: str | int | None) -> None:
        if value != self._output_key:
            self._output_key, self._taps = value, ()
            self._forget()

    def _forget(self) -> None:
        """Drop what was worked out from the graph."""
        for name in ("graph", "blocks", "_folded", "_unformed"):
            self.__dict__.pop(name, None)

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
        if value not in ("frozen", "adapt"):
            raise InputError(f'`batch_stats` must be "frozen" or "adapt". Received: batch_stats={value!r}.')
        if value == "adapt" and not self.endpoint.takes_training:
            raise InputError(
                f"{self.handle} has no `training` argument, so its statistics cannot adapt; leave batch_stats out."
            )
        if value == "adapt" and self._taps:
            raise InputError('Taps are of the module in inference mode; leave out batch_stats="adapt".')
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
            self._flag_variables()

    def unfreeze(self, share: float) -> tuple[graphs.Block, ...]:
        """Train the last `share` of the module's depth in anybody's `fit`; compile the model again afterwards.

        Args:
            share: In [0, 1], from the output down; rounded to the nearest cut towards the output. 0 freezes all.

        Returns:
            The blocks that train from now on; of the first of them perhaps only the last part does.

        Raises:
            InputError: If `share` lies outside [0, 1], or the module has nothing to train.
        """
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise InputError(f"`share` must lie in [0, 1]. Received: share={share!r}.")
        if share == 0:
            self.trainable = False
            return ()
        self._train_from(share)
        cut = self.cut_for(share)
        start = 0.0 if cut is None else cut.depth
        return tuple(b for b in self.blocks if b.depth > start + 1e-9)

    def _train_from(self, share: float) -> None:
        """Flag the last `share` of the depth as what trains."""
        self._require_gradients()
        self._unfrozen = float(share)
        self._warn_uncut()
        self.trainable = True
        self._flag_variables()  # TensorFlow's tracking skips a setter whose value is the same as before

    def cut_for(self, unfrozen: float) -> graphs.Cut | None:
        """Where the module is cut to train the last `unfrozen` of its depth; None trains the whole."""
        if unfrozen == 1:
            return None
        if self.taps:
            return graphs.tapped_cut(self.graph, self.taps, unfrozen)
        return graphs.nearest_cut(self.graph, unfrozen)

    def halves(self, unfrozen: float) -> graphs.Halves:
        """What is frozen, and given to what trains, when the last `unfrozen` of the module's depth trains.

        Without tensors where the whole module trains. Of a layer without taps, `unfrozen=0` gives its outputs.
        """
        if self.taps:
            with tf.init_scope():
                return graphs.halved(self.graph, self.taps, unfrozen)
        if unfrozen == 0:
            return graphs.Halves(None, self.graph.outputs)
        cut = self.cut_for(unfrozen)
        return graphs.Halves(None, ()) if cut is None else _halves(cut)

    def _warn_uncut(self) -> None:
        if 0 < self._unfrozen < 1 and self.graph.problem is not None:
            reason = f"{self.handle} cannot be cut: it {self.graph.problem}"
            warnings.warn(f"All of the module trains, whatever `unfrozen` says: {reason}.", stacklevel=3)

    def _flag_variables(self) -> None:
        """Flags of the single variables, as `unfrozen` says."""
        declared = {id(v) for v in self.endpoint.trainable}
        cut = self.cut_for(self._unfrozen)
        variables = graphs.variables_of(self.graph, self.taps) if self.taps else self.module_variables
        behind = set(variables if cut is None else cut.variables_behind)
        for index, variable in self.module_variables.items():
            if id(self.endpoint.variables[index]) in declared:
                variable.trainable = index in behind and self._unfrozen > 0

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
        if self.untrainable is not None:
            raise InputError(
                f"{self.handle} cannot be trained: {self.untrainable}; use another signature, or keep "
                "trainable=False and train the layers on top."
            )

    @functools.cached_property
    def untrainable(self) -> str | None:
        """Why no gradient reaches any of the module's weights; None where it can be trained."""
        spread = [isinstance(v, tf.distribute.DistributedValues) for v in self.endpoint.trainable]
        if self._strategy is not None and not all(spread):
            return "it keeps its variables in its graph, as TF1 modules do, so tf.distribute cannot spread them"
        if self.endpoint.trainable and (any(spread) or self.endpoint.name == "__call__"):
            return None  # what a module offers as `__call__` it offers for training
        return why_untrainable(self.endpoint)

    # -- calling

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As any layer; a plain list of strings or numbers is one tensor where the module takes one."""
        return super().__call__(joined(self.endpoint, inputs), *args, **kwargs)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Run the module; dict inputs and outputs stay dicts."""
        self._require_strategy()
        adapt = bool(training) and self.trainable and self.batch_stats == "adapt"
        outputs = self._run(inputs, adapt)
        self.add_module_losses(self)
        return self.finished(outputs)

    def add_module_losses(self, layer: keras.layers.Layer) -> None:
        """Add the module's own regularization losses to a layer, once however often it is called in a step."""
        if self.trainable and not layer.losses:
            for loss in self.endpoint.regularization_losses:
                layer.add_loss(loss())

    def _run(self, inputs: Any, adapt: bool) -> Any:
        if not adapt and self._folded is not None:
            return self.with_tables(self._folded(*tf.nest.flatten(fitted(self.endpoint, inputs, self.handle))))
        if self.taps:
            return self.with_tables(self._given.whole(*tf.nest.flatten(self._scaled(inputs))))
        outputs = self.endpoint.call(self._scaled(inputs), adapt)
        key = self._key_of(outputs)
        return outputs if key is None else graphs.output_at(outputs, key)

    @property
    def _given(self) -> graphs.Graph:
        """The graph that gives what this layer gives, but for the tables among its taps."""
        tensors = [name for name in self.taps if name not in self.graph.resources]
        return graphs.giving(self.graph, tensors) if tensors else self.graph

    def with_tables(self, outputs: Any) -> Any:
        """What the graph gives, with the values of the tables in their places among the taps."""
        if not self.taps:
            return outputs
        values, tables = iter(outputs), self.graph.resources
        return tuple(
            tf.convert_to_tensor(self.module_variables[tables[name]]) if name in tables else next(values)
            for name in self.taps
        )

    def _scaled(self, inputs: Any) -> Any:
        """Inputs as the module takes them: fitting tensors, pixels in its own range."""
        inputs, value_range = fitted(self.endpoint, inputs, self.handle), self.input_range
        if value_range is None:
            return inputs
        return tf.nest.map_structure(lambda t: tf.cast(scaled(t, value_range), t.dtype), inputs)

    @functools.cached_property
    def _folded(self) -> Folded | None:
        if self.input_range is None or self._strategy is not None or self.form.each:
            return None
        with tf.init_scope():
            return folded(self._given, self.input_range)

    def _key_of(self, outputs: Any) -> str | int | None:
        """Which entry of the module's outputs is this layer's output; None where it is all of them."""
        key, names = self._output_key, graphs.output_keys(outputs)
        if key is not None:
            self._check_key(outputs, key, names)
            return key
        if not isinstance(outputs, Mapping) or self._as_dict or self.endpoint.name == "__call__":
            return None
        if "default" in outputs or len(outputs) == 1:
            return "default" if "default" in outputs else str(next(iter(outputs)))
        raise InputError(
            f"{self.handle} gives several outputs; choose one with `output_key`, or pass "
            f"signature_outputs_as_dict=True. Outputs: {list(names)}."
        )

    def _check_key(self, outputs: Any, key: str | int, names: Sequence[str]) -> None:
        if not names:
            raise InputError(f"{self.handle} gives one output; leave out output_key={key!r}.")
        try:
            graphs.output_at(outputs, key)
        except KeyError as error:
            raise InputError(f"`output_key` must be one of {list(names)}. Received: output_key={key!r}.") from error

    def finished(self, outputs: Any) -> Any:
        """The chosen output, of known shape where the user gave it and of the policy's dtype."""
        if self._output_shape is not None and not self.taps:
            outputs = _with_shapes(outputs, self._output_shape, self._output_shape)
        compute_dtype = tf.as_dtype(self.dtype_policy.compute_dtype)
        if compute_dtype in (tf.string, tf.float32) or not compute_dtype.is_floating:
            return outputs
        return tf.nest.map_structure(lambda t: tf.cast(t, compute_dtype) if t.dtype.is_floating else t, outputs)

    def _require_strategy(self) -> None:
        if tf.distribute.has_strategy() and tf.distribute.get_strategy() is not self._strategy:
            raise InputError(
                f"{self.name} was made outside this tf.distribute strategy's scope; make the layer, "
                "and compile the model, inside `with strategy.scope():`."
            )

    # -- splitting

    def front(self, at: graphs.Cut | graphs.Halves) -> Callable[[Any], Any]:
        """A function from the layer's inputs to the tensor at a cut, or a tuple of several, in inference mode.

        Args:
            at: One of `graphs.cuts(self.graph)`, or what `halves` gives.
        """
        with tf.init_scope():
            front = self._split(at)[0]
        return lambda inputs: front(*tf.nest.flatten(self._scaled(inputs)))

    def back(self, at: graphs.Cut | graphs.Halves) -> BackLayer:
        """A layer from the tensors at a cut to this layer's output; it shares its variables and their flags.

        It takes one tensor, or a list: the tensors, then the inputs of the module at the positions `at.inputs`, where
        what lies behind needs those as well (masks).
        """
        with tf.init_scope():
            return BackLayer(self, self._split(at)[1], name=f"{self.name}_back")

    def _split(self, at: graphs.Cut | graphs.Halves) -> tuple[Any, Any]:
        if isinstance(at, graphs.Halves) and self.taps:
            return graphs.split_at(self.graph, self.taps, at)
        if isinstance(at, graphs.Cut):
            return graphs.split(self.graph, at)
        if at.cut is None:
            raise InputError(f"{self.handle} is not cut there: call the layer itself.")
        front, back = graphs.split(self.graph, at.cut)
        return (front if at.cut.besides else lambda *inputs: (front(*inputs),)), back

    def between(
        self, first: graphs.Cut | graphs.Halves, second: graphs.Cut | graphs.Halves | None
    ) -> Callable[[Any], Any]:
        """A function from the tensor at one cut to that at a later one; None is the layer's output.

        It takes what `back(first)` takes, and gives what `front(second)` gives.
        """
        if second is None:
            return self.back(first)
        start, end = (_halves(at) if isinstance(at, graphs.Cut) else at for at in (first, second))
        sides = [self.graph.inputs[i] for i in start.inputs]
        with tf.init_scope():
            part = graphs.part(self.graph, [*start.tensors, *sides], end.tensors)
        if isinstance(second, graphs.Cut) and not second.besides:
            return lambda x: part(*_listed(x))[0]
        return lambda x: part(*_listed(x))

    # -- shapes and saving

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """Traces the module with inputs of these shapes: it knows its outputs best."""
        try:
            return keras.Operation.compute_output_spec(self, inputs, training=training)
        except InputError as error:  # Keras puts a story of its own in front of the sentence
            raise (error.__context__ if isinstance(error.__context__, InputError) else error) from None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input shape (or a dict or list of them)."""
        inputs = _keras_tensors(self.endpoint.inputs, input_shape)
        return keras.tree.map_structure(lambda t: t.shape, self.compute_output_spec(inputs))

    def packed_graph(self) -> bytes:
        """The module's graph and assets without its variables, as the config carries them."""
        if self.__dict__["_packed"] is None:
            if len(self.module_variables) < len(self.endpoint.variables):
                raise InputError(f"{self.handle} keeps strings in a variable, which a .keras file cannot carry.")
            opened = self.__dict__["_opened"]
            folder = opened.folder or hub.saved(self._module)
            _OPENED.setdefault(opened.sha256, (folder, False))
            self.__dict__["_packed"] = hub.pack(folder)
        return self.__dict__["_packed"]  # type: ignore[no-any-return]

    def get_config(self) -> dict[str, Any]:
        """Handle, sha256, and the graph itself, so that a saved model opens on a machine without the module."""
        return {
            **super().get_config(),
            "handle": self.handle,
            "sha256": self.sha256,
            "graph": base64.b64encode(self.packed_graph()).decode(),
            "lower_case": self._lower_case,
            "arguments": self._arguments,
            "tags": self._tags,
            "signature": self._signature,
            "signature_outputs_as_dict": self._as_dict,
            "output_key": self._output_key,
            "output_shape": self._output_shape,
            "input_range": self.input_range,
            "batch_stats": self.batch_stats,
            "unfrozen": self._unfrozen,
            "taps": list(self.taps),
            "form": None if self.form == USUAL else dataclasses.asdict(self.form),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HubLayer:
        """The layer of `get_config`, with the module's own weights if this process has opened it, else zeros.

        Configs come out of files by strangers: none may ask for trust, or send the layer to fetch something.

        Raises:
            InputError: If its graph is missing or refused; Keras' own method would print the whole config.
        """
        if not config.get("graph"):
            raise InputError("The config of this HubLayer carries no graph; make the layer anew: HubLayer(handle).")
        later = {"form", "input_range", "taps", "trainable"}  # some modules take a range, or train, in their form alone
        layer = cls(**{k: v for k, v in config.items() if k not in {"trust", "offline", "load_options"} | later})
        if config.get("form"):
            layer.form = _form(config["form"])
        layer.input_range = config.get("input_range")
        if config.get("taps"):
            layer.taps = tuple(config["taps"])
        if config.get("trainable"):
            layer._train_from(layer.unfrozen)
        return layer


@dataclasses.dataclass(frozen=True, eq=False)
class Unformed:
    """A layer's module as it is called by itself: what is asked of a HubLayer by those who look into its graph.

    Attributes:
        layer: The layer that calls it in another form.
        endpoint: The module's own.
        graph: Of that endpoint, with all outputs.
    """

    layer: HubLayer
    endpoint: Endpoint
    graph: graphs.Graph

    @property
    def handle(self) -> str:
        """Where the module came from."""
        return self.layer.handle

    @property
    def card(self) -> Mapping[str, Any]:
        """What the module's author wrote down about it, or {}."""
        return self.layer.card

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Range that the module expects of pixels."""
        return self.layer.input_range


class BackLayer(keras.layers.Layer):
    """The part of a HubLayer behind a cut; it tracks the very variables of the whole layer."""

    def __init__(self, whole: HubLayer, function: Any, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        used = {id(v) for v in function.graph.variables}
        tables = {whole.graph.resources[name] for name in whole.taps if name in whole.graph.resources}
        for index, variable in whole.module_variables.items():
            if id(whole.endpoint.variables[index]) in used or index in tables:
                self._track_variable(variable)
        self.__dict__["_whole"], self.__dict__["_function"] = whole, function
        self.built = True

    def call(self, inputs: Any) -> Any:
        """From the tensors at the cut (and the inputs that its masks come from) to the output, in inference mode."""
        whole: HubLayer = self.__dict__["_whole"]
        whole.add_module_losses(self)
        return whole.finished(whole.with_tables(self.__dict__["_function"](*_listed(inputs))))


def _halves(cut: graphs.Cut) -> graphs.Halves:
    """Of a module with one output, and no taps."""
    return graphs.Halves(cut, cut.tensors, cut.inputs)


def _form(fields: Mapping[str, Any]) -> Form:
    """The form of a config: JSON knows no tuples."""
    plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
    return Form(**plain)


def _listed(inputs: Any) -> list[Any]:
    return list(inputs) if isinstance(inputs, list | tuple) else [inputs]


# What this process has opened, by sha256: a clone starts from the same weights, as a clone of any layer would.
_OPENED: dict[str, tuple[Path, bool]] = {}


def _decoded(graph: Any) -> bytes:
    try:
        return base64.b64decode(graph)
    except (ValueError, TypeError) as error:
        raise InputError(f"The packed graph of a module is damaged ({error}).") from error


def _opened(
    handle: Any, tags: list[str] | None, options: Any, sha256: str | None, trust: bool, offline: bool | None
) -> hub.Module:
    """The module of a handle, remembered by its content for layers that are made again."""
    module = hub.open_module(handle, tags=tags, load_options=options, trust=trust, sha256=sha256, offline=offline)
    if module.folder is not None:
        _OPENED[module.sha256] = module.folder, trust
    return module


def _reopened(graph: bytes, handle: str, sha256: str | None, tags: Any, trust: bool) -> hub.Module:
    """The module of a config: opened again where this process has it, else made of its graph alone."""
    folder, trusted = _OPENED.get(sha256 or "", (None, False))
    if folder is not None and folder.is_dir() and hub.pack(folder) == graph:
        module = hub.open_module(folder, tags=tags, trust=trust or trusted)
    else:
        module = hub.unpack(graph, tags=tags, trust=trust)
    return dataclasses.replace(module, handle=handle, sha256=sha256 or "")


def _check_arguments(handle: Any, graph: Any, unfrozen: float) -> None:
    if handle is None and graph is None:
        raise InputError("HubLayer needs a `handle`: a folder, a URL, zoo:NAME, or a keras.Model.")
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"A hub module is TensorFlow, but Keras runs on {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow before keras is imported."
        )
    if not isinstance(unfrozen, int | float) or not 0 <= unfrozen <= 1:
        raise InputError(f"`unfrozen` must lie in [0, 1]. Received: unfrozen={unfrozen!r}.")


def _check_kinds(arguments: Any, tags: Any, load_options: Any) -> None:
    if not isinstance(arguments, Mapping | None):
        raise InputError(f"`arguments` must be a dict of keyword arguments. Received: arguments={arguments!r}.")
    if not isinstance(tags, str | Sequence | set | frozenset | None):
        raise InputError(f"`tags` must be a list of strings. Received: tags={tags!r}.")
    if not isinstance(load_options, tf.saved_model.LoadOptions | None):
        raise InputError(
            f"`load_options` must be a tf.saved_model.LoadOptions. Received: load_options={load_options!r}."
        )


_wordpiece = functools.lru_cache(maxsize=8)(WordPiece.from_file)
_byte_pairs = functools.lru_cache(maxsize=2)(BytePairs.from_file)
_words = functools.lru_cache(maxsize=2)(Words.from_file)


def _policy(dtype: Any, kwargs: dict[str, Any]) -> Any:
    """Code for hub.KerasLayer names dtype and shape of the strings or ids to come; the module knows both."""
    name = getattr(dtype, "name", dtype)
    if not isinstance(name, str) or not name.startswith(("string", "int", "uint", "bool")):
        return dtype
    kwargs.pop("input_shape", None)  # Keras would make a float Input of it
    return "float32"


def _checked_shape(shape: Any) -> Any:
    """The user's shape (or dict or list of them) as what JSON can hold."""
    plain = _plain_shape(shape)
    sizes = list(tf.nest.flatten(plain))
    if isinstance(plain, int) or not all(size is None or isinstance(size, int) for size in sizes):
        raise InputError(
            "`output_shape` must be a list of sizes without the batch, or a dict or list of such. "
            f"Received: output_shape={shape!r}."
        )
    return plain


def _plain_shape(shape: Any) -> Any:
    if isinstance(shape, Mapping):
        return {k: _plain_shape(v) for k, v in shape.items()}
    if isinstance(shape, tf.TensorShape):
        return shape.as_list()
    return [_plain_shape(s) for s in shape] if isinstance(shape, list | tuple) else shape


def _with_shapes(outputs: Any, shapes: Any, output_shape: Any) -> Any:
    """Outputs of the shapes that the user gave; `output_shape` is all of them, for the error."""
    try:
        if isinstance(outputs, Mapping):
            unknown = sorted(set(shapes) - set(outputs))
            if isinstance(shapes, Mapping) and not unknown:
                return {k: _with_shapes(v, shapes[k], output_shape) if k in shapes else v for k, v in outputs.items()}
        elif isinstance(outputs, list | tuple):
            return [_with_shapes(v, s, output_shape) for v, s in zip(outputs, shapes, strict=True)]
        elif outputs.shape.is_compatible_with([None, *shapes]):
            return tf.ensure_shape(outputs, [None, *shapes])
    except (TypeError, ValueError):
        pass
    actual = tf.nest.map_structure(lambda t: t.shape.as_list()[1:] if t.shape.rank else None, outputs)
    raise InputError(f"The module's outputs have the shapes {actual}. Received: output_shape={output_shape!r}.")


def _keras_tensors(specs: Any, shapes: Any) -> Any:
    if isinstance(specs, Mapping):
        return {k: _keras_tensors(specs[k], shapes[k]) for k in specs}
    if isinstance(specs, list | tuple):
        return [_keras_tensors(spec, shape) for spec, shape in zip(specs, shapes, strict=True)]
    return keras.KerasTensor(tuple(shapes), dtype=specs.dtype.name)
