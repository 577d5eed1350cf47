#!/usr/bin/python3
"""The figures of a run: reads the CSV files in RUN_DIR, writes RUN_DIR/figures/NAME.{png,pdf}.

For each trace and level: waste over time, where the waste is, free blocks per order, unusable index, memory map; for the
run: the overview (smallest arena over peak requested). The recorded kernel is in every one, black and first.
Same CSV files, same bytes out: no clock and no machine in the files. A cell that is invalid or empty is named in its
figure, never dropped in silence.
Exit status: 0; 2 when the run's files are not what results/README.md says; 3 when a Python module is missing.
"""

import concurrent.futures
import os
import re
import sys

import families
import program
import schema

if __name__ == "__main__":
    program.fix_hash_seed()

MODULES = {"numpy": "python3-numpy", "pandas": "python3-pandas", "matplotlib": "python3-matplotlib"}
try:
    import matplotlib

    matplotlib.use("Agg")
    import numpy
    import pandas
    from matplotlib import lines as mpl_lines
    from matplotlib import patches as mpl_patches
    from matplotlib import pyplot
except ImportError as missing:
    PACKAGE = MODULES.get((missing.name or "").split(".")[0], "python3-matplotlib")
    print(f"figures: Python module {missing.name} is missing: install the Debian package {PACKAGE} and use /usr/bin/python3; "
          f"the summary table (analysis/summary.py) and analysis/waste.gp work without it", file=sys.stderr)
    sys.exit(3)

MIB = 1 << 20
WIDTH_INCHES = 7.2  # two columns of a paper
FONT_POINTS = 8.5
SMALL_POINTS = 8
LOG_FROM = 15  # the scale is logarithmic where curves are more than this far apart
MAP_PANELS = 6
STACK_PANELS = 12
STACK_COLUMNS = 3
DEMAND_COLOURS = ("#D9D9D9", "#8C8C8C")
MARGIN_INCHES = 0.08
SPEC_LETTERS = 46  # a longer name is broken
LETTER_INCHES = 0.066  # of the small font, on average
NOTE_LETTERS_PER_INCH = 15.5
LEGEND_LINE_INCHES = 0.165
UNUSABLE_ORDER = 4  # 64 KiB with 4 KiB pages: the order the summary follows too

STYLE = {
    "figure.dpi": 160,  # texts are measured as they are drawn
    "font.family": "DejaVu Sans",
    "font.size": FONT_POINTS,
    "axes.titlesize": FONT_POINTS,
    "axes.titley": 1.0,  # a fixed place: matplotlib need not look for one at every draw
    "axes.labelsize": FONT_POINTS,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "legend.fontsize": SMALL_POINTS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.borderaxespad": 0.0,
    "pdf.fonttype": 42,  # TrueType, embedded: what publishers ask for
    "ps.fonttype": 42,
    "svg.hashsalt": "kmemlab",
}


# --- reading -----------------------------------------------------------------------------------------------------

MAY_BE_EMPTY = ("slabs.csv",)  # a run without object stacks has no rows of it
PANDAS_TYPES = {schema._text: "category", schema._count: "int64", schema._number: "float64", schema._cells: "string"}


def read_frame(run_directory, name):
    """A CSV file as a data frame of the contract's columns. SchemaError says what is wrong and where."""
    columns = schema.FILES[name]
    path = schema.file_of(run_directory, name)
    schema.check_shape(path, columns)
    try:
        frame = pandas.read_csv(path, usecols=list(columns), keep_default_na=False, index_col=False,
                                dtype={column: PANDAS_TYPES[kind] for column, kind in columns.items()})
        for column in (column for column, kind in columns.items() if kind is schema._cells):
            frame[column].map(schema._cells)
    except (ValueError, OverflowError, UnicodeDecodeError):
        schema.read_rows(path, columns)  # finds the line and the column
        raise schema.SchemaError(f"{path}: not the CSV file that results/README.md describes") from None
    numbers = frame.select_dtypes("number")
    if frame.empty and name in MAY_BE_EMPTY:
        return frame
    if frame.empty or not numpy.isfinite(numbers.to_numpy()).all() or (frame.select_dtypes("int64") < 0).any(axis=None):
        schema.read_rows(path, columns)
    return frame


class Run:
    """The run's tables, read once; cells are looked up by trace, level and allocator."""

    def __init__(self, directory, names):
        self.directory = directory
        self.summary = schema.read_summary(directory)
        self.places = schema.places(self.summary)
        self.demands = schema.demands(self.summary)
        self._cells = {name: self._split(name) for name in names}

    def _split(self, name):
        frame = read_frame(self.directory, name)
        groups = frame.groupby(list(schema.KEY), observed=True, sort=False)
        return {key: group for key, group in groups}

    def rows(self, trace, level):
        """Summary rows of a place: recorded first, then in the order of the run."""
        rows = [row for row in self.summary if (row["trace"], row["level"]) == (trace, level)]
        return [row for row in rows if row["allocator"] == schema.RECORDED] + \
               [row for row in rows if row["allocator"] != schema.RECORDED]

    def cell(self, name, row):
        """The frame of a cell in file name, or None when the file has no row of it."""
        return self._cells[name].get(tuple(row[column] for column in schema.KEY))

    def moments(self, name, row):
        """
        As cell, with one sample a moment, the last. A trace may begin with many events of one instant (the objects that
        were live when the capture began): drawn over time they would be a wall at the left edge.
        """
        frame = self.cell(name, row)
        if frame is None:
            return None
        last = frame.groupby("time_ns", sort=False)["sample"].transform("max")
        return frame[frame["sample"] == last]

    def start_ns(self, trace, level):
        """Time zero of the figures of a place: its first sample."""
        times = [frame["time_ns"].iloc[0] for (t, _, l), frame in self._cells["samples.csv"].items() if (t, l) == (trace, level)]
        return min(times, default=0)


# --- what all figures share ----------------------------------------------------------------------------------------

def is_ok(row):
    return row["status"] == "ok"


def label_of(row, width=26):
    """Legend label: the spec, a dagger where requests were refused."""
    dagger = " \u2020" if is_ok(row) and schema.failures(row) and row["allocator"] != schema.RECORDED else ""
    if row["allocator"] == schema.RECORDED:
        return "recorded (real kernel)"
    return families.short(row["allocator"], width) + dagger


def notes_of(rows, left_out_nop=True, others=()):
    """The sentences under a figure: what is not drawn, and why."""
    notes = list(others)
    if left_out_nop and any(row["allocator"] == schema.NOP for row in rows):
        notes.append(f"{schema.NOP} keeps nothing (it is the cost of the harness) and is not drawn.")
    refused = [row for row in rows if is_ok(row) and schema.failures(row) and row["allocator"] not in (schema.NOP, schema.RECORDED)]
    if refused:
        notes.append("\u2020 refused requests in its arena, so it holds less than it should.")
    notes += [f"Invalid: {row['allocator']}: {row['reason'] or 'no reason given'}." for row in rows if not is_ok(row)]
    if not any(row["allocator"] == schema.RECORDED and is_ok(row) for row in rows):
        notes.append("No valid cell of the recorded kernel in this run.")
    return notes


def wrap(text, columns):
    lines = [""]
    for word in re.split(r"\s+(?!%)", text.strip()):  # a number keeps its percent sign
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)


def finish(figure, title, notes, above_inches=0.06, below_inches=0.0):
    """Title above and notes below, at fixed distances in inches whatever the figure's height (beyond legends there)."""
    width, height = figure.get_size_inches()
    figure.text(0.01, 1 + above_inches / height, title, ha="left", va="bottom", fontsize=FONT_POINTS + 1.5, fontweight="bold")
    if notes:
        text = wrap(" ".join(notes), int(width * NOTE_LETTERS_PER_INCH))
        figure.text(0.01, -(0.06 + below_inches) / height, text, ha="left", va="top", fontsize=SMALL_POINTS, color=families.NOTE_COLOUR)
    return figure


def page_box(figure):
    """
    What to save, in inches: the figure and every text that may stand outside it. (bbox_inches="tight" asks every artist,
    at twice the time.)
    """
    renderer = figure.canvas.get_renderer()
    outside = figure.texts + figure.legends + [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    outside += [label for axes in getattr(figure, "spec_axes", ()) for label in axes.get_yticklabels()]
    boxes = [figure.bbox] + [artist.get_window_extent(renderer) for artist in outside]
    box = matplotlib.transforms.Bbox.union(boxes)
    return matplotlib.transforms.TransformedBbox(box, figure.dpi_scale_trans.inverted()).padded(MARGIN_INCHES)


def spec_figure(rows, row_inches, above_inches, below_inches, right_inches=0.12):
    """A figure with one line a row, allocators' names down the left side; the axes beside them."""
    labels = [families.short(label_of(row, 60), SPEC_LETTERS) for row in rows]
    left = 0.15 + LETTER_INCHES * max(len(part) for label in labels for part in label.split("\n"))
    row_inches = max(row_inches, 1.4 / len(rows), 0.14 * max(1 + label.count("\n") for label in labels))
    height = above_inches + below_inches + row_inches * len(rows)
    figure = pyplot.figure(figsize=(WIDTH_INCHES, height))
    axes = figure.add_axes([left / WIDTH_INCHES, below_inches / height, 1 - (left + right_inches) / WIDTH_INCHES,
                            row_inches * len(rows) / height])
    axes.set_yticks(range(len(rows)), labels=labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for text, row in zip(axes.get_yticklabels(), rows):
        text.set_fontweight("bold" if row["allocator"] == schema.RECORDED else "normal")
    figure.spec_axes = [axes]
    return figure, axes


def place_title(what, trace, level):
    return f"{what}: trace {trace}, level {level}"


def stacked_axes(heights, columns, legend_inches, left_inches=0.62):
    """One row of axes a height, room for a legend at the right. Returns the figure and rows of axes."""
    gap, bottom, top = 0.36, 0.46, 0.22
    total = bottom + top + sum(heights) + gap * (len(heights) - 1)
    figure = pyplot.figure(figsize=(WIDTH_INCHES, total))
    between = 0.62
    each = (WIDTH_INCHES - left_inches - legend_inches - between * (columns - 1)) / columns
    rows, y = [], total - top
    for height in heights:
        y -= height
        rows.append([figure.add_axes([(left_inches + i * (each + between)) / WIDTH_INCHES, y / total, each / WIDTH_INCHES, height / total])
                     for i in range(columns)])
        y -= gap
    for i in range(columns):
        for row in rows[1:]:
            row[i].sharex(rows[0][i])
            row[i].sharey(rows[0][i])
        for row in rows[:-1]:
            row[i].tick_params(labelbottom=False)
    return figure, rows


def family_panels(rows, draw, columns=1):
    """
    One row of axes a family: the family's curves in colour, the recorded kernel in black, all others in grey behind.
    draw(axes of the row, summary row, style) draws one allocator.
    """
    drawn = [row for row in rows if is_ok(row) and row["allocator"] not in (schema.NOP, schema.RECORDED)]
    by_name = {row["allocator"]: row for row in drawn}
    recorded = [row for row in rows if is_ok(row) and row["allocator"] == schema.RECORDED]
    panels = families.group(list(by_name)) or [("the recorded kernel alone", [])]
    labels = [[label_of(by_name[name], 22) for name in names] for _, names in panels]
    heights = [max(1.0, 0.145 * (1 + sum(1 + label.count("\n") for label in of_panel)) + 0.25) for of_panel in labels]
    figure, grid = stacked_axes(heights, columns, legend_inches=1.95)
    for axes, (title, names), of_panel in zip(grid, panels, labels):
        for row in drawn:
            if row["allocator"] not in names:
                draw(axes, row, {**families.CONTEXT_STYLE, "zorder": 1})
        handles = []
        for index, name in enumerate(names):
            draw(axes, by_name[name], {**families.line_style(index), "zorder": 3})
            handles.append(mpl_lines.Line2D([], [], label=of_panel[index], **families.line_style(index)))
        for row in recorded:
            draw(axes, row, {**families.RECORDED_STYLE, "zorder": 2.5})
            handles.insert(0, mpl_lines.Line2D([], [], label="recorded (kernel)", **families.RECORDED_STYLE))
        axes[0].set_title(title, loc="left", fontsize=FONT_POINTS, pad=3)
        axes[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.03, 1.06))
    return figure, grid


PLAIN_NUMBERS = matplotlib.ticker.StrMethodFormatter("{x:g}")  # 0.1, 1, 10 rather than powers


def wants_log(values):
    positive = [value for value in values if value > 0]
    return len(positive) > 1 and max(positive) > LOG_FROM * min(positive)


# --- the figures ---------------------------------------------------------------------------------------------------

def waste_over_time(run, trace, level):
    """Held minus requested, MiB, over the trace's time."""
    rows, start = run.rows(trace, level), run.start_ns(trace, level)
    curves = {}
    for row in rows:
        frame = run.moments("samples.csv", row)
        if is_ok(row) and frame is not None and row["allocator"] != schema.NOP:
            curves[row["allocator"]] = ((frame["time_ns"].to_numpy() - start) / 1e9,
                                        (frame["held_bytes"] - frame["requested_bytes"]).to_numpy() / MIB)

    def draw(axes, row, style):
        if row["allocator"] in curves:
            axes[0].plot(*curves[row["allocator"]], **style)

    figure, grid = family_panels(rows, draw)
    medians = [float(numpy.median(waste)) for _, waste in curves.values()]
    logarithmic = wants_log(medians)
    if logarithmic:
        grid[0][0].set_yscale("log")
        grid[0][0].yaxis.set_major_formatter(PLAIN_NUMBERS)
        spread = max(medians) / min(value for value in medians if value > 0)
        grid[0][0].yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 3) if spread < 300 else (1,)))
        grid[0][0].yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        grid[0][0].set_ylim(bottom=min(value for value in medians if value > 0) / 3)
    else:
        grid[0][0].set_ylim(bottom=0)
    grid[0][0].margins(x=0.01)
    grid[-1][0].set_xlabel("time since the first sample (s)")
    figure.text(0.005, 0.5, "waste = held \u2212 requested (MiB" + (", log scale)" if logarithmic else ")"), rotation=90, ha="left",
                va="center")
    empty = [row["allocator"] for row in rows if is_ok(row) and row["allocator"] not in (*curves, schema.NOP)]
    others = ["Grey: the allocators of the other panels."] + [f"No samples: {', '.join(empty)}." for _ in empty[:1]]
    return finish(figure, place_title("Waste over time", trace, level), notes_of(rows, others=others))


def waste_terms(row):
    """The seven terms at the peak of held bytes, in percent of held."""
    held = max(1, row["peak_held_bytes"])
    return {stem: 100 * row[column] / held for (stem, _), column in zip(schema.WASTE, schema.WASTE_COLUMNS)}


def where_waste(run, trace, level):
    """Stacked bars: where the waste is at the peak of held bytes, percent of held."""
    rows = [row for row in run.rows(trace, level)]
    valid = [row for row in rows if is_ok(row) and row["allocator"] != schema.NOP]
    terms = {row["allocator"]: waste_terms(row) for row in valid}
    order = sorted(valid, key=lambda row: (sum(terms[row["allocator"]].values()), row["allocator"])) + \
        [row for row in rows if not is_ok(row)]
    figure, axes = spec_figure(order, 0.205, 0.05, 0.45)
    longest = max((sum(term.values()) for term in terms.values()), default=1)
    for y, row in enumerate(order):
        if not is_ok(row):
            axes.text(longest * 0.01, y, "invalid", va="center", fontsize=SMALL_POINTS, style="italic", color="#404040")
            continue
        left = 0.0
        for stem, _ in schema.WASTE:
            share = terms[row["allocator"]][stem]
            axes.barh(y, share, left=left, height=0.76, color=families.WASTE_COLOURS[stem], edgecolor="white", linewidth=0.4)
            left += share
        marked = row["allocator"] == schema.RECORDED
        if marked:
            axes.barh(y, left, height=0.86, facecolor="none", edgecolor="black", linewidth=1.3)
        axes.text(left + longest * 0.012, y, f"{left:.1f} %", va="center", fontsize=SMALL_POINTS, fontweight="bold" if marked else None)
    axes.set_xlim(0, longest * 1.12)
    axes.set_xlabel("waste at the peak of held memory (% of held bytes)")
    axes.grid(axis="y", visible=False)
    used = [(stem, words) for stem, words in schema.WASTE if any(term[stem] > 0 for term in terms.values())]
    figure.legend(handles=[mpl_patches.Patch(color=families.WASTE_COLOURS[stem], label=words) for stem, words in used], ncol=min(4, len(used) or 1),
                  loc="lower left", bbox_to_anchor=(0.01, 1.0), handlelength=1.2, columnspacing=1.4)
    absent = [words for stem, words in schema.WASTE if (stem, words) not in used]
    others = [f"Zero for all: {', '.join(absent)}."] if absent and valid else []
    above = 0.08 + LEGEND_LINE_INCHES * -(-len(used) // 4)
    return finish(figure, place_title("Where the waste is", trace, level), notes_of(rows, others=others), above)


def stack_rows(rows):
    """The recorded kernel and the object stacks that have figures, by family."""
    stacks = {row["allocator"]: row for row in rows if is_ok(row) and schema.is_stack(row["allocator"])}
    ordered = [stacks[name] for _, names in families.group(list(stacks)) for name in names]
    return [row for row in rows if is_ok(row) and row["allocator"] == schema.RECORDED] + ordered


def has_stacks(run, place):
    return any(schema.is_stack(row["allocator"]) and is_ok(row) for row in run.rows(*place))


def object_bytes(frame):
    """Of the requested bytes those of objects in slabs: what is left of the slabs' pages without their waste. Exact where the page layer parks no pages."""
    in_slabs = ("class_rounding", "slab_tail", "management", "free_slots", "cpu_cached")
    return (frame["slab_bytes"] - sum(frame[f"waste_{stem}_bytes"] for stem in in_slabs)).clip(lower=0)


def draw_demand(axes, frame, start):
    """What was asked for: page demand below, objects on it."""
    times = (frame["time_ns"].to_numpy() - start) / 1e9
    objects = object_bytes(frame).to_numpy() / MIB
    pages = frame["requested_bytes"].to_numpy() / MIB - objects
    axes.stackplot(times, [pages, objects], colors=DEMAND_COLOURS, linewidth=0)
    axes.set_title("requested (MiB)", loc="left", fontsize=FONT_POINTS, pad=3)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.legend(handles=[mpl_patches.Patch(color=colour, label=label) for colour, label in
                         zip(reversed(DEMAND_COLOURS), ("objects in slabs", "pages: user, page cache, page tables, large objects"))],
                ncol=2, loc="lower right", bbox_to_anchor=(1.0, 1.02), handlelength=1.2, columnspacing=1.4)


def draw_waste(axes, row, frame, start):
    """Held - requested over time as a stack of the seven terms."""
    times = (frame["time_ns"].to_numpy() - start) / 1e9
    parts = [frame[column].to_numpy() / MIB for column in schema.WASTE_COLUMNS]
    axes.stackplot(times, parts, colors=[families.WASTE_COLOURS[stem] for stem, _ in schema.WASTE], linewidth=0)
    ratio = row["peak_held_bytes"] / max(1, row["peak_requested_bytes"])
    axes.set_title(f"{families.short(label_of(row, 60), 30)} ({ratio:.3f})", loc="left", fontsize=SMALL_POINTS, pad=2, linespacing=0.95,
                   fontweight="bold" if row["allocator"] == schema.RECORDED else None)


def draw_page_layer(axes, rows, run, start):
    """Unusable index and largest free block of the page allocator below each stack, over time. Legend entries."""
    handles, blocks, index = [], [], 0
    for row in rows:
        recorded = row["allocator"] == schema.RECORDED
        style = families.RECORDED_STYLE if recorded else families.line_style(index)
        index += not recorded
        orders, samples = run.moments("orders.csv", row), run.moments("samples.csv", row)
        if orders is not None:
            of_order = orders[orders["order"] == UNUSABLE_ORDER]
            axes[0].plot((of_order["time_ns"] - start) / 1e9, of_order["unusable_index"], **style, zorder=3 - recorded)
        if samples is not None and not recorded:  # the recorded kernel's arena is the whole machine
            largest = samples["largest_free_bytes"].to_numpy() / MIB
            axes[1].plot((samples["time_ns"] - start) / 1e9, largest, **style)
            blocks += list(largest[largest > 0])
        handles.append(mpl_lines.Line2D([], [], label=label_of(row, 34), **style))
    axes[0].set_title(f"unusable index of order {UNUSABLE_ORDER}", loc="left", fontsize=FONT_POINTS, pad=3)
    axes[0].set_ylim(bottom=0)
    axes[1].set_title("largest free block (MiB, log scale)" if wants_log(blocks) else "largest free block (MiB)", loc="left",
                      fontsize=FONT_POINTS, pad=3)
    if wants_log(blocks):
        axes[1].set_yscale("log", base=2)
        axes[1].yaxis.set_major_formatter(PLAIN_NUMBERS)
    else:
        axes[1].set_ylim(bottom=0)
    return handles


def composed(run, trace, level):
    """From above: what was asked for; waste over time by what it is, a panel a stack; how broken the page allocator under it is."""
    rows, start = run.rows(trace, level), run.start_ns(trace, level)
    stacks = stack_rows(rows)
    shown = [(row, run.moments("samples.csv", row)) for row in stacks[:STACK_PANELS]]
    shown = [(row, frame) for row, frame in shown if frame is not None]
    lines = -(-len(shown) // STACK_COLUMNS)
    strip, each, gap, lower, bottom = 0.62, 0.98, 0.36, 1.2, 0.46
    height = 0.22 + strip + 0.1 + gap + lines * (each + gap) + 0.12 + lower + bottom
    left, between = 0.62, 0.16
    figure = pyplot.figure(figsize=(WIDTH_INCHES, height))

    def axes_at(x, y, width, tall, **shared):
        return figure.add_axes([x / WIDTH_INCHES, y / height, width / WIDTH_INCHES, tall / height], **shared)

    y = height - 0.22 - strip
    demand = axes_at(left, y, WIDTH_INCHES - left - 0.1, strip)
    told = [frame for row, frame in shown if row["allocator"] != schema.RECORDED]
    if told:
        draw_demand(demand, told[0], start)
    width, first = (WIDTH_INCHES - left - 0.1 - between * (STACK_COLUMNS - 1)) / STACK_COLUMNS, None
    for number, (row, frame) in enumerate(shown):
        column, line = number % STACK_COLUMNS, number // STACK_COLUMNS
        axes = axes_at(left + column * (width + between), y - 0.1 - (line + 1) * (each + gap), width, each, sharex=first, sharey=first)
        first = first or axes
        draw_waste(axes, row, frame, start)
        axes.tick_params(labelleft=column == 0, labelbottom=number + STACK_COLUMNS >= len(shown))
    if first:
        first.set_ylim(0, 1.03 * max((frame["held_bytes"] - frame["requested_bytes"]).max() for _, frame in shown) / MIB or 1)
        first.margins(x=0)
    figure.text(0.005, (y - lines * (each + gap) / 2 - gap / 2) / height, "waste = held \u2212 requested (MiB)", rotation=90, ha="left", va="center")
    wide = (WIDTH_INCHES - left - 0.1 - 0.62) / 2
    below = [axes_at(left + i * (wide + 0.62), bottom, wide, lower) for i in (0, 1)]
    handles = draw_page_layer(below, stacks, run, start)
    for axes in below:
        axes.margins(x=0.01)
        axes.set_xlabel("time since the first sample (s)")
    used = [(stem, words) for stem, words in schema.WASTE if any(frame[f"waste_{stem}_bytes"].any() for _, frame in shown)]
    figure.legend(handles=[mpl_patches.Patch(color=families.WASTE_COLOURS[stem], label=words) for stem, words in used], ncol=4, loc="lower left",
                  bbox_to_anchor=(0.01, 1.0), handlelength=1.2, columnspacing=1.4)
    figure.legend(handles=handles, ncol=3, loc="upper left", bbox_to_anchor=(0.01, 0.0), columnspacing=1.4)
    legend_lines = columns_of([handle.get_label() for handle in handles], 3)
    below_inches = 0.06 + LEGEND_LINE_INCHES * sum(max(label.count("\n") + 1 for label in line) for line in legend_lines)
    others = ["In brackets: peak held / peak requested. Below: the page allocator under each stack; recorded: the kernel's own buddyinfo, the "
              "whole machine."]
    others += [f"Not shown above: {', '.join(row['allocator'] for row in stacks[STACK_PANELS:])}."] if stacks[STACK_PANELS:] else []
    of_stacks = [row for row in rows if row["allocator"] in (schema.RECORDED, schema.NOP) or schema.is_stack(row["allocator"]) or not is_ok(row)]
    return finish(figure, place_title("Slabs and pages together", trace, level), notes_of(of_stacks, others=others),
                  0.08 + LEGEND_LINE_INCHES * -(-len(used) // 4), below_inches)


def columns_of(labels, count):
    """What a legend of so many columns puts into each of its lines: it fills one column after the other."""
    lines = -(-len(labels) // count)
    return [labels[line::lines] for line in range(lines)]


def last_orders(run, row):
    """Rows of orders.csv of the cell's last sample, or None."""
    frame = run.cell("orders.csv", row) if is_ok(row) else None
    return None if frame is None else frame[frame["sample"] == frame["sample"].iloc[-1]]


def compact(count):
    for limit, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= limit:
            return f"{count / limit:.0f}{suffix}" if count >= 10 * limit else f"{count / limit:.1f}{suffix}"
    return str(count)


def free_per_order(run, trace, level):
    """Free blocks of each order at the end, as a table in colour: the buddyinfo of every allocator."""
    rows = run.rows(trace, level)
    shown = [row for row in rows if row["allocator"] != schema.NOP]
    last = {row["allocator"]: last_orders(run, row) for row in shown}
    top = max([frame["order"].max() for frame in last.values() if frame is not None], default=10)
    counts = numpy.full((len(shown), top + 1), numpy.nan)
    for y, row in enumerate(shown):
        frame = last[row["allocator"]]
        if frame is not None:
            counts[y, frame["order"].to_numpy()] = frame["free_blocks"].to_numpy()
    figure, axes = spec_figure(shown, 0.215, 0.05, 0.45, right_inches=0.72)
    most = max(10.0, numpy.nanmax(counts) if numpy.isfinite(counts).any() else 10.0)
    norm = matplotlib.colors.SymLogNorm(linthresh=1, vmin=0, vmax=most, base=10)
    picture = axes.pcolormesh(numpy.arange(-0.5, top + 1), numpy.arange(-0.5, len(shown)), numpy.ma.masked_invalid(counts), norm=norm,
                              cmap="Blues", edgecolors="white", linewidth=0.8)
    for y, row in enumerate(shown):
        if numpy.isnan(counts[y]).all():
            axes.text(top / 2, y, "invalid" if not is_ok(row) else "no free-list rows", ha="center", va="center", style="italic", color="#404040")
            continue
        for order in range(top + 1):
            if numpy.isfinite(counts[y, order]):
                dark = norm(counts[y, order]) > 0.6
                axes.text(order, y, compact(int(counts[y, order])), ha="center", va="center", fontsize=SMALL_POINTS, color="white" if dark else "black")
    axes.set_xticks(range(top + 1))
    axes.grid(visible=False)
    axes.set_xlabel("order (a block of order n is 2$^n$ pages or more)")
    bar_axes = figure.add_axes([axes.get_position().x1 + 0.015, axes.get_position().y0, 0.016, axes.get_position().height])
    bar = figure.colorbar(picture, cax=bar_axes)
    bar.set_label("free blocks (log scale)")
    bar.set_ticks([0] + [10**power for power in range(10) if 10**power <= most], labels=["0"] + [
        compact(10**power) for power in range(10) if 10**power <= most])
    bar_axes.minorticks_off()
    bar_axes.tick_params(labelsize=SMALL_POINTS)
    others = ["At the last sample. recorded: the kernel's own last buddyinfo, all zones of the whole machine; the others: free blocks of their arena, "
              "those below a page not counted."]
    return finish(figure, place_title("Free blocks per order", trace, level), notes_of(rows, others=others))


def unusable(run, trace, level):
    """Unusable index: per order at the end, and of order 4 over time."""
    rows, start = run.rows(trace, level), run.start_ns(trace, level)
    cells = {row["allocator"]: run.moments("orders.csv", row) for row in rows if is_ok(row)}

    def draw(axes, row, style):
        frame = cells.get(row["allocator"])
        if frame is None:
            return
        last = frame[frame["sample"] == frame["sample"].iloc[-1]]
        axes[0].plot(last["order"], last["unusable_index"], marker="o", markersize=2.2 if style["linewidth"] > 1 else 0, **style)
        middle = frame[frame["order"] == UNUSABLE_ORDER]
        axes[1].plot((middle["time_ns"] - start) / 1e9, middle["unusable_index"], **style)

    figure, grid = family_panels(rows, draw, columns=2)
    for axes in grid[0]:
        top = max((value for line in axes.get_lines() for value in line.get_ydata()), default=1)
        axes.set_ylim(-0.02 * max(top, 0.02), min(1.03, 1.1 * max(top, 0.02)))
    grid[0][1].set_title(f"order {UNUSABLE_ORDER} over time", loc="left", fontsize=FONT_POINTS, pad=3)
    grid[-1][0].set_xlabel("order, at the last sample")
    grid[-1][0].set_xticks(range(0, 11, 2))
    grid[-1][1].set_xlabel("time since the first sample (s)")
    grid[-1][1].margins(x=0.02)
    figure.text(0.005, 0.5, "unusable index (0: all free memory can serve, 1: none can)", rotation=90, ha="left", va="center")
    empty = [row["allocator"] for row in rows if is_ok(row) and cells[row["allocator"]] is None and row["allocator"] != schema.NOP]
    others = ["Grey: the allocators of the other panels. recorded: the kernel's own buddyinfo snapshots, the whole machine."]
    others += [f"No free-list rows: {', '.join(empty)}."] if empty else []
    return finish(figure, place_title("Unusable index", trace, level), notes_of(rows, others=others))


def choose_for_map(rows, wanted):
    """The recorded kernel, then what was asked for, else the first of each family, families in their order."""
    names = [row["allocator"] for row in rows if row["allocator"] not in (schema.RECORDED, schema.NOP) and is_ok(row)]
    chosen = [name for name in wanted if name in names] or [members[0] for _, members in families.group(names)]
    if not wanted:
        chosen += [name for name in names if name not in chosen]
    return [row for name in [schema.RECORDED, *chosen[:MAP_PANELS - 1]] for row in rows if row["allocator"] == name]


def map_matrix(frame):
    """Occupancy in percent, one column a sample, one row a cell of the arena."""
    values = [numpy.frombuffer(bytes.fromhex(text), dtype=numpy.uint8) for text in frame["occupancy"]]
    matrix = numpy.zeros((max(len(column) for column in values), len(values)))
    for i, column in enumerate(values):
        matrix[:len(column), i] = column / 2.55
    return matrix


def draw_map(axes, row, frame, start):
    """One panel: time to the right, address upwards."""
    matrix = map_matrix(frame)
    cell = int(frame["cell_bytes"].iloc[0])
    first, end = 0, len(matrix)
    used = numpy.flatnonzero(matrix.any(axis=1))
    part = ""
    if row["allocator"] == schema.RECORDED and len(used):
        first, end = used[0], used[-1] + 1
        part = f"; occupied part of {size_text(cell * len(matrix))}" if end - first < len(matrix) else ""
    times = (frame["time_ns"].to_numpy() - start) / 1e9
    step = float(numpy.median(numpy.diff(times))) if len(times) > 1 else 1.0
    edges = numpy.append(times, times[-1] + step)  # a sample stands until the next
    picture = axes.pcolormesh(edges, numpy.arange(first, end + 1) * cell / MIB, matrix[first:end], cmap=MAP_COLOURS, norm=MAP_NORM,
                              rasterized=True)
    axes.set_title(f"{families.short(label_of(row, 60), 40)}\n(cells of {size_text(cell)}{part})", loc="left", fontsize=SMALL_POINTS, pad=3)
    axes.grid(visible=False)
    return picture


MAP_COLOURS = "BuPu"  # white is free
# The real machine is large and the trace takes a few percent of each cell: a square root shows it.
MAP_NORM = matplotlib.colors.PowerNorm(0.5, vmin=0, vmax=100)


def size_text(size):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def memory_map(run, trace, level, wanted=()):
    """Heat map of the arena over time, one panel each of a few allocators."""
    rows, start = run.rows(trace, level), run.start_ns(trace, level)
    chosen = choose_for_map(rows, wanted)
    columns = 2 if len(chosen) > 1 else 1
    lines = -(-max(1, len(chosen)) // columns)
    figure, grid = pyplot.subplots(lines, columns, figsize=(WIDTH_INCHES, 1.95 * lines + 0.3), squeeze=False, sharex=True,
                                   gridspec_kw={"hspace": 0.42, "wspace": 0.22, "left": 0.085, "right": 0.89, "bottom": 0.45 / (1.95 * lines + 0.3),
                                                "top": 1 - 0.35 / (1.95 * lines + 0.3)})
    picture = None
    for axes, row in zip(grid.flat, chosen):
        frame = run.moments("map.csv", row) if is_ok(row) else None
        if frame is None:
            axes.text(0.5, 0.5, "invalid" if not is_ok(row) else "no rows in map.csv", transform=axes.transAxes, ha="center", style="italic")
            axes.set_title(label_of(row, 44), loc="left", fontsize=SMALL_POINTS, pad=3)
            continue
        picture = draw_map(axes, row, frame, start)
    for axes in list(grid.flat)[len(chosen):]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("time since the first sample (s)")
    if len(chosen) % columns:
        grid[-2][-1].tick_params(labelbottom=True)
        grid[-2][-1].set_xlabel("time since the first sample (s)")
    figure.text(0.005, 0.5, "address (MiB)", rotation=90, ha="left", va="center")
    if picture is not None:
        bar = figure.colorbar(picture, cax=figure.add_axes([0.915, 0.2, 0.018, 0.6]))
        bar.set_ticks([0, 1, 5, 20, 50, 100])
        bar.ax.set_yticklabels(["0", "1", "5", "20", "50", "100"])
        bar.set_label("taken share of the cell (%, square-root scale)")
    left_out = [row["allocator"] for row in rows if row not in chosen and is_ok(row) and row["allocator"] != schema.NOP]
    others = [f"Not shown (--map picks others): {', '.join(left_out)}."] if left_out else []
    others.insert(0, "Each arena has its own address scale. recorded lives in the whole machine's memory: only the range that was occupied is drawn, and "
                  "what has no known address stands at its top.")
    return finish(figure, place_title("Memory map", trace, level), notes_of(rows, others=others))


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p")


def headline(row, demand):
    """
    (ratio, hollow): smallest arena over peak requested. Hollow: peak held over peak requested, a lower bound, for the
    recorded kernel and where the smallest arena was not asked for. None: not known.
    """
    if not is_ok(row) or not demand:
        return None, False
    if row["allocator"] == schema.RECORDED or (row["min_arena_bytes"] is None and not schema.failures(row)):
        return row["peak_held_bytes"] / demand, True
    if not row["min_arena_bytes"]:
        return None, False
    return row["min_arena_bytes"] / demand, False


def overview(run):
    """The headline: smallest arena over peak requested, a dot a trace, one panel a level."""
    levels = [level for level in schema.LEVELS if any(place[1] == level for place in run.places)]
    levels += [level for level in dict.fromkeys(place[1] for place in run.places) if level not in levels]
    traces = list(dict.fromkeys(place[0] for place in run.places))
    names = [name for name in schema.allocators(run.summary) if name != schema.NOP]
    points = {name: [] for name in names}
    for row in run.summary:
        if row["allocator"] in points:
            points[row["allocator"]].append((row, *headline(row, run.demands.get((row["trace"], row["level"])))))

    def rank(name):
        """By the median at the first level that it ran at; levels one after the other, as they do not compare."""
        first = min(levels.index(row["level"]) for row, _, _ in points[name])
        values = [ratio for row, ratio, _ in points[name] if ratio and row["level"] == levels[first]]
        return name != schema.RECORDED, first, not values, float(numpy.median(values)) if values else 0, name

    names.sort(key=rank)
    first_rows = [next(row for row in run.summary if row["allocator"] == name) for name in names]
    figure, axes = spec_figure(first_rows, max(0.21, 0.045 * len(traces) + 0.08), 0.2, 0.45)
    whole = axes.get_position()
    values = [ratio for of_name in points.values() for _, ratio, _ in of_name if ratio]
    logarithmic = wants_log(values)
    each = whole.width / len(levels)
    for column, level in enumerate(levels):
        if column:
            axes = figure.add_axes([whole.x0 + column * each, whole.y0, each, whole.height], sharey=axes)
            axes.tick_params(axis="y", length=0, labelleft=False)
        axes.set_position([whole.x0 + column * each, whole.y0, each * (0.95 if len(levels) > 1 else 1), whole.height])
        draw_overview(axes, level, names, points, traces, values, logarithmic)
        axes.set_title(f"level {level}", loc="left", fontsize=FONT_POINTS, pad=3)
    height = figure.get_figheight()
    figure.text(whole.x0 + whole.width / 2, 0.04 / height, "smallest arena / peak requested" + (" (log scale)" if logarithmic else ""),
                ha="center", va="bottom")
    handles = [mpl_lines.Line2D([], [], linestyle="", marker=MARKERS[i % len(MARKERS)], color=families.LINE_COLOURS[i % len(families.LINE_COLOURS)],
                                markersize=5, label=trace) for i, trace in enumerate(traces)]
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.01, 1 + 0.02 / height), ncol=min(6, len(handles)), handlelength=1.0,
                  columnspacing=1.4)
    title = "What fragmentation costs: the smallest arena that serves the whole trace"
    return finish(figure, title, overview_notes(run), 0.10 + LEGEND_LINE_INCHES * -(-len(handles) // 6))


def draw_overview(axes, level, names, points, traces, values, logarithmic):
    low, high = (min([1.0, *values]), max([1.1, *values]))
    edge = high * (1.16 if logarithmic else 1.0) + (0 if logarithmic else (high - low) * 0.06)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    for y, name in enumerate(names):
        found = [(row, ratio, hollow) for row, ratio, hollow in points[name] if row["level"] == level]
        shift = {trace: (i - (len(traces) - 1) / 2) * 0.8 / len(traces) for i, trace in enumerate(traces)}
        for row, ratio, hollow in found:
            index = traces.index(row["trace"])
            colour = families.LINE_COLOURS[index % len(families.LINE_COLOURS)]
            if ratio is not None:
                axes.plot(ratio, y + shift[row["trace"]], marker=MARKERS[index % len(MARKERS)], markersize=3.8, linestyle="", color=colour,
                          markerfacecolor="white" if hollow else colour, clip_on=False, zorder=3)
        lacking = [row for row, ratio, _ in found if ratio is None]
        if lacking:
            none_found = [row for row in lacking if is_ok(row) and row["min_arena_bytes"] == 0]
            broken = [row for row in lacking if not is_ok(row)]
            words = [f"{what} ({', '.join(row['trace'] for row in of)})" if len(of) < len(traces) else what
                     for what, of in (("no arena enough", none_found), ("invalid", broken)) if of]
            axes.text(edge, y, "; ".join(words or ["not measured"]), ha="right", va="center", fontsize=SMALL_POINTS, style="italic",
                      color="#404040", zorder=4)
    axes.axvline(1, color="#808080", linewidth=0.8, zorder=1)
    axes.axhspan(-0.5, 0.5, color="#F0F0F0", zorder=0) if names and names[0] == schema.RECORDED else None
    axes.set_xlim(low / 1.05 if logarithmic else min(1, low) - (high - low) * 0.03, edge)


def overview_notes(run):
    broken = [row for row in run.summary if not is_ok(row)]
    notes = ["1: no memory beyond what was asked for. Hollow: peak of held memory, a lower bound, for the recorded kernel, which had the "
             "whole machine, and where the smallest arena was not asked for."]
    if any(row["allocator"] == schema.NOP for row in run.summary):
        notes.append(f"{schema.NOP} keeps nothing (it is the cost of the harness) and is not drawn.")
    if any(is_ok(row) and schema.failures(row) and row["allocator"] not in (schema.NOP, schema.RECORDED) for row in run.summary):
        notes.append("\u2020 refused requests in the arena of the other figures.")
    for name in dict.fromkeys(row["allocator"] for row in broken):
        of_name = [row for row in broken if row["allocator"] == name]
        notes.append(f"Invalid: {name} on {', '.join(dict.fromkeys(row['trace'] for row in of_name))}: {of_name[0]['reason'] or 'no reason given'}.")
    return notes


# name: (function, files beside summary.csv)
PLACE_FIGURES = {
    "waste_over_time": (waste_over_time, ("samples.csv",)),
    "composed": (composed, ("samples.csv", "orders.csv")),
    "where_waste": (where_waste, ("samples.csv",)),
    "free_blocks": (free_per_order, ("samples.csv", "orders.csv")),
    "unusable_index": (unusable, ("samples.csv", "orders.csv")),
    "memory_map": (memory_map, ("samples.csv", "map.csv")),
}
FIGURES = ("overview", *PLACE_FIGURES)


def places_of(run, name):
    """Where a figure is drawn: everywhere; that of the object stacks where there are any."""
    return [place for place in run.places if name != "composed" or has_stacks(run, place)]


# --- writing -------------------------------------------------------------------------------------------------------

def file_name(name, trace=None, level=None):
    parts = [name] + ([trace, level] if trace else [])
    return "-".join("".join(c if c.isalnum() or c in "._-" else "_" for c in part) for part in parts)


def save(figure, directory, name, formats):
    """Write each format beside its final name, then rename."""
    paths = []
    box = page_box(figure)
    for form in formats:
        path = os.path.join(directory, f"{name}.{form}")
        partial = f"{path}.partial-{os.getpid()}"
        metadata = {"Software": None} if form == "png" else {"CreationDate": None, "Creator": None, "Producer": None}
        try:
            figure.savefig(partial, format=form, dpi="figure", bbox_inches=box, metadata=metadata)
            os.replace(partial, path)
        except OSError as error:
            if os.path.exists(partial):
                os.remove(partial)
            raise schema.SchemaError(f"{path}: cannot be written: {error.strerror}") from None
        paths.append(path)
    pyplot.close(figure)
    return paths


def draw_all(options, wanted):
    """Draw and save: (file name, the function that draws, what it takes) each. One that has nothing to draw returns None."""
    folder = program.figures_folder(options.directory)
    paths = []
    for name, draw, *taken in wanted:
        with pyplot.rc_context(STYLE):
            figure = draw(*taken)
            if figure is not None:
                paths += save(figure, folder, name, options.format)
    return paths


RUN = None  # set before the workers fork, so that they share the tables


def make_one(job):
    name, place, formats, wanted = job
    with matplotlib.rc_context(STYLE):
        if name == "overview":
            figure = overview(RUN)
        elif name == "memory_map":
            figure = memory_map(RUN, *place, wanted=wanted)
        else:
            figure = PLACE_FIGURES[name][0](RUN, *place)
        return save(figure, os.path.join(RUN.directory, "figures"), file_name(name, *place), formats)


def make_all(options):
    """Every figure asked for; paths in a fixed order."""
    global RUN
    wanted = options.only or list(FIGURES)
    files = [name for name in schema.FILES if any(name in PLACE_FIGURES[figure][1] for figure in wanted if figure != "overview")]
    RUN = Run(options.directory, files)
    program.figures_folder(options.directory)
    jobs = [(name, place, options.format, options.map) for name in wanted for place in ([()] if name == "overview" else places_of(RUN, name))]
    if options.jobs == 1 or len(jobs) == 1:
        return [path for job in jobs for path in make_one(job)]
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        return [path for paths in pool.map(make_one, jobs) for path in paths]


def parse_arguments(arguments):
    parser = program.parser_of("The figures of a kmemlab run.", "RUN_DIR", "folder written by `kmemlab run`", epilog=f"Figures: {', '.join(FIGURES)}.")
    parser.add_argument("--only", metavar="NAME", type=program.words_of(FIGURES, "figure"), help="these figures, by name, joined by commas")
    parser.add_argument("--map", metavar="SPEC", action="append", default=[], help="an allocator of the memory map besides recorded; may be repeated")
    parser.add_argument("--jobs", metavar="N", type=int, default=min(8, os.cpu_count() or 1), help="processes at a time (default: one a cpu)")
    return parser.parse_args(arguments)


def main(arguments=None):
    return program.run("figures", make_all, parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(main())
