"""compare as a user meets it: distances that follow from the files, the limit, refusals."""

import csv
import json

import pytest


@pytest.fixture(scope="module")
def pair(shipped):
    return [next(path for path in shipped if path.stem == stem) for stem in ("sockets", "fs-scan")]


def compared(kmemlab, *arguments):
    done = kmemlab("compare", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_distances_follow_from_the_csv(kmemlab, pair, tmp_path):
    report = compared(kmemlab, *pair, "-a", "slub", "--samples", "20", "--out", tmp_path / "out", "--no-figures")
    rows = list(csv.DictReader((tmp_path / "out" / "compare_curves.csv").open()))
    assert len(rows) == 20 * len(report["curves"])
    for name, entry in report["curves"].items():
        pairs = [(int(row["a_bytes"]), int(row["b_bytes"])) for row in rows if row["curve"] == name]
        error, base = sum(abs(a - b) for a, b in pairs), sum(a for a, _ in pairs)
        assert (entry["error_bytes"], entry["base_bytes"]) == (error, base)
        assert entry["wape"] == (pytest.approx(error / base, rel=1e-12) if base else None)
        assert entry["mean_difference_bytes"] == pytest.approx(sum(b - a for a, b in pairs) / 20)
        assert abs(entry["most_difference_bytes"]) == max(abs(a - b) for a, b in pairs)
    caches = list(csv.DictReader((tmp_path / "out" / "compare_caches.csv").open()))
    for cache in report["caches"]:
        mine = [row for row in caches if row["cache"] == cache["name"]]
        assert cache["slabs"]["error_bytes"] == sum(abs(int(row["a_slab_bytes"]) - int(row["b_slab_bytes"])) for row in mine)
    summary = list(csv.DictReader((tmp_path / "out" / "compare.csv").open()))
    assert [row["curve"] for row in summary if not row["cache"]] == list(report["curves"])


def test_samples_stand_at_equal_fractions_of_time(kmemlab, pair, tmp_path):
    report = compared(kmemlab, *pair, "-a", "binary", "--samples", "8", "--out", tmp_path / "out", "--no-figures")
    rows = [row for row in csv.DictReader((tmp_path / "out" / "compare_curves.csv").open()) if row["curve"] == "held"]
    for side in "ab":
        whole = report[side]["duration_ns"]
        assert [int(row[f"{side}_time_ns"]) for row in rows] == [whole * i // 8 for i in range(1, 9)]


def test_the_end_is_where_a_replay_ends(kmemlab, pair, tmp_path):
    """The last sample and the peaks, against `kmemlab replay` in an arena of the same size."""
    report = compared(kmemlab, pair[0], pair[1], "-a", "slab", "--samples", "3")
    alone = json.loads(kmemlab("replay", pair[1], "-a", "slab", "--arena", report["arena_bytes"], "--json").stdout)
    assert report["b"]["peak_held_bytes"] == alone["peak_held_bytes"]
    assert report["b"]["events"] == alone["events"]


def test_a_trace_is_its_own_twin(kmemlab, pair):
    report = compared(kmemlab, pair[0], pair[0], "-a", "slub", "--max-wape", "0")
    assert {entry["error_bytes"] for entry in report["curves"].values()} == {0}
    assert report["worst"] == []


def test_the_limit_decides_the_exit_status(kmemlab, pair):
    done = kmemlab("compare", *pair, "-a", "binary", "--max-wape", "0.01%")
    assert done.returncode == 1 and "WAPE of held" in done.stderr
    assert kmemlab("compare", *pair, "-a", "binary", "--max-wape", "1000").returncode == 0


def test_several_stacks_are_a_list(kmemlab, pair):
    reports = compared(kmemlab, *pair, "-a", "slub", "-a", "binary", "--samples", "2")
    assert [report["allocator"] for report in reports] == ["slub", "binary"]


def test_same_inputs_same_bytes(kmemlab, pair, tmp_path):
    for run in ("one", "two"):
        compared(kmemlab, *pair, "-a", "slub", "--samples", "5", "--out", tmp_path / run, "--no-figures")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_figures_are_drawn(kmemlab, pair, tmp_path):
    pytest.importorskip("matplotlib")
    assert kmemlab("compare", *pair, "-a", "slub", "--out", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "figures" / "compare-sockets-fs-scan-slub-all.png").stat().st_size > 10000


@pytest.mark.parametrize("words, needle", [
    ((), "which two workloads"),
    (("x.kmt",), "which two workloads"),
    (("x.kmt", "y.kmt"), "which allocator"),
    (("x.kmt", "y.kmt", "z.kmt", "-a", "slub"), "'z.kmt' is too many"),
    (("x.kmt", "y.kmt", "-a", "slub"), "x.kmt"),
    (("x.kmt", "y.kmt", "-a", "slub", "--samples", "0"), "samples '0'"),
    (("x.kmt", "y.kmt", "-a", "slub", "--max-wape", "much"), "max-wape 'much'"),
])
def test_bad_words_are_refused(kmemlab, words, needle):
    done = kmemlab("compare", *words)
    assert done.returncode == 2 and needle in done.stderr
