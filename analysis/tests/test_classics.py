"""The classic results: numbers by hand on made-up runs, every number of a caption in the table, and what is left out."""

import csv
import hashlib
import os
import re
import subprocess
import sys

import classics
import fake_run
import figures
import pytest
import schema

MIB = 1 << 20


def make(program, run, *arguments, environment=None):
    return subprocess.run([sys.executable, program("classics.py"), run, *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, **(environment or {})})


def digests(run):
    found = {}
    for folder in ("figures", "tables"):
        for name in sorted(os.listdir(os.path.join(run, folder))):
            found[name] = hashlib.sha256(open(os.path.join(run, folder, name), "rb").read()).hexdigest()
    return found


def rows_of(run):
    with open(os.path.join(run, "tables", "classics.csv"), newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def value_of(rows, result, allocator, quantity):
    values = [row["value"] for row in rows if (row["result"], row["allocator"], row["quantity"]) == (result, allocator, quantity)]
    assert len(values) == 1, (result, allocator, quantity, values)
    return float(values[0])


def load(run):
    return figures.Run(run, ["samples.csv", "orders.csv", "slabs.csv"])


@pytest.fixture(name="few")
def few_fixture(tmp_path):
    """Recorded and four stacks; the slabs are nearly empty at the second of three snapshots."""
    specs = ("recorded", "slab/binary", "slob/binary", "slub/binary", "slub:merge=on/binary")
    return fake_run.make_run(str(tmp_path / "run"), steps=6, traces=("compile",), specs=specs)


def test_all_are_drawn_twice_with_the_same_bytes(few, program):
    first = make(program, few, environment={"PYTHONHASHSEED": "1"})
    assert first.returncode == 0, first.stderr
    before = digests(few)
    assert set(before) == {"classics.csv"} | {f"classic_{name}.{form}" for form in ("png", "pdf")
                                              for name in ("pinned-compile-all", "merging-all", "footprint-all")}
    assert {os.path.basename(line) for line in first.stdout.split()} == set(before)
    again = make(program, few, "--quiet", environment={"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo"})
    assert again.returncode == 0 and again.stdout == ""
    assert digests(few) == before


def test_timing_changes_the_figure_but_not_the_table(few, program):
    assert make(program, few, "--format", "png").returncode == 0
    before = digests(few)["classics.csv"]
    os.remove(os.path.join(few, "timing.csv"))
    assert make(program, few, "--format", "png").returncode == 0
    assert digests(few)["classics.csv"] == before


def edit(run, name, change):
    """Rewrite rows of a CSV file; change(row) alters one or returns False to drop it."""
    path = os.path.join(run, name)
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    kept = [row for row in rows if change(row) is not False]
    fake_run.write(path, schema.FILES[name], kept)


def by_hand(row):
    """Objects: 8 MiB at samples 0 to 2, 2 MiB after. Slabs: 10 MiB, then 9; 16 MiB of pages all the time."""
    early = int(row["sample"]) < 3
    objects, slabs = (8, 10) if early else (2, 9)
    for column in schema.WASTE_COLUMNS:
        row[column] = 0
    row.update(requested_bytes=(16 + objects) * MIB, held_bytes=(16 + slabs) * MIB, slab_bytes=slabs * MIB,
               waste_free_slots_bytes=(slabs - objects) * MIB)


def test_the_fall_by_hand(few):
    edit(few, "samples.csv", by_hand)
    run, table = load(few), classics.Table()
    figure = classics.pinned(run, ("compile", "all"), table)
    values = {(row[3], row[4]): row[5] for row in table.rows}
    for name in ("recorded", "slab/binary", "slub/binary"):
        assert values[name, "peak_requested_bytes"] == str(8 * MIB) and values[name, "valley_requested_bytes"] == str(2 * MIB)
        assert values[name, "peak_held_bytes"] == str(10 * MIB) and values[name, "valley_held_bytes"] == str(9 * MIB)
        assert values[name, "requested_fell"] == "0.750000" and values[name, "held_fell"] == "0.100000"
    sparse = run.cell("slabs.csv", next(row for row in run.summary if row["allocator"] == "slub/binary"))
    sparse = sparse[(sparse["snapshot"] == 1) & (sparse["fill_tenths"] == 1)]
    assert values["slub/binary", "sparse_slabs"] == str(sparse["slabs"].sum())
    text = caption(figure)
    assert "slub/binary: requested \u221275.0 %, held \u221210.0 %" in text
    assert f"are kept by {sparse['live_objects'].sum():,} objects" in text


def caption(figure):
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts)


def test_what_slob_has_in_pages_counts_as_objects(few):
    """Large kmallocs are pages in SLOB: its slabs are fewer, what it holds for objects is not."""
    edit(few, "samples.csv", by_hand)

    def with_pages(row):
        if row["allocator"] == "slob/binary":
            row["slab_bytes"] = int(row["slab_bytes"]) - MIB
    edit(few, "samples.csv", with_pages)
    run = load(few)
    objects = classics.Objects(run, ("compile", "all"))
    assert list(objects.of("slob/binary")["held"]) == list(objects.of("slub/binary")["held"]) == [10 * MIB] * 3 + [9 * MIB] * 3
    assert list(objects.of("slob/binary")["requested"]) == [8 * MIB] * 3 + [2 * MIB] * 3


def test_no_fall_no_figure(few, program):
    edit(few, "slabs.csv", lambda row: row["fill_tenths"] == "10")
    assert make(program, few, "--format", "png").returncode == 0
    assert not any("pinned" in name for name in digests(few))


@pytest.mark.parametrize("spec, rest, value", [
    ("slub/binary", "slub/binary", None),
    ("slub:merge=on/binary", "slub/binary", "on"),
    ("slub:merge=off,order=1/binary:unit=16", "slub:order=1/binary:unit=16", "off"),
    ("slub:order=1,merge=on/binary", "slub:order=1/binary", "on"),
])
def test_the_spec_without_merging(spec, rest, value):
    assert classics.without_merge(spec) == (rest, value)


def test_merging_compares_the_same_stack_only(tmp_path, monkeypatch):
    specs = ("slub/binary", "slub/fibonacci", "slub:merge=on/fibonacci", "slub:merge=on/weighted")
    for spec in specs[2:]:
        monkeypatch.setitem(fake_run.ALLOCATORS, spec, fake_run.ALLOCATORS["slub:merge=on/binary"])
    run = load(fake_run.make_run(str(tmp_path / "run"), steps=4, traces=("t",), specs=specs))
    pairs = classics.merge_pairs(run, ("t", "all"))
    assert [(many["allocator"], few["allocator"]) for many, few in pairs] == [("slub/fibonacci", "slub:merge=on/fibonacci")]
    table = classics.Table()
    figure = classics.merging(run, "all", table)
    means = {(row[3], row[4]): float(row[5]) for row in table.rows}
    assert means["slub/fibonacci", "mean_caches"] == 5 and means["slub:merge=on/fibonacci", "mean_caches"] == 3
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[0] == pytest.approx(-40) and len(heights) == len(classics.MERGE_QUANTITIES)
    assert "5.0 caches against 3.0" in caption(figure)


def growing(row):
    """Objects 1 to 6 MiB. SLOB holds 1/2 MiB more than they are, SLUB 2 MiB more at first and 1/4 from the fourth sample on."""
    objects = int(row["sample"]) + 1
    extra = MIB // 2 if row["allocator"] == "slob/binary" else 2 * MIB if objects < 4 else MIB // 4
    for column in schema.WASTE_COLUMNS:
        row[column] = 0
    row.update(requested_bytes=objects * MIB, held_bytes=objects * MIB + extra, slab_bytes=objects * MIB + extra, waste_free_slots_bytes=extra)


def test_slob_holds_less_at_first_by_hand(tmp_path, program):
    run = fake_run.make_run(str(tmp_path / "run"), steps=6, traces=("t",), specs=("slob/binary", "slub/binary"))
    edit(run, "samples.csv", growing)
    assert make(program, run, "--format", "png").returncode == 0
    rows = rows_of(run)
    assert value_of(rows, "footprint", "slub/binary", "slob_least_share_of_held") == pytest.approx(1.5 / 3)
    assert value_of(rows, "footprint", "slub/binary", "slob_least_share_at_requested_bytes") == MIB
    assert value_of(rows, "footprint", "slub/binary", "slob_holds_less_up_to_requested_bytes") == 3 * MIB
    assert value_of(rows, "footprint", "slub/binary", "slob_share_of_held_at_peak") == pytest.approx(6.5 / 6.25, abs=1e-6)
    assert value_of(rows, "footprint", "slob/binary", "objects_held_over_requested") == pytest.approx(6.5 / 6, abs=1e-6)
    steps = {name: value_of(rows, "footprint", name, "steps_per_event") for name in ("slob/binary", "slub/binary")}
    assert steps["slob/binary"] == pytest.approx(20 * steps["slub/binary"], abs=1e-4)


def test_one_stack_alone_has_nothing_to_be_compared_with(tmp_path, program):
    run = fake_run.make_run(str(tmp_path / "run"), steps=4, traces=("t",), specs=("binary", "slub/binary"))
    result = make(program, run, "--format", "png")
    assert result.returncode == 0, result.stderr
    assert set(digests(run)) == {"classic_pinned-t-all.png", "classics.csv"}


def test_no_stacks_no_figures(tmp_path, program):
    run = fake_run.make_run(str(tmp_path / "run"), steps=3, traces=("t",), specs=("recorded", "binary", fake_run.BROKEN))
    result = make(program, run)
    assert result.returncode == 0 and "none of them" in result.stdout
    assert os.listdir(os.path.join(run, "figures")) == [] and not os.path.exists(os.path.join(run, "tables"))


def test_a_run_of_one_sample(tmp_path, program):
    specs = ("recorded", "slab/binary", "slob/binary", "slub/binary", "slub:merge=on/binary")
    run = fake_run.make_run(str(tmp_path / "run"), steps=1, traces=("t",), specs=specs)
    result = make(program, run, "--format", "png")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name, column", [("samples.csv", "slab_bytes"), ("slabs.csv", "fill_tenths"), ("summary.csv", "steps")])
def test_a_missing_column_is_named(few, program, name, column):
    path = os.path.join(few, name)
    text = open(path, encoding="utf-8").read()
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text.replace(column, "other", 1))
    result = make(program, few)
    assert result.returncode == 2 and result.stderr == f"classics: {path}: column {column} is missing (results/README.md lists the columns)\n"


def test_every_number_of_a_caption_is_in_the_table(few):
    """Percentages and counts of the sentences, as the table rounds them."""
    run, table = load(few), classics.Table()
    drawn = [classics.pinned(run, ("compile", "all"), table), classics.merging(run, "all", table), classics.footprint(run, "all", {}, table)]
    known = set()
    for row in table.rows:
        value = float(row[5])
        known |= {f"{abs(100 * value):.1f}", f"{value:.1f}", f"{value / MIB:.2f}", f"{value:.0f}"}
    for figure in drawn:
        sentences = re.sub(r"\b10 %|a tenth", "", caption(figure)).replace(",", "")
        for number in re.findall(r"(?<![\w.=-])\d+(?:\.\d+)?(?![\w.])", sentences):
            assert number in known, (number, sentences)
