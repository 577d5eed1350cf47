"""Bad results files: one sentence with the file and the column, exit status 2, from both programs."""

import collections
import contextlib
import csv
import io
import os
import re

import fake_run
import figures
import pytest
import schema
import summary

Result = collections.namedtuple("Result", "returncode stdout stderr")


def call(tool, *arguments):
    """Run a program's main() and catch what it prints."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = {"figures": figures, "summary": summary}[tool].main(list(arguments))
    return Result(status, out.getvalue(), error.getvalue())


def edit(run, name, change):
    """Rewrite a CSV file of the run: change(header, rows) edits both in place."""
    path = os.path.join(run, name)
    with open(path, newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    change(header, rows)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return path


def drop_column(column):
    def change(header, rows):
        place = header.index(column)
        for row in (header, *rows):
            del row[place]
    return change


def set_field(column, value, line=0):
    def change(header, rows):
        rows[line][header.index(column)] = value
    return change


def is_one_sentence(result, program, path, column=None, line=None):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith(f"{program}: {path}")
    if column:
        assert re.search(rf"\bcolumn {column}\b", result.stderr), result.stderr
    if line:
        assert f"line {line}:" in result.stderr


# The contract of results/README.md is what the code reads: every column named there, no other.
def test_columns_are_those_of_the_contract(program):
    readme = os.path.join(os.path.dirname(program(".")), os.pardir, "results", "README.md")
    with open(readme, encoding="utf-8") as stream:
        text = stream.read().split("## Columns", 1)[1]
    for name, columns in schema.FILES.items():
        section = re.search(rf"\*\*{re.escape(name)}\*\*:(.*?)(?=\n\* \*\*|\n#|\Z)", text, re.S).group(1)
        words = set(re.findall(r"[a-z][a-z0-9_]+", " ".join(re.findall(r"`([^`]*)`", section))))
        for column in columns:
            if column not in schema.KEY and not (name == "summary.csv" and column in schema.WASTE_COLUMNS):
                assert column in words, f"{name}: {column} is not in results/README.md"


@pytest.mark.parametrize("name", ["summary.csv", "timing.csv"])
def test_summary_names_every_missing_column(run, name):
    for column in schema.FILES[name]:
        fake_run.make_run(run, steps=3, traces=("compile",), specs=("recorded", "binary"))
        path = edit(run, name, drop_column(column))
        is_one_sentence(call("summary", run), "summary", path, column)


@pytest.mark.parametrize("name, column", [("samples.csv", "held_bytes"), ("orders.csv", "free_blocks"), ("map.csv", "occupancy"),
                                          ("summary.csv", "status")])
def test_figures_name_the_missing_column(run, name, column):
    path = edit(run, name, drop_column(column))
    is_one_sentence(call("figures", run), "figures", path, column)


@pytest.mark.parametrize("name, column, value", [
    ("samples.csv", "held_bytes", "many"), ("samples.csv", "time_ns", "-5"), ("samples.csv", "requested_bytes", ""),
    ("samples.csv", "held_bytes", "99999999999999999999999"), ("orders.csv", "unusable_index", "nan"), ("orders.csv", "order", "1.5"),
    ("map.csv", "occupancy", "0g"), ("map.csv", "occupancy", "123"), ("summary.csv", "peak_held_bytes", "1e9"),
    ("summary.csv", "jw1", "inf"), ("summary.csv", "status", "fine"),
])
def test_figures_name_the_line_and_column_of_a_wrong_value(run, name, column, value):
    path = edit(run, name, set_field(column, value, line=3))
    is_one_sentence(call("figures", run), "figures", path, column, line=5)


def test_summary_names_the_line_and_column_of_a_wrong_value(run):
    path = edit(run, "summary.csv", set_field("splits", "a lot", line=2))
    is_one_sentence(call("summary", run), "summary", path, "splits", line=4)


def test_a_cell_twice_is_an_error(run):
    path = edit(run, "summary.csv", lambda header, rows: rows.append(rows[1]))
    is_one_sentence(call("summary", run), "summary", path, "allocator")


@pytest.mark.parametrize("content, says", [("", "empty file"), (None, "no rows"), (b"\xff\xfe\x00", "not a UTF-8 text file")])
@pytest.mark.parametrize("tool, name", [("summary", "summary.csv"), ("figures", "samples.csv"), ("figures", "orders.csv"),
                                        ("figures", "map.csv")])
def test_an_empty_or_foreign_file(run, tool, name, content, says):
    path = os.path.join(run, name)
    if content is None:
        edit(run, name, lambda header, rows: rows.clear())
    else:
        with open(path, "wb") as stream:
            stream.write(content if isinstance(content, bytes) else content.encode())
    result = call(tool, run)
    is_one_sentence(result, tool, path)
    assert says in result.stderr


@pytest.mark.parametrize("tool, name", [("summary", "summary.csv"), ("figures", "summary.csv"), ("figures", "samples.csv")])
def test_a_missing_file(run, tool, name):
    path = os.path.join(run, name)
    os.remove(path)
    is_one_sentence(call(tool, run), tool, path)


@pytest.mark.parametrize("tool", ["summary", "figures"])
def test_a_missing_run(tmp_path, tool):
    nowhere = str(tmp_path / "nowhere")
    is_one_sentence(call(tool, nowhere), tool, nowhere)


def test_a_short_line_is_named(run):
    path = edit(run, "samples.csv", lambda header, rows: rows[4].pop())
    is_one_sentence(call("figures", run), "figures", path, "live_objects", line=6)


def test_a_long_line_is_named(run):
    path = edit(run, "samples.csv", lambda header, rows: rows[4].append("7"))
    is_one_sentence(call("figures", run), "figures", path, "live_objects", line=6)


def test_more_columns_than_the_contract_are_allowed(run):
    def widen(header, rows):
        header.insert(3, "later")
        for row in rows:
            row.insert(3, "x")
    for name in schema.FILES:
        edit(run, name, widen)
    assert call("summary", run).returncode == 0
    assert call("figures", run, "--format", "png", "--quiet").returncode == 0


def test_an_unwritable_folder_is_said_and_nothing_is_left(run):
    for name in ("tables", "figures"):  # a file where the folder should be: also root cannot write through it
        with open(os.path.join(run, name), "w", encoding="utf-8"):
            pass
    is_one_sentence(call("summary", run), "summary", os.path.join(run, "tables"))
    is_one_sentence(call("figures", run), "figures", os.path.join(run, "figures"))
    assert not [name for name in os.listdir(run) if "partial" in name]


def test_the_waste_terms_add_up_in_the_made_up_run(run):
    for row in schema.read_rows(os.path.join(run, "samples.csv"), schema.SAMPLES):
        assert row["requested_bytes"] + sum(row[column] for column in schema.WASTE_COLUMNS) == row["held_bytes"]


def test_demand_is_the_largest_of_the_valid_cells_but_not_of_the_recorded():
    def row(allocator, peak, status="ok"):
        return {"trace": "t", "level": "all", "allocator": allocator, "status": status, "peak_requested_bytes": peak}
    assert schema.demands([row("recorded", 900), row("binary", 400), row("nop", 500), row("dual", None, "invalid")]) == {("t", "all"): 500}
    assert schema.demands([row("recorded", 900)]) == {("t", "all"): 900}
