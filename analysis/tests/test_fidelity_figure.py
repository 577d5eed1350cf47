"""The figure of a forecast: from a CSV file small enough to check by hand."""

import subprocess
import sys

import pytest

pytest.importorskip("matplotlib")

import fidelity  # noqa: E402
import schema  # noqa: E402

HEADER = ("trace,allocator,level,snapshot,time_ns,event,judged,cache,left_out,predicted_pages,actual_pages,predicted_slabs,"
          "actual_slabs,predicted_live_objects,predicted_active_objects,actual_active_objects,actual_total_objects\n")


def row(time, judged, cache, predicted, actual, left_out=0):
    return f"t,slub,all,{time},{time},{time},{judged},{cache},{left_out},{predicted},{actual},0,0,0,0,0,0\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "fidelity.csv").write_text(
        HEADER + row(0, 0, "a", 9, 4) + row(0, 0, "b", 1, 1)
        + row(1, 1, "a", 6, 4) + row(1, 1, "b", 1, 2) + row(1, 1, "gt_rb_page", 70, 90, left_out=1)
        + row(2, 1, "a", 4, 4) + row(2, 1, "c", 0, 2))
    return tmp_path


def test_sums_leave_out_the_first_snapshot_and_the_recorder(folder):
    (forecast,) = fidelity.read_forecasts(folder)
    assert forecast.errors() == {"a": 2, "b": 1, "c": 2}
    assert forecast.worst() == ["a", "c", "b"]  # equal errors by name
    assert forecast.wmape() == pytest.approx(5 / 12)
    assert forecast.curve("actual_pages") == [5, 6, 6]
    assert forecast.curve("predicted_pages", "b") == [1, 1, 0]  # no row: no slab
    assert forecast.left_out == ["gt_rb_page"]


def test_a_damaged_file_is_refused_with_its_line(folder):
    path = folder / "fidelity.csv"
    path.write_text(path.read_text().replace(",70,90,", ",seventy,90,"))
    with pytest.raises(schema.SchemaError, match="line 6.*predicted_pages"):
        fidelity.read_forecasts(folder)
    assert fidelity.main([str(folder)]) == 2
    assert fidelity.main([str(folder / "nowhere")]) == 2


def test_same_rows_same_bytes(folder):
    figures = []
    for _ in range(2):
        subprocess.run([sys.executable, fidelity.__file__, folder, "--quiet"], check=True)
        figures.append({path.name: path.read_bytes() for path in (folder / "figures").iterdir()})
    assert figures[0] == figures[1] and sorted(figures[0]) == ["fidelity-t.pdf", "fidelity-t.png"]
