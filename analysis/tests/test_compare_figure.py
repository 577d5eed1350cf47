"""The figure of two workloads: from CSV files small enough to check by hand."""

import subprocess
import sys

import pytest

pytest.importorskip("matplotlib")

import compare  # noqa: E402
import schema  # noqa: E402

CURVES = "a,b,allocator,level,sample,curve,a_event,b_event,a_time_ns,b_time_ns,a_bytes,b_bytes\n"
CACHES = "a,b,allocator,level,sample,cache,a_time_ns,b_time_ns,a_slab_bytes,b_slab_bytes,a_live_bytes,b_live_bytes\n"


def curve(sample, name, a, b, allocator="slub"):
    return f"t,twin,{allocator},all,{sample},{name},{sample},{sample},{sample},{sample},{a},{b}\n"


def cache(sample, name, a, b):
    return f"t,twin,slub,all,{sample},{name},{sample},{sample},{a},{b},{a},{a}\n"


@pytest.fixture
def folder(tmp_path):
    rows = [curve(i, name, a, b, allocator) for allocator in ("slub", "binary")
            for i, (a, b) in enumerate([(4, 6), (8, 7)], start=1) for name in ("requested", "held", "waste")]
    (tmp_path / "compare_curves.csv").write_text(CURVES + "".join(rows))
    (tmp_path / "compare_caches.csv").write_text(
        CACHES + cache(1, "near", 5, 5) + cache(1, "far", 5, 9) + cache(2, "near", 5, 5) + cache(2, "far", 5, 4)
        + cache(2, "also", 0, 5))
    return tmp_path


def test_sums_by_hand(folder):
    slub, binary = compare.read_comparisons(folder)
    assert slub.wape("waste") == pytest.approx(100 * 3 / 12)
    assert slub.percents() == [50, 100]
    assert slub.worst() == ["also", "far"]  # equal errors by name; what is not off is not shown
    assert binary.worst() == []


def test_a_damaged_file_is_refused_with_its_line(folder):
    path = folder / "compare_caches.csv"
    path.write_text(path.read_text().replace(",far,2,2,5,4,", ",far,2,2,five,4,"))
    with pytest.raises(schema.SchemaError, match="line 5.*a_slab_bytes"):
        compare.read_comparisons(folder)
    assert compare.main([str(folder)]) == 2
    assert compare.main([str(folder / "nowhere")]) == 2


def test_a_run_of_page_allocators_alone_has_no_caches(folder):
    (folder / "compare_caches.csv").write_text(CACHES)
    assert [comparison.worst() for comparison in compare.read_comparisons(folder)] == [[], []]
    (folder / "compare_curves.csv").write_text(CURVES)
    assert compare.main([str(folder)]) == 2


def test_same_rows_same_bytes(folder):
    figures = []
    for _ in range(2):
        subprocess.run([sys.executable, compare.__file__, folder, "--quiet"], check=True)
        figures.append({path.name: path.read_bytes() for path in (folder / "figures").iterdir()})
    assert figures[0] == figures[1]
    assert sorted(figures[0]) == [f"compare-t-twin-{stack}-all.{form}" for stack in ("binary", "slub") for form in ("pdf", "png")]
