"""The modules under test and the made-up run that the tests share."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.dirname(HERE)
for folder in (HERE, ANALYSIS):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import fake_run  # noqa: E402


@pytest.fixture
def run(tmp_path):
    """A small run with every kind of cell: valid, refusing, invalid, recorded, nop."""
    return fake_run.make_run(str(tmp_path / "run"), steps=6, traces=("compile",))


@pytest.fixture
def program():
    """Path of one of the programs of analysis/."""
    return lambda name: os.path.join(ANALYSIS, name)
