"""The lists of operations against TensorFlow's registry: what takes a file or an address has been judged."""

import re
import subprocess
import sys

import pytest

from tlkit.graph import registry
from tlkit.hub import opsets
from tlkit.hub.scanning import _BY_ATTRIBUTE

# They take something called a file, a path, an address or a graph, and reach nothing outside the program.
JUDGED_HARMLESS = ("CTCBeamSearchDecoder", "TensorSliceDataset")
SUSPICIOUS = re.compile(
    r"file|path|address|(^|_)url|directory|descriptor_source|memory_region|protocol|graph_def|serialized_.*graph"
)


def _registered():
    """Every operation of the registry; the private name is the test's own business."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    return op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList())).op


def test_the_private_name_is_still_there():
    assert registry.op_definition("WriteFile").is_stateful
    assert not registry.op_definition("MatMul").is_stateful
    assert registry.op_definition("NoSuchOperation") is None


def test_every_operation_with_a_file_or_an_address_is_judged():
    judged = {*opsets.DENIED, *opsets.CHECKPOINT_READERS, *opsets.CHECKPOINT_WRITERS, *opsets.VOCABULARIES}
    judged |= {*_BY_ATTRIBUTE, *JUDGED_HARMLESS}
    missing = {
        op.name: sorted(a.name for a in (*op.input_arg, *op.attr) if SUSPICIOUS.search(a.name))
        for op in _registered()
        if op.name not in judged and any(SUSPICIOUS.search(a.name) for a in (*op.input_arg, *op.attr))
    }
    unknown_anyway = {
        op.name for op in _registered() if op.is_stateful and not opsets.is_harmless_stateful(op.name)
    }  # these warn
    assert {k: v for k, v in missing.items() if k not in unknown_anyway} == {}


def test_nothing_is_on_two_lists():
    denied = set(opsets.DENIED)
    assert not denied & opsets.HARMLESS_STATEFUL
    assert not denied & (opsets.CHECKPOINT_READERS | opsets.CHECKPOINT_WRITERS)
    assert not [op for op in denied if opsets.is_harmless_stateful(op)]


@pytest.mark.parametrize("op", sorted(opsets.HARMLESS_STATEFUL))
def test_what_is_called_harmless_exists(op):
    assert registry.op_definition(op) is not None


def test_the_hub_is_imported_without_tensorflow():
    code = "import sys, tlkit.hub, tlkit.hub.scanning; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
