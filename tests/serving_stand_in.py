"""A stand-in for TensorFlow Serving: its REST form of `predict` over a SavedModel, on this machine alone.

Source: tensorflow.org/tfx/serving/api_rest: rows ("instances" -> "predictions") and columns ("inputs" -> "outputs"); of
one output its bare value, of several an object; bytes are {"b64": ...}; errors are {"error": ...}, status 400 or 404.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

LIMIT_S, MOST_BYTES = 120.0, 1 << 26


@contextlib.contextmanager
def serving(folder: Path, name: str) -> Iterator[str]:
    """Serve the SavedModel in `folder` as NAME; yields the address of the server, which ends with the block."""
    signatures = tf.saved_model.load(str(folder)).signatures

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = LIMIT_S

        def do_POST(self) -> None:
            if self.path != f"/v1/models/{name}:predict":
                return self._answer(404, {"error": f"Servable not found for request: {self.path}"})
            content = self.rfile.read(min(int(self.headers["Content-Length"]), MOST_BYTES))
            try:
                return self._answer(200, predicted(signatures, json.loads(content)))
            except (ValueError, KeyError, TypeError, tf.errors.InvalidArgumentError) as error:
                return self._answer(400, {"error": str(error)})

        def _answer(self, status: int, value: Mapping[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


def predicted(signatures: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request in rows or in columns."""
    signature = signatures[request.get("signature_name", "serving_default")]
    specs = signature.structured_input_signature[1]
    if ("instances" in request) == ("inputs" in request):
        raise ValueError("Request must have one of `instances` and `inputs`.")
    rows = request.get("instances")
    columns = request.get("inputs") if rows is None else _columns(rows, specs)
    if not isinstance(columns, Mapping) or not set(columns) <= set(specs):
        columns = {next(iter(specs)): columns}  # of the only input
    inputs = {key: tf.constant(_decoded(value), specs[key].dtype) for key, value in columns.items()}
    outputs = {key: _encoded(value.numpy()) for key, value in signature(**inputs).items()}
    if rows is None:
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
    each = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    return {"predictions": each if len(outputs) > 1 else [next(iter(row.values())) for row in each]}


def _columns(rows: list[Any], specs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Rows as columns: a row is an object of all inputs, or the value of the only one."""
    named = rows and isinstance(rows[0], Mapping) and set(rows[0]) == set(specs)
    return {key: [row[key] if named else row for row in rows] for key in specs}


def _decoded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return base64.b64decode(value["b64"])
    return [_decoded(item) for item in value] if isinstance(value, list) else value


def _encoded(value: np.ndarray) -> Any:
    return np.char.decode(value.astype("S"), "utf-8").tolist() if value.dtype.kind in "OS" else value.tolist()
