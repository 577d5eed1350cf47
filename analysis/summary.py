#!/usr/bin/python3
"""The summary table of a run: on the terminal, and as tables/summary.tex (LaTeX, booktabs).

Reads summary.csv and, where there is one, timing.csv. Standard library only.
First column: the smallest arena in which the allocator finishes the trace, over the peak of the bytes requested - what
fragmentation really costs. The rules of who competes for best and worst are in RULES, printed under every table.
Exit status: 0, or 2 when the run's files are not what results/README.md says.
"""

import argparse
import math
import os
import sys
from collections import namedtuple

import schema

INFINITE = math.inf  # no arena up to the search limit was enough

# value(row, demand, ns) -> number, None where it does not apply. combine: over the traces.
Column = namedtuple("Column", "name head unit value combine form contest_rule")


def smallest_arena(row, demand, _ns):
    if row["min_arena_bytes"] is None:
        return None
    return row["min_arena_bytes"] / demand if row["min_arena_bytes"] else INFINITE


def geometric_mean(values):
    if INFINITE in values:
        return INFINITE
    return math.exp(math.fsum(math.log(value) for value in values) / len(values)) if min(values) > 0 else 0.0


def mean(values):
    return math.fsum(values) / len(values)


def ratio(value):
    return "none" if value == INFINITE else f"{value:.3f}"


def percent(value):
    return f"{value:.2f}"


def short_count(value):
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.1f}{suffix}"
    return f"{value:.0f}"


# Who competes: SERVED leaves out whoever refused a request (it held less and worked less because it served less).
SERVED = "who served every request"
ANY = "any"

COLUMNS = (
    Column("smallest arena / peak requested", "min arena", "/ peak req", smallest_arena, geometric_mean, ratio, ANY),
    Column("internal fragmentation", "internal", "frag. %", lambda row, demand, ns: 100 * row["internal_fragmentation"],
           mean, percent, SERVED),
    Column("peak held / peak requested", "peak held", "/ peak req", lambda row, demand, ns: row["peak_held_bytes"] / demand,
           geometric_mean, ratio, SERVED),
    Column("external waste at the peak", "external", "% of held",
           lambda row, demand, ns: 100 * row["waste_external_bytes"] / max(1, row["peak_held_bytes"]), mean, percent, SERVED),
    Column("unusable index of order 4", "unusable", "index o.4", lambda row, demand, ns: row["unusable_index_order4_mean"],
           mean, ratio, SERVED),
    Column("refused requests", "refused", "requests", lambda row, demand, ns: schema.failures(row), sum, short_count, ANY),
    Column("splits + merges", "splits", "+ merges", lambda row, demand, ns: row["splits"] + row["merges"], sum, short_count,
           SERVED),
    Column("time per event", "time", "ns/event", lambda row, demand, ns: ns, mean, lambda value: f"{value:.1f}", SERVED),
)

# Of the recorded kernel, what it did, not what it would need: it has the whole machine and its work is not simulated.
NOT_OF_RECORDED = ("smallest arena / peak requested", "refused requests", "splits + merges", "time per event")

RULES = (
    f"{schema.RECORDED} is the real kernel's own placement; it had the whole machine, so it has no smallest arena.",
    f"{schema.NOP} keeps nothing (it is the cost of the harness) and never counts as best or worst.",
    "An allocator that refused requests competes for the smallest arena only: it held less and worked less because it served less.",
    "An allocator that lacks a trace does not compete.",
)


class Line:
    """A row of the table: one allocator on one trace, or on all of them."""

    def __init__(self, allocator, cells, demands, timing):
        self.allocator = allocator
        self.cells = [row for row in cells if row["status"] == "ok"]
        self.trace_count = len(cells)
        self.values = {column.name: self._value(column, demands, timing) for column in COLUMNS}
        self.refused = any(schema.failures(row) for row in self.cells)
        self.complete = len(self.cells) == self.trace_count

    def _value(self, column, demands, timing):
        if not self.cells or (self.allocator == schema.RECORDED and column.name in NOT_OF_RECORDED):
            return None
        if self.allocator == schema.NOP and column.name != "time per event":
            return None
        values = [column.value(row, max(1, demands[row["trace"], row["level"]]), timing.get(tuple(row[k] for k in schema.KEY)))
                  for row in self.cells]
        return None if None in values else column.combine(values)

    def competes(self, column):
        if self.allocator == schema.NOP or self.values[column.name] is None or not self.complete:
            return False
        return not (column.contest_rule == SERVED and self.refused)


def build_lines(rows, demands, timing):
    """The lines of one table: the recorded kernel first, then by smallest arena, then by peak held; nop last."""
    lines = [Line(name, [row for row in rows if row["allocator"] == name], demands, timing)
             for name in schema.allocators(rows)]

    def rank(line):
        first, second = (line.values[COLUMNS[i].name] for i in (0, 2))
        return (line.allocator != schema.RECORDED, line.allocator == schema.NOP, not line.cells, first is None, first or 0,
                line.refused, second is None, second or 0)

    return sorted(lines, key=rank)


def best_and_worst(lines, column):
    """Names of the best (least) and worst of a column; two empty lists where all are equal or nobody competes."""
    contest = [(line.values[column.name], line.allocator) for line in lines if line.competes(column)]
    # What prints alike is alike: no winner by a digit that the reader cannot see.
    shown = {column.form(value) for value, _ in contest}
    if len(shown) < 2:
        return [], []
    least, most = column.form(min(contest)[0]), column.form(max(contest)[0])
    return ([name for value, name in contest if column.form(value) == least],
            [name for value, name in contest if column.form(value) == most])


def cell_text(line, column):
    value = line.values[column.name]
    return "-" if value is None else column.form(value)


class Terminal:
    """Marks best and worst: * and !, with colour besides where the output is a terminal."""

    def __init__(self, stream):
        self.colour = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def mark(self, text, mark):
        paint = {"*": "1;32", "!": "1;31", "k": "1"}.get(mark)
        return f"\033[{paint}m{text}\033[0m" if self.colour and paint else text


def name_of(line):
    extra = " (kernel)" if line.allocator == schema.RECORDED else ""
    lacking = "" if line.complete else f" [{len(line.cells)} of {line.trace_count} traces]"
    return line.allocator + extra + lacking


def table_text(lines, terminal):
    """The table as text: two lines of head, one line a row, best and worst in words."""
    marks = {column.name: best_and_worst(lines, column) for column in COLUMNS}
    width = max(len("allocator"), *(len(name_of(line)) for line in lines))
    wide = [max(len(column.head), len(column.unit), *(len(cell_text(line, column)) for line in lines)) + 1 for column in COLUMNS]
    out = ["  ".join([" " * width] + [f"{column.head + ' ':>{w}}" for column, w in zip(COLUMNS, wide)]).rstrip(),
           "  ".join([f"{'allocator':<{width}}"] + [f"{column.unit + ' ':>{w}}" for column, w in zip(COLUMNS, wide)]).rstrip()]
    out.append("-" * len(out[-1]))
    for line in lines:
        fields = [terminal.mark(f"{name_of(line):<{width}}", "k" if line.allocator == schema.RECORDED else "")]
        for column, w in zip(COLUMNS, wide):
            best, worst = marks[column.name]
            mark = "*" if line.allocator in best else "!" if line.allocator in worst else " "
            fields.append(terminal.mark(f"{cell_text(line, column) + mark:>{w}}", mark))
        out.append("  ".join(fields).rstrip())
    return out + [""] + words(lines, marks)


def words(lines, marks):
    """Best and worst of each column as sentences; long ties by their number."""
    def these(names):
        return ", ".join(names) if len(names) <= 3 else f"{len(names)} allocators alike"

    out = ["* best, ! worst:"]
    by_name = {line.allocator: line for line in lines}
    for column in COLUMNS:
        best, worst = marks[column.name]
        if not best:
            equal = {cell_text(line, column) for line in lines if line.competes(column)}
            out.append(f"  {column.name}: " + (f"all alike ({equal.pop()})" if equal else "not measured"))
            continue
        value = {name: cell_text(by_name[name], column).replace("none", "no arena found was enough") for name in (best[0], worst[0])}
        out.append(f"  {column.name}: best {these(best)} ({value[best[0]]}), worst {these(worst)} ({value[worst[0]]})")
    return out


def invalid_text(rows):
    broken = [row for row in rows if row["status"] == "invalid"]
    if not broken:
        return []
    return ["Invalid cells:"] + [f"  {row['allocator']} on {row['trace']}, level {row['level']}: {row['reason'] or 'no reason given'}"
                                 for row in broken] + [""]


def level_tables(rows, timing, per_trace):
    """(title, lines) of each table: all traces of a level together, then one by one where asked."""
    demands = schema.demands(rows)
    for level in dict.fromkeys(row["level"] for row in rows):
        of_level = [row for row in rows if row["level"] == level]
        for traces in traces_by_allocators(of_level):
            of_table = [row for row in of_level if row["trace"] in traces]
            how = ("" if len(traces) == 1 else ": geometric mean of ratios, mean of percentages, indices and times, sum of counts")
            named = traces[0] if len(traces) == 1 else f"{len(traces)} traces ({', '.join(traces)})"
            yield f"{named}, level {level}{how}", build_lines(of_table, demands, timing)
            if per_trace and len(traces) > 1:
                for trace in traces:
                    yield (f"{trace}, level {level}",
                           build_lines([row for row in of_table if row["trace"] == trace], demands, timing))


def traces_by_allocators(rows):
    """Lists of traces on which the same allocators ran: means are taken over the same traces for all. Most traces first."""
    ran = {}
    for row in rows:
        ran.setdefault(row["trace"], set()).add(row["allocator"])
    groups = {}
    for trace, names in ran.items():
        groups.setdefault(frozenset(names), []).append(trace)
    return sorted(groups.values(), key=len, reverse=True)


LATEX_SPECIAL = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
                 "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}


def latex(text):
    return "".join(LATEX_SPECIAL.get(letter, letter) for letter in text)


def latex_table(title, lines):
    marks = {column.name: best_and_worst(lines, column) for column in COLUMNS}
    out = [f"% {title}", "% best bold, worst italic; needs \\usepackage{booktabs}", rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}",
           r"\toprule"]
    out.append(" & ".join([""] + [latex(column.head) for column in COLUMNS]) + r" \\")
    out.append(" & ".join(["allocator"] + [latex(column.unit) for column in COLUMNS]) + r" \\")
    out.append(r"\midrule")
    for line in lines:
        name = rf"\texttt{{{latex(line.allocator)}}}" + latex(name_of(line)[len(line.allocator):])
        fields = [rf"\textbf{{{name}}}" if line.allocator == schema.RECORDED else name]
        for column in COLUMNS:
            text = latex(cell_text(line, column)).replace("-", "--")
            best, worst = marks[column.name]
            wrap = r"\textbf" if line.allocator in best else r"\textit" if line.allocator in worst else ""
            fields.append(f"{wrap}{{{text}}}" if wrap else text)
        out.append(" & ".join(fields) + r" \\")
        if line.allocator == schema.RECORDED:
            out.append(r"\addlinespace")
    return out + [r"\bottomrule", r"\end{tabular}", ""]


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="The summary table of a kmemlab run, on the terminal and as tables/summary.tex.")
    parser.add_argument("run", metavar="RUN_DIR", help="folder written by `kmemlab run`")
    parser.add_argument("--per-trace", action="store_true", help="a table for each trace besides")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        rows = schema.read_summary(options.run)
        timing = schema.read_timing(options.run)
        tables = list(level_tables(rows, timing, options.per_trace))
        tex = [text for title, lines in tables for text in latex_table(title, lines)]
        schema.write_whole(os.path.join(options.run, "tables", "summary.tex"), "\n".join(tex))
    except schema.SchemaError as error:
        print(f"summary: {error}", file=sys.stderr)
        return 2
    out = []
    for title, lines in tables:
        out += [title, "", *table_text(lines, Terminal(sys.stdout)), ""]
    out += invalid_text(rows) + list(RULES)
    try:
        print("\n".join(out), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
