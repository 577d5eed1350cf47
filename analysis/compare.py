#!/usr/bin/python3
"""The figure of two workloads on a stack: reads compare*.csv in DIR (of `kmemlab compare --out DIR`), writes
DIR/figures/compare-A-B-ALLOCATOR.{png,pdf}.

Held and requested bytes and the waste of both over time, each over its own, and the slabs and live objects of the
caches farthest apart, each cache in a panel of its own.
Same CSV files, same bytes out. Exit status: 0; 2 when a file is not what results/README.md says; 3 when a Python
module is missing.
"""

import sys

import program
import schema

if __name__ == "__main__":
    program.fix_hash_seed()

import fidelity
import figures

pyplot = figures.pyplot

KEY = ("a", "b", "allocator", "level")
A_COLOUR, B_COLOUR = fidelity.ACTUAL_COLOUR, fidelity.PREDICTED_COLOUR
A_STYLE = {"color": A_COLOUR, "linewidth": 1.4}
B_STYLE = {"color": B_COLOUR, "linewidth": 1.2, "linestyle": (0, (4, 2))}
A_PALE = {**A_STYLE, "linewidth": 0.8, "alpha": 0.45}
B_PALE = {**B_STYLE, "linewidth": 0.8, "alpha": 0.55}


CURVES = schema._columns(
    (schema._count, "sample"), (schema._text, "curve"), (schema._count, "a_event b_event a_time_ns b_time_ns a_bytes b_bytes"), key=KEY)
CACHES = schema._columns(
    (schema._count, "sample"), (schema._text, "cache"), (schema._count, "a_time_ns b_time_ns"),
    (schema._count, "a_slab_bytes b_slab_bytes a_live_bytes b_live_bytes"), key=KEY)


class Comparison:
    """Two workloads on one stack: curves of the whole and of each cache, over fractions of time."""

    def __init__(self, key, rows, cache_rows):
        self.a, self.b, self.allocator, self.level = key
        self.rows = rows
        self.samples = max(row["sample"] for row in rows)
        self.caches = {}
        for row in cache_rows:
            self.caches.setdefault(row["cache"], []).append(row)

    def curve(self, name, side):
        return [row[f"{side}_bytes"] / figures.MIB for row in self.rows if row["curve"] == name]

    def percents(self):
        return [100 * (i + 1) / self.samples for i in range(self.samples)]

    def wape(self, name):
        rows = [row for row in self.rows if row["curve"] == name]
        base = sum(row["a_bytes"] for row in rows)
        return 100 * sum(abs(row["a_bytes"] - row["b_bytes"]) for row in rows) / base if base else None

    def error(self, cache):
        return sum(abs(row["a_slab_bytes"] - row["b_slab_bytes"]) + abs(row["a_live_bytes"] - row["b_live_bytes"])
                   for row in self.caches[cache])

    def worst(self):
        off = [cache for cache in self.caches if self.error(cache) > 0]
        return sorted(off, key=lambda cache: (-self.error(cache), cache))[:fidelity.WORST]


def groups_of(directory, name, shape, may_be_empty=False):
    return schema.grouped(schema.read_rows(schema.file_of(directory, name), shape, may_be_empty), KEY)


def read_comparisons(directory):
    caches = groups_of(directory, "compare_caches.csv", CACHES, may_be_empty=True)  # page allocators have none
    return [Comparison(key, rows, caches.get(key, [])) for key, rows in groups_of(directory, "compare_curves.csv", CURVES).items()]


def draw_whole(axes, comparison, name, pale):
    percents = comparison.percents()
    if pale:
        axes.plot(percents, comparison.curve(pale, "a"), **A_PALE)
        axes.plot(percents, comparison.curve(pale, "b"), **B_PALE)
    first = axes.plot(percents, comparison.curve(name, "a"), **A_STYLE)
    second = axes.plot(percents, comparison.curve(name, "b"), **B_STYLE)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02, y=0.08)
    return first + second


def draw_cache(axes, comparison, cache):
    rows = comparison.caches[cache]
    percents = [100 * row["sample"] / comparison.samples for row in rows]
    for column, style in (("a_live_bytes", A_PALE), ("b_live_bytes", B_PALE), ("a_slab_bytes", A_STYLE), ("b_slab_bytes", B_STYLE)):
        axes.plot(percents, [row[column] / 1024 for row in rows], **style)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02, y=0.08)
    axes.set_title(cache, loc="left")


def draw(comparison):
    worst = comparison.worst()
    rows = -(-len(worst) // fidelity.COLUMNS)
    cell = fidelity.PANEL_INCHES + fidelity.GAP_INCHES
    height = 2 * fidelity.TOTAL_INCHES + fidelity.GAP_INCHES + rows * cell + fidelity.BELOW_INCHES
    figure = pyplot.figure(figsize=(figures.WIDTH_INCHES, height))
    wide = figures.WIDTH_INCHES - fidelity.LEFT_INCHES - fidelity.RIGHT_INCHES
    axes = fidelity.panel(figure, fidelity.LEFT_INCHES, 0, wide, fidelity.TOTAL_INCHES)
    lines = draw_whole(axes, comparison, "held", "requested")
    axes.set_ylabel("held, MiB")
    axes.legend(lines, [comparison.a, comparison.b], loc="lower right", bbox_to_anchor=(1, 1), ncol=2)
    axes = fidelity.panel(figure, fidelity.LEFT_INCHES, fidelity.TOTAL_INCHES + fidelity.GAP_INCHES, wide, fidelity.TOTAL_INCHES)
    draw_whole(axes, comparison, "waste", None)
    axes.set_ylabel("waste, MiB")
    narrow = (wide - (fidelity.COLUMNS - 1) * fidelity.LEFT_INCHES) / fidelity.COLUMNS
    for index, cache in enumerate(worst):
        left = fidelity.LEFT_INCHES + index % fidelity.COLUMNS * (narrow + fidelity.LEFT_INCHES)
        top = 2 * (fidelity.TOTAL_INCHES + fidelity.GAP_INCHES) + index // fidelity.COLUMNS * cell
        axes = fidelity.panel(figure, left, top, narrow, fidelity.PANEL_INCHES)
        draw_cache(axes, comparison, cache)
        if index % fidelity.COLUMNS == 0:
            axes.set_ylabel("KiB")
    figure.axes[-1].set_xlabel("time, percent")
    return figures.finish(figure, f"{comparison.a} and {comparison.b} on {comparison.allocator}", notes_of(comparison, worst),
                          above_inches=0.26)


def notes_of(comparison, worst):
    ratios = [(name, comparison.wape(name)) for name in ("requested", "held", "waste")]
    notes = ["Both over their own time; pale above: requested.",
             "WAPE: " + ", ".join(f"{name} {ratio:.1f} %" for name, ratio in ratios if ratio is not None) + "."]
    if worst:
        notes.append("Below the caches that are farthest apart: their slabs; pale: the objects live in them.")
    return notes


def make_all(options):
    return figures.draw_all(options, [(figures.file_name(f"compare-{of.a}-{of.b}", of.allocator, of.level), draw, of)
                                      for of in read_comparisons(options.directory)])


def main(arguments=None):
    parser = program.parser_of("The figures of `kmemlab compare --out DIR`.", "DIR", "the folder with compare_curves.csv")
    return program.run("compare", make_all, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
