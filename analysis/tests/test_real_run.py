"""A real replay of a shipped trace: slabs.csv, made by a walk over every block, against slabinfo, made from the caches' counters."""

import collections
import csv
import os
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
STACKS = ("slub/binary", "slab/fibonacci", "solaris/best_fit", "slub:percpu=off/binary:linux=on")
LABEL = "0004"  # in reclaim: after the caches were dropped


@pytest.fixture(scope="module", name="program")
def program_fixture():
    path = pathlib.Path(os.environ.get("KMEMLAB", SOURCE / "build" / "kmemlab"))
    if not path.exists():
        pytest.skip(f"{path} is not built")
    return path


@pytest.fixture(scope="module", name="fills")
def fills_fixture(program, tmp_path_factory):
    """{allocator: rows of slabs.csv at the snapshot}."""
    out = tmp_path_factory.mktemp("run") / "r"
    stacks = [word for spec in (*STACKS, "slob/binary", "binary") for word in ("-a", spec)]
    subprocess.run([program, "run", SOURCE / "traces" / "reclaim.kmt", *stacks, "--level", "all", "--no-min", "--no-figures",
                    "--samples", "1", "--out", out], check=True, capture_output=True)
    rows = collections.defaultdict(list)
    with open(out / "slabs.csv", newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["label"] == LABEL:
                rows[row["allocator"]].append({name: int(value) for name, value in row.items() if name.isascii() and value.isdigit()})
    return rows


@pytest.mark.parametrize("spec", STACKS)
def test_the_walk_finds_the_slabs_that_slabinfo_counts(program, fills, spec):
    text = subprocess.run([program, "view", "slabinfo", SOURCE / "traces" / "reclaim.kmt", "-a", spec, "--at", LABEL, "--active", "true"],
                          check=True, capture_output=True, text=True).stdout
    caches = [line.split() for line in text.splitlines()[2:]]
    assert sum(row["slabs"] for row in fills[spec]) == sum(int(words[14]) for words in caches) > 1000
    assert sum(row["live_objects"] for row in fills[spec]) == sum(int(words[1]) for words in caches) > 10000


def test_every_fill_is_what_it_says(fills):
    for spec, rows in fills.items():
        assert [row["fill_tenths"] for row in rows] == sorted({row["fill_tenths"] for row in rows})
        for row in rows:
            assert 0 <= row["fill_tenths"] <= 10 and row["slabs"] > 0 and row["slab_bytes"] >= 4096 * row["slabs"], (spec, row)
            assert row["live_bytes"] <= row["slab_bytes"] * row["fill_tenths"] / 10
            assert (row["live_objects"] == 0) == (row["fill_tenths"] == 0)
    assert set(fills) == {*STACKS, "slob/binary"}
