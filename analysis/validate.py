#!/usr/bin/python3
"""The figures and the table of a validation: reads validate.csv in DIR (of `kmemlab validate --out DIR`).

Writes DIR/tables/validate.tex (LaTeX, booktabs, longtable), DIR/figures/internal_fragmentation (theory as lines, measured as
points with three standard errors) and DIR/figures/worst_cases (measured and bound). The lines are computed here, from the
systems' definitions alone. Same CSV file, same bytes out. Exit status: 0; 2 when the file is not what results/README.md says;
3 when a Python module is missing (the table is written all the same).
"""

import bisect
import math
import os
import re
import sys

import program
import schema
import summary

if __name__ == "__main__":
    program.fix_hash_seed()

COLUMNS = {name: schema._text for name in ("section", "subject", "workload", "quantity", "kind", "expected", "measured", "status",
                                           "source", "note")}
COLUMNS.update({name: schema._optional_number for name in ("tolerance", "standard_error")}, seeds=schema._optional_count)

SIZE_LIMIT = 1 << 17


# --- theory ------------------------------------------------------------------------------------------------------

def powers(base):
    sizes = [1]
    while sizes[-1] < SIZE_LIMIT:
        sizes.append(sizes[-1] * base)
    return sizes


def fibonacci_sizes():
    sizes = [1, 2]
    while sizes[-1] < SIZE_LIMIT:
        sizes.append(sizes[-1] + sizes[-2])
    return sizes


SYSTEMS = {
    "binary": ("binary", powers(2)),
    "fibonacci": ("Fibonacci", fibonacci_sizes()),
    "weighted": ("weighted", sorted(set(powers(2)) | {3 * size for size in powers(2)})),
    "kary:k=3": ("3-ary", powers(3)),
    "kary:k=4": ("4-ary", powers(4)),
}


def uniform_percent(sizes, last):
    """Internal fragmentation of requests uniform on the whole numbers 1..last."""
    blocks, below = 0, 0
    for size in sizes[:bisect.bisect_left(sizes, last) + 1]:
        blocks += size * (min(size, last) - below)
        below = size
    return 100 * (1 - last * (last + 1) / 2 / blocks)


def exponential_percent(sizes, mean):
    """Of exponential requests, rounded up to whole numbers: P(X > k) = e^(-k/mean), E[X] = 1/(1 - e^(-1/mean))."""
    blocks, above = 0, 1.0
    for size in sizes:
        left = math.exp(-size / mean)
        blocks += size * (above - left)
        above = left
    return 100 * (1 + 1 / math.expm1(-1 / mean) / blocks)


# --- the table ---------------------------------------------------------------------------------------------------

HEADS = ("of", "with", "figure", "expected", "measured", "within", "")


def within(row):
    if row["kind"] == "simulated":
        return f"3 x {row['standard_error']:.3f}"
    return f"{row['tolerance']:.2g}" if row["kind"] == "near" else row["kind"]


def latex_rows(rows):
    out, section = [], None
    for row in rows:
        if row["section"] != section:
            section = row["section"]
            out += [r"\addlinespace", rf"\multicolumn{{{len(HEADS)}}}{{l}}{{\textbf{{{summary.latex(section)}}}}} \\"]
        fields = [rf"\texttt{{{summary.latex(row['subject'])}}}"]
        fields += [summary.latex(row[name]) for name in ("workload", "quantity", "expected", "measured")]
        status = row["status"] if row["status"] == "ok" else rf"\textbf{{{summary.latex(row['status'])}}}"
        out.append(" & ".join([*fields, summary.latex(within(row)), status]) + r" \\")
    return out


def latex_table(rows):
    head = ["% needs \\usepackage{booktabs,longtable}", r"\begin{longtable}{lllrrll}", r"\toprule", " & ".join(HEADS) + r" \\",
            r"\midrule", r"\endhead"]
    return "\n".join([*head, *latex_rows(rows), r"\bottomrule", r"\end{longtable}", ""])


# --- figures -----------------------------------------------------------------------------------------------------

def number_in(pattern, text):
    found = re.search(pattern, text)
    return float(found.group(1)) if found else None


def draw_distribution(axes, figures, families, rows, pattern, theory, span):
    """One kind of distribution: a line and points for each system."""
    steps = 600
    xs = [span[0] * (span[1] / span[0]) ** (step / steps) for step in range(steps + 1)]
    for index, (stack, (name, sizes)) in enumerate(SYSTEMS.items()):
        colour, dashes = families.LINE_COLOURS[index], families.DASHES[index]
        axes.plot(xs, [theory(sizes, x) for x in xs], color=colour, linestyle=dashes, linewidth=1.2, label=name)
        points = [(number_in(pattern, row["workload"]), row) for row in rows if row["subject"] == stack]
        points = [(x, row) for x, row in points if x]
        axes.errorbar([x for x, _ in points], [float(row["measured"]) for _, row in points],
                      yerr=[3 * row["standard_error"] for _, row in points], color=colour, linestyle="none", marker=figures.MARKERS[index],
                      markersize=3.5, elinewidth=1, capsize=2)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(figures.PLAIN_NUMBERS)
    axes.set_ylim(0, 65)


def internal_fragmentation(figures, families, rows):
    rows = [row for row in rows if row["section"] == "curves" and row["kind"] == "simulated"]
    if not rows:
        return None
    figure, (left, right) = figures.pyplot.subplots(1, 2, figsize=(figures.WIDTH_INCHES, 3.3), sharey=True)
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.14, top=0.93, wspace=0.06)
    draw_distribution(left, figures, families, rows, r"uniform 1\.\.(\d+)", lambda sizes, x: uniform_percent(sizes, round(x)), (12, 1300))
    draw_distribution(right, figures, families, rows, r"mean (\d+)", exponential_percent, (6, 650))
    left.set_xlabel("largest request N, units; requests uniform on 1..N")
    right.set_xlabel("mean request, units; requests exponential")
    left.set_ylabel("internal fragmentation, %")
    right.legend(loc="lower right", ncol=len(SYSTEMS), bbox_to_anchor=(1, 1), columnspacing=1.2)
    seeds = max(row["seeds"] or 0 for row in rows)
    return figures.finish(figure, "Internal fragmentation against the distribution of requests", [
        "Lines: theory, 1 - E[X]/E[B]. Points: replays of objects that come at a load, mean of "
        f"{seeds} seeds, with three standard errors (most are smaller than the point)."])


def draw_knuth(axes, families, figures, rows):
    """Units needed for n live ones, over r."""
    exact = [(number_in(r"r = (\d+)", row["workload"]), number_in(r"n = (\d+)", row["workload"]), float(row["measured"]))
             for row in rows if row["quantity"] == "units of n needed, knuth"]
    axes.plot([r for r, _, _ in exact], [1 + r / 2 for r, _, _ in exact], color=families.BLACK, linewidth=1,
              label="(1 + r/2) n: the bad sequence")
    axes.plot([r for r, _, _ in exact], [1 + r for r, _, _ in exact], color=families.BLACK, linewidth=1, linestyle=(0, (4, 2)),
              label="(r + 1) n: enough for any")
    axes.plot([r for r, _, _ in exact], [units / n for _, n, units in exact], color=families.VERMILION, linestyle="none", marker="o",
              markersize=4.5, label="measured, lowest address first")
    arenas = [(number_in(r"r = (\d+)", row["workload"]), number_in(r"n = (\d+)", row["workload"]), float(row["measured"]))
              for row in rows if row["quantity"] == "smallest arena, units, knuth" and row["subject"] == "binary"]
    axes.plot([r for r, _, _ in arenas], [units / n for _, n, units in arenas], color=families.BLUE, linestyle="none",
              marker="x", markersize=4.5, label="measured, smallest arena of binary")
    axes.set_xlabel("r: requests of 1, 2, ... 2^r units")
    axes.set_ylabel("memory / live")
    axes.legend(loc="upper left")
    axes.set_ylim(0, 15)
    axes.set_title("Knuth's sequence, binary buddy", loc="left")


def draw_robson(axes, families, figures, rows):
    played = [row for row in rows if row["quantity"] == "units spanned, robson"]
    names = list(dict.fromkeys(row["subject"] for row in played))
    for index, name in enumerate(names):
        points = [(number_in(r"r = (\d+)", row["workload"]), float(row["measured"]) / number_in(r"M = (\d+)", row["workload"]))
                  for row in played if row["subject"] == name]
        axes.plot([r for r, _ in points], [ratio for _, ratio in points], color=families.LINE_COLOURS[index % len(families.LINE_COLOURS)],
                  linestyle=families.DASHES[index % len(families.DASHES)], marker=figures.MARKERS[index % len(figures.MARKERS)],
                  markersize=4, linewidth=1, label=name)
    bounds = {number_in(r"r = (\d+)", row["workload"]): float(row["expected"]) / number_in(r"M = (\d+)", row["workload"]) for row in played}
    axes.plot(list(bounds), list(bounds.values()), color=families.BLACK, linewidth=2, label="bound, every allocator")
    axes.set_xlabel("r: requests of 1, 2, ... 2^r units")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(figures.PLAIN_NUMBERS)
    axes.set_title("Robson's adversary, every page allocator", loc="left")
    axes.legend(loc="upper left", ncol=2)
    axes.set_ylim(1, 130)


def worst_cases(figures, families, rows):
    rows = [row for row in rows if row["section"] == "worst" and row["measured"] != "-"]
    if not any(row["quantity"] == "units spanned, robson" for row in rows):
        return None
    figure, (left, right) = figures.pyplot.subplots(1, 2, figsize=(figures.WIDTH_INCHES, 3.5))
    figure.subplots_adjust(left=0.07, right=0.985, bottom=0.13, top=0.88, wspace=0.16)
    draw_knuth(left, families, figures, rows)
    draw_robson(right, families, figures, rows)
    return figures.finish(figure, "Worst cases: measured and bound", [
        "Memory that a live unit costs at most, in units of the smallest block. Left: at most n units live. Right: span of memory used "
        "over the most that is live; allocators with other block sizes than powers of two round up besides."])


def draw_all(rows, options):
    import families  # the table needs no matplotlib
    import figures
    return figures.draw_all(options, [("internal_fragmentation", internal_fragmentation, figures, families, rows),
                                      ("worst_cases", worst_cases, figures, families, rows)])


def make_all(options):
    rows = schema.read_rows(schema.file_of(options.directory, "validate.csv"), COLUMNS)
    table = os.path.join(options.directory, "tables", "validate.tex")
    schema.write_whole(table, latex_table(rows))
    return [table, *draw_all(rows, options)]


def main(arguments=None):
    parser = program.parser_of("The table and the figures of `kmemlab validate --out DIR`.", "DIR", "the folder with validate.csv")
    return program.run("validate", make_all, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
