"""The figures: all are made, twice with the same bytes; what they show adds up; nothing is dropped in silence."""

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys

import fake_run
import families
import figures
import pytest
import schema


def make(program, run, *arguments, environment=None):
    return subprocess.run([sys.executable, program("figures.py"), run, *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, **(environment or {})})


def digests(run):
    folder = os.path.join(run, "figures")
    return {name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest() for name in sorted(os.listdir(folder))}


def texts(figure):
    """Every text of a figure, also of its legends and axes."""
    import matplotlib.text
    return [found.get_text() for found in figure.findobj(matplotlib.text.Text) if found.get_text()]


@pytest.fixture
def loaded(run):
    return figures.Run(run, ["samples.csv", "orders.csv", "map.csv"])


def test_all_figures_are_made_and_are_the_same_twice(run, program):
    first = make(program, run, environment={"PYTHONHASHSEED": "1"})
    assert first.returncode == 0, first.stderr
    expected = {f"{name}{'' if name == 'overview' else '-compile-all'}.{form}" for name in figures.FIGURES for form in ("png", "pdf")}
    before = digests(run)
    assert set(before) == expected
    assert {os.path.basename(line) for line in first.stdout.split()} == expected
    again = make(program, run, "--jobs", "1", "--quiet", environment={"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1"})
    assert again.returncode == 0 and again.stdout == ""
    assert digests(run) == before


def test_pdfs_embed_truetype_fonts_and_carry_no_date(run, program):
    assert make(program, run, "--format", "pdf", "--quiet").returncode == 0
    for name in os.listdir(os.path.join(run, "figures")):
        content = open(os.path.join(run, "figures", name), "rb").read()
        assert content.startswith(b"%PDF-")
        assert b"/FontFile2" in content and b"/Type3" not in content
        assert b"CreationDate" not in content and b"ModDate" not in content


def test_only_and_format_choose(run, program):
    assert make(program, run, "--only", "where_waste,overview", "--format", "png", "--quiet").returncode == 0
    assert set(digests(run)) == {"where_waste-compile-all.png", "overview.png"}
    wrong = make(program, run, "--only", "whereabouts")
    assert wrong.returncode == 2 and "whereabouts" in wrong.stderr and "where_waste" in wrong.stderr


def test_a_failed_write_leaves_nothing_partial(run, program):
    os.makedirs(os.path.join(run, "figures", "overview.png"))  # a folder in the place of the file
    result = make(program, run, "--only", "overview", "--format", "png")
    assert result.returncode == 2 and "overview.png: cannot be written" in result.stderr and result.stderr.count("\n") == 1
    assert os.listdir(os.path.join(run, "figures")) == ["overview.png"]


def test_missing_matplotlib_names_the_debian_package(run, program, tmp_path):
    blind = tmp_path / "blind" / "matplotlib"
    blind.mkdir(parents=True)
    (blind / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'matplotlib'\", name='matplotlib')\n")
    environment = {"PYTHONPATH": str(tmp_path / "blind")}
    result = make(program, run, environment=environment)
    assert result.returncode == 3
    assert "python3-matplotlib" in result.stderr and "Traceback" not in result.stderr and result.stderr.count("\n") == 1
    table = subprocess.run([sys.executable, program("summary.py"), run], capture_output=True, text=True, check=False,
                           env={**os.environ, **environment})
    assert table.returncode == 0 and "best_fit" in table.stdout


def test_waste_terms_of_a_bar_add_up_to_what_was_held_and_not_asked_for(loaded):
    for row in loaded.rows("compile", "all"):
        if row["status"] != "ok" or row["allocator"] == schema.NOP:
            continue
        frame = loaded.cell("samples.csv", row)
        peak = frame.loc[frame["held_bytes"].idxmax()]
        expected = 100 * (peak["held_bytes"] - peak["requested_bytes"]) / peak["held_bytes"]
        assert sum(figures.waste_terms(row).values()) == pytest.approx(expected, abs=1e-9)


def bars_of(axes):
    """{row: total width} of the stacked parts (the recorded bar's frame is not a part)."""
    totals = {}
    for patch in axes.patches:
        if patch.get_facecolor()[3] > 0:
            y = round(patch.get_y() + patch.get_height() / 2)
            totals[y] = totals.get(y, 0) + patch.get_width()
    return totals


def test_bars_are_stacked_to_the_number_printed_at_their_end(loaded):
    figure = figures.where_waste(loaded, "compile", "all")
    totals = bars_of(figure.axes[0])
    printed = {round(text.get_position()[1]): float(text.get_text().split()[0]) for text in figure.axes[0].texts
               if text.get_text().endswith("%")}
    assert set(totals) == set(printed) and len(totals) == len(fake_run.ALLOCATORS) - 2
    for y, total in totals.items():
        assert printed[y] == pytest.approx(total, abs=0.0501)
    assert list(totals.values()) == sorted(totals.values())


@pytest.mark.parametrize("name", list(figures.PLACE_FIGURES))
def test_recorded_is_drawn_and_the_invalid_cell_is_named(loaded, name):
    written = texts(figures.PLACE_FIGURES[name][0](loaded, "compile", "all"))
    assert any("recorded" in text for text in written)
    assert any("Invalid" in text and fake_run.BROKEN in text.replace("\n", " ") for text in written)
    assert any("trace compile, level all" in text for text in written)
    assert any("nop keeps nothing" in text.replace("\n", " ") for text in written)


@pytest.mark.parametrize("name", ["waste_over_time", "unusable_index"])
def test_every_allocator_is_in_a_legend_and_recorded_is_first_black_and_thickest(loaded, name):
    figure = figures.PLACE_FIGURES[name][0](loaded, "compile", "all")
    named = []
    for legend in (axes.get_legend() for axes in figure.axes if axes.get_legend()):
        lines, labels = legend.get_lines(), [text.get_text().replace("\n", "") for text in legend.get_texts()]
        assert labels[0].startswith("recorded") and lines[0].get_color() == families.BLACK
        assert all(line.get_linewidth() < lines[0].get_linewidth() for line in lines[1:])
        looks = [(line.get_color(), str(line.get_linestyle()), line._dash_pattern) for line in lines]
        assert len({str(look) for look in looks}) == len(looks)
        named += [label.replace(" \u2020", "") for label in labels[1:]]
    assert sorted(named) == sorted(set(fake_run.ALLOCATORS) - {"nop", "recorded", fake_run.BROKEN})


def test_every_axis_has_words_and_fonts_are_readable(loaded):
    import matplotlib.text
    with figures.matplotlib.rc_context(figures.STYLE):
        drawn = [make_it(loaded, "compile", "all") for make_it, _ in figures.PLACE_FIGURES.values()] + [figures.overview(loaded)]
    for figure in drawn:
        for found in figure.findobj(matplotlib.text.Text):
            assert not found.get_text() or found.get_fontsize() >= 8, found.get_text()
        assert any(re.search(r"\(s\)|% of held|order|peak requested", text) for text in texts(figure))


def test_overview_shows_the_ratio_of_the_summary(loaded):
    rows = {row["allocator"]: row for row in loaded.summary}
    demand = rows["nop"]["peak_requested_bytes"]
    assert figures.headline(rows["binary"], demand) == (rows["binary"]["min_arena_bytes"] / demand, False)
    assert figures.headline(rows["recorded"], demand) == (rows["recorded"]["peak_held_bytes"] / demand, True)
    assert figures.headline(rows["kary:k=16"], demand) == (None, False)
    assert figures.headline(rows[fake_run.BROKEN], demand) == (None, False)
    written = texts(figures.overview(loaded))
    assert "no arena enough" in written and "invalid" in written


def test_the_map_keeps_every_cell_and_crops_only_the_recorded(loaded):
    rows = loaded.rows("compile", "all")
    frame = loaded.cell("map.csv", rows[0])
    matrix = figures.map_matrix(frame)
    assert matrix.shape == (fake_run.CELLS, len(frame))
    assert matrix.max() <= 100 and matrix[0, 0] == pytest.approx(int(frame["occupancy"].iloc[0][:2], 16) / 2.55)
    chosen = figures.choose_for_map(rows, [])
    assert chosen[0]["allocator"] == "recorded" and len(chosen) == figures.MAP_PANELS
    assert [row["allocator"] for row in figures.choose_for_map(rows, ["dual"])] == ["recorded", "dual"]


def test_families_cover_every_spec_and_no_panel_repeats_a_colour():
    specs = [f"kary:k={k}" for k in range(2, 17)] + ["slub/binary", "my_plugin:x=1", "binary", "nop", "recorded"]
    panels = families.group(specs)
    assert sorted(name for _, names in panels for name in names) == sorted(set(specs) - {"nop", "recorded"})
    assert all(len(names) <= len(families.LINE_COLOURS) for _, names in panels)
    assert [len(names) for title, names in panels if title.startswith("k-ary")] == [5, 5, 5]
    assert families.family_of("slub/binary") == "slab strategies" and families.family_of("my_plugin:x=1") == families.OTHER


@pytest.mark.parametrize("spec", ["a" * 100, "binary", "slub:profile=linux-6.18/binary:max_order=10,policy=fifo"])
def test_a_broken_label_is_still_the_spec(spec):
    assert families.short(spec, 20).replace("\n", "") == spec


def test_a_run_of_invalid_cells_but_one(tmp_path, program):
    run = fake_run.make_run(str(tmp_path / "run"), steps=1, traces=("t",), specs=("binary", fake_run.BROKEN))
    result = make(program, run, "--format", "png", "--quiet")
    assert result.returncode == 0, result.stderr
    assert len(digests(run)) == len(figures.FIGURES) - 1  # without object stacks no figure of them


def test_gnuplot_draws_every_trace_and_level_of_a_real_run(tmp_path, program):
    """Regression: the log scale of one figure spoiled the statistics of the next, whose waste was zero."""
    if shutil.which("gnuplot") is None:
        pytest.skip("gnuplot is not installed (Debian: gnuplot-nox)")
    reference = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "results", "reference", "samples.csv")
    shutil.copy(reference, tmp_path / "samples.csv")
    with open(reference, encoding="utf-8") as rows:
        places = {tuple(row[key] for key in ("trace", "level")) for row in csv.DictReader(rows)}
    result = subprocess.run(["gnuplot", "-c", program("waste.gp"), str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(tmp_path / "figures")) == sorted(f"waste-gnuplot-{trace}-{level}.png" for trace, level in places)


def test_gnuplot_draws_the_same_run(tmp_path, program):
    if shutil.which("gnuplot") is None:
        pytest.skip("gnuplot is not installed (Debian: gnuplot-nox)")
    run = fake_run.make_run(str(tmp_path / "a run"), steps=6)
    for _ in range(2):
        result = subprocess.run(["gnuplot", "-c", program("waste.gp"), run], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
    made = os.listdir(os.path.join(run, "figures"))
    assert sorted(made) == ["waste-gnuplot-compile-all.png", "waste-gnuplot-fork-storm-all.png"]
    assert all(open(os.path.join(run, "figures", name), "rb").read(4) == b"\x89PNG" for name in made)


@pytest.mark.parametrize("spoil, says", [
    (None, "missing"),
    (lambda text: text.replace("held_bytes", "hold_bytes", 1), "column held_bytes is missing"),
    (lambda text: text.splitlines()[0] + "\n", "no rows"),
])
def test_gnuplot_says_what_is_wrong(run, program, spoil, says):
    if shutil.which("gnuplot") is None:
        pytest.skip("gnuplot is not installed (Debian: gnuplot-nox)")
    path = os.path.join(run, "samples.csv")
    text = open(path, encoding="utf-8").read()
    os.remove(path)
    if spoil:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(spoil(text))
    result = subprocess.run(["gnuplot", "-c", program("waste.gp"), run], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and f"{path}: {says}" in result.stderr


def test_many_samples_of_one_instant_are_one(loaded):
    row = loaded.rows("compile", "all")[0]
    frame = loaded.cell("samples.csv", row)
    key = tuple(row[column] for column in schema.KEY)
    early = frame.copy()
    early.loc[early["sample"] < 3, "time_ns"] = early["time_ns"].min()  # the objects live when a capture began
    loaded._cells["samples.csv"][key] = early
    assert list(loaded.moments("samples.csv", row)["sample"]) == [2, 3, 4, 5]


def test_the_composed_figure_has_a_panel_a_stack_and_its_waste_adds_up(loaded):
    place = ("compile", "all")
    stacks = figures.stack_rows(loaded.rows(*place))
    names = [row["allocator"] for row in stacks]
    assert names[:4] == ["recorded", "slab/binary", "slob/binary", "slub/binary"]  # the strategies as they are before the varied
    assert sorted(names[1:]) == sorted(name for name in fake_run.ALLOCATORS if "/" in name)
    figure = figures.composed(loaded, *place)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left").endswith(")") and len(axes.collections) == len(schema.WASTE)]
    assert len(panels) == len(stacks)
    for axes, row in zip(panels, stacks):
        frame = loaded.moments("samples.csv", row)
        tops = [max(path.vertices[:, 1].max() for path in collection.get_paths()) for collection in axes.collections]
        assert max(tops) == pytest.approx((frame["held_bytes"] - frame["requested_bytes"]).max() / figures.MIB)
    assert any(f"({stacks[1]['peak_held_bytes'] / stacks[1]['peak_requested_bytes']:.3f})" in text for text in texts(figure))


def test_the_composed_figure_needs_object_stacks(tmp_path, program):
    run = fake_run.make_run(str(tmp_path / "run"), steps=3, traces=("t",), specs=("recorded", "binary"))
    assert make(program, run, "--only", "composed", "--quiet").returncode == 0
    assert os.listdir(os.path.join(run, "figures")) == []


def test_one_stack_and_no_recorded_kernel(tmp_path):
    run = figures.Run(fake_run.make_run(str(tmp_path / "run"), steps=3, traces=("t",), specs=("slub/binary",)), ["samples.csv", "orders.csv"])
    written = texts(figures.composed(run, "t", "all"))
    assert any(text.startswith("slub/binary (") for text in written) and any("No valid cell of the recorded" in text for text in written)


def test_objects_are_what_slabs_hold_without_their_waste(loaded):
    row = next(row for row in loaded.summary if row["allocator"] == "slub/binary")
    frame = loaded.cell("samples.csv", row)
    half = frame["requested_bytes"] // 2  # fake_run: half of what is requested is objects
    assert (figures.object_bytes(frame) - half).abs().max() <= 1


def test_stacks_as_they_are_and_varied_are_two_families():
    specs = ["slub/binary", "slab/binary", "slub/fibonacci", "slub:merge=on/binary", "slob/binary:linux=on"]
    assert [families.family_of(spec) for spec in specs] == [families.STRATEGIES] * 2 + [families.VARIED] * 3
