"""The script for GPUs, on the processor: that its lines run, not what they measure."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def test_a_small_network_goes_through_all_lines():
    done = run("--device", "cpu", "--small", "--batches", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    tables = [line.split() for line in lines if line.startswith(("float32  ", "bfloat16, "))]
    rows = [row for row in tables if "2" in row]  # the batch
    assert len(rows) == 6  # float32, and bfloat16 compiled in two ways, for both modalities
    for row in rows:
        rate, _, utilisation, first, error = map(float, row[row.index("2") + 1 :])
        assert rate > 0
        assert utilisation >= 0
        assert first > 0
        assert error < 1e-4
    embedded = [line for line in lines if line.startswith(("spectrum  ", "image  "))]
    assert len(embedded) == 4
    assert all(float(line.split()[-1]) > 0 for line in embedded)
    assert "peak memory of the process" in lines[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so():
    done = run()
    assert done.returncode == 2
    assert "torch sees no CUDA card here" in done.stderr
