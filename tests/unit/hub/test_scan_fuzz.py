"""Random graphs that hide a file read: none passes, and each has a clean twin that does."""

import hub_graphs
import pytest

from tlkit.hub import scan

READS = ("InitializeTableFromTextFileV2", "RestoreV2")


def _both(folder, seed):
    clean = scan(hub_graphs.write(folder / f"{seed}-clean", seed, evil=False))
    evil = scan(hub_graphs.write(folder / f"{seed}-evil", seed, evil=True))
    assert not clean.findings, (seed, clean.findings)
    assert any(f.what in READS for f in evil.denied), seed


def test_no_random_graph_hides_a_file_read_and_no_clean_twin_is_refused(tmp_path):
    for seed in range(100):
        _both(tmp_path, seed)


@pytest.mark.slow
def test_many_random_graphs(tmp_path):
    for seed in range(1_000, 5_000):
        _both(tmp_path, seed)
