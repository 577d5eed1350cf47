"""`kmemlab replay` on programs: they say themselves where they run; what is given beside them wins."""

import json
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = """kmemlab program 1
stack slub:min_partial=5/fibonacci
arena 128k
cpus 2
seed 7
check 1
cache 0 name=dentry object=192
alloc 1 cache=0
alloc 2 size=5000 cpu=1
misuse 1 kind=interior offset=8
exhaust on
exhaust off
free 2
"""


@pytest.fixture
def ops(tmp_path):
    path = tmp_path / "good.ops"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def liar(tmp_path):
    """A plugin with an allocator that obeys every free."""
    path = tmp_path / "broken.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-I", SOURCE, SOURCE / "workloads" / "broken_plugin.c", "-o", path], check=True)
    return path


def test_a_program_needs_no_options(kmemlab, ops):
    done = kmemlab("replay", "--check", ops)
    assert done.returncode == 0, done.stderr
    assert "on slub:min_partial=5/fibonacci" in done.stdout
    assert "arena 131072 bytes" in done.stdout
    assert "misuse in the trace, refused: 1" in done.stdout
    assert "check: ok" in done.stdout


def test_what_is_given_wins(kmemlab, ops):
    done = kmemlab("replay", "--check", "--json", "--allocator", "slab", "--arena", "1M", ops)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["allocator"] == "slab"
    assert result["arena_bytes"] == 1 << 20
    assert result["allocations"] == 2


def test_a_broken_promise_is_exit_status_1(kmemlab, tmp_path, liar):
    path = tmp_path / "crash.ops"
    path.write_text("kmemlab program 1\nstack liar\narena 64k\nmisuse 1 kind=foreign offset=3\n")
    done = kmemlab("replay", "--check", "--plugin", liar, path)
    assert done.returncode == 1
    assert "event 0 (misuse of id 1): status: " in done.stderr


@pytest.mark.parametrize(
    "text, why",
    [
        ("kmemlab program 1\nstack slub\narena 64k\nalloc 1\n", "line 4: alloc 1: of which size"),
        ("kmemlab program 1\nstack slubb\narena 64k\n", "the nearest is 'slub'"),
        ("kmemlab program 1\nstack slub\n", "the arena's size"),
    ],
)
def test_a_text_that_is_no_program(kmemlab, tmp_path, text, why):
    path = tmp_path / "bad.ops"
    path.write_text(text)
    done = kmemlab("replay", "--check", path)
    assert done.returncode == 2
    assert why in done.stderr


def test_a_trace_still_needs_an_allocator(kmemlab, shipped):
    done = kmemlab("replay", shipped[0])
    assert done.returncode == 2
    assert "which allocator?" in done.stderr
