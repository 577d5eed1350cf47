"""Table and figure of a bench (fuzz/bench.py): times to detection, with runs that found nothing treated as censored.

A run without a find says only that the bug takes longer than its limit. Medians are those of the Kaplan-Meier estimate
(E. L. Kaplan & P. Meier, Nonparametric estimation from incomplete observations, JASA 53(282), 1958): of five runs, the
third find; unknown when fewer than half of the runs found it.
"""

import csv
import os
import statistics
import sys

import plant

RUN_COLUMNS = ("bug", "engine", "repeat", "limit_seconds", "found", "seconds", "wall_seconds", "executions", "oracle")
ENGINES = ("libfuzzer", "afl", "random", "naive", "seeds")
GUIDED = ENGINES[:2]
BASELINES = ("random", "naive")  # a parser has no runs of the second: those of the first stand for them
EASY_EXECUTIONS = 100  # of the first baseline in the median: more than five times faster than that few cannot be seen
SOON_SECONDS = 10
COLOURS = {"libfuzzer": "#2166AC", "afl": "#B2182B", "random": "#000000", "naive": "#8C8C8C"}
DASHES = {"libfuzzer": "-", "afl": "--", "random": ":", "naive": "-."}
LEAST_SECONDS = 0.01  # the figure begins here


def survival(observations):
    """Kaplan-Meier: [(value, share that lasts longer)] at each find; observations are (value, found)."""
    curve, share = [], 1.0
    for value in sorted({value for value, found in observations if found}):
        at_risk = sum(1 for other, _ in observations if other >= value)
        finds = sum(1 for other, found in observations if found and other == value)
        share *= 1 - finds / at_risk
        curve.append((value, share))
    return curve


def median(observations):
    """Where half are found; None when that is not known."""
    return next((value for value, share in survival(observations) if share <= 0.5), None)


class Cell:
    """The runs of one bug by one engine."""

    def __init__(self, rows):
        self.runs = len(rows)
        self.found = sum(int(row["found"]) for row in rows)
        self.limit = max((float(row["limit_seconds"]) for row in rows), default=0)
        self.seconds = median([(float(row["seconds"]), row["found"] in (1, "1")) for row in rows])
        self.executions = median([(int(row["executions"]), row["found"] in (1, "1")) for row in rows])
        self.most_executions = max((int(row["executions"]) for row in rows), default=0)
        self.oracles = sorted({row["oracle"] for row in rows if row["oracle"]})

    def text(self):
        if self.runs == 0:
            return "-"
        value = f"{self.seconds:.2f} s {self.executions} x" if self.seconds is not None else f"> {self.limit:.0f} s"
        return f"{value} {self.found}/{self.runs}"


def baseline_cell(cells, bug, baseline):
    return cells[bug.name, baseline] if cells[bug.name, baseline].runs else cells[bug.name, BASELINES[0]]


def ratios(cells, bugs, engine, baseline, of, bound):
    """[(baseline / engine, exact?)], the baseline's limit where it found nothing: a lower bound. Where the engine found nothing
    but the baseline did it is 0, the lowest there is; a bug that neither found says nothing and is left out."""
    found = []
    for bug in bugs:
        own, blind = cells[bug.name, engine], baseline_cell(cells, bug, baseline)
        if own.runs == 0 or blind.runs == 0 or (of(own) is None and of(blind) is None):
            continue
        if of(own) is None:
            found.append((0.0, True))
        elif of(blind) is None:
            found.append((bound(blind) / max(of(own), 1e-9), False))
        else:
            found.append((of(blind) / max(of(own), 1e-9), True))
    return found


def ratio_text(found, what):
    if not found:
        return f"{what} unknown"
    value = statistics.median_low(ratio for ratio, _ in found)
    is_exact = all(exact for ratio, exact in found if ratio <= value)
    return f"{what} {'' if is_exact else 'at least '}{value:.2g} times"


def groups(cells, bugs):
    """By what the first baseline needs: (name, bugs)."""
    def is_easy(bug):
        executions = cells[bug.name, BASELINES[0]].executions
        return executions is not None and executions <= EASY_EXECUTIONS
    easy = [bug for bug in bugs if is_easy(bug)]
    return [("all", bugs), (f"{BASELINES[0]} needs at most {EASY_EXECUTIONS} executions", easy),
            ("the harder ones", [bug for bug in bugs if bug not in easy])]


def comparisons(cells, bugs, engines):
    """How many times faster, in the median over bugs: by baseline, engine and group; all that there are."""
    lines = []
    for baseline in (name for name in BASELINES if name in engines):
        for engine in (name for name in engines if name in GUIDED):
            for group, members in groups(cells, bugs):
                pairs = [(lambda cell: cell.seconds, lambda cell: cell.limit, "time"),
                         (lambda cell: cell.executions, lambda cell: cell.most_executions, "executions")]
                found = [ratios(cells, members, engine, baseline, of, bound) for of, bound, _ in pairs]
                texts = "; ".join(ratio_text(ratio, what) for ratio, (_, _, what) in zip(found, pairs))
                bounds, missed = sum(not exact for _, exact in found[0]), sum(ratio == 0 for ratio, _ in found[0])
                lines.append(f"{baseline} : {engine}, {group}: {texts} ({len(found[0])} bugs, {bounds} with a lower bound, "
                             f"{missed} that {engine} alone missed)")
    return lines


def summary(cells, bugs, engines):
    lines = []
    by_some = [bug for bug in bugs if any(cells[bug.name, engine].found for engine in engines)]
    lines.append(f"Found by some engine: {len(by_some)} of {len(bugs)}")
    missed = [bug.name for bug in bugs if bug not in by_some]
    if missed:
        lines.append("Found by none: " + ", ".join(missed))

    def is_soon(bug, engine):
        seconds = cells[bug.name, engine].seconds
        return seconds is not None and seconds <= SOON_SECONDS

    guided = [engine for engine in engines if engine in GUIDED]
    for engine in engines:
        tried = [bug for bug in bugs if cells[bug.name, engine].runs]
        found = sum(cells[bug.name, engine].found > 0 for bug in tried)
        soon = sum(is_soon(bug, engine) for bug in tried)
        lines.append(f"{engine}: {found} of {len(tried)} found, {100 * soon / len(tried):.0f} % within {SOON_SECONDS} s in the median")
    if guided:
        soon = sum(any(is_soon(bug, engine) for engine in guided) for bug in bugs)
        lines.append(f"Within {SOON_SECONDS} s on one core in the median, by the better guided engine: {100 * soon / len(bugs):.0f} %")
    lines += comparisons(cells, bugs, engines)
    return lines


def table(cells, bugs, engines):
    rows = [("bug", "target", *engines, "oracles")]
    for bug in bugs:
        oracles = sorted({oracle for engine in engines for oracle in cells[bug.name, engine].oracles})
        rows.append((bug.name, bug.target, *(cells[bug.name, engine].text() for engine in engines), ", ".join(oracles)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(field.ljust(width) for field, width in zip(row, widths)).rstrip() for row in rows]


def write_csv(path, cells, bugs, engines):
    def number(value, form):
        return "" if value is None else format(value, form)

    partial = f"{path}.partial-{os.getpid()}"
    with open(partial, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("bug", "class", "target", "engine", "runs", "found", "limit_seconds", "median_seconds", "median_executions", "oracles"))
        for bug in bugs:
            for engine in engines:
                cell = cells[bug.name, engine]
                writer.writerow((bug.name, bug.bug_class, bug.target, engine, cell.runs, cell.found, f"{cell.limit:g}",
                                 number(cell.seconds, ".3f"), number(cell.executions, "d"), "+".join(cell.oracles)))
    os.replace(partial, path)


def draw(folder, rows, engines):
    """detection.png, .pdf: of all runs of an engine, the share that has found its bug by a time."""
    sys.path.insert(0, os.path.join(plant.SOURCE, "analysis"))
    import figures  # pylint: disable=import-outside-toplevel

    with figures.matplotlib.rc_context(figures.STYLE):
        figure, axes = figures.pyplot.subplots(figsize=(figures.WIDTH_INCHES / 2, 2.6), layout="constrained")
        limit = max(float(row["limit_seconds"]) for row in rows)
        for engine in (name for name in COLOURS if name in engines):
            runs = [(float(row["seconds"]), row["found"] in (1, "1")) for row in rows if row["engine"] == engine]
            if not runs:
                continue
            curve = [(LEAST_SECONDS, 1.0), *survival(runs)]
            curve.append((limit, curve[-1][1]))
            axes.step([value for value, _ in curve], [100 * (1 - share) for _, share in curve], where="post",
                      color=COLOURS[engine], linestyle=DASHES[engine], label=engine)
        axes.axvline(SOON_SECONDS, color="#8C8C8C", linewidth=0.6)
        axes.set(xscale="log", xlim=(LEAST_SECONDS, limit), ylim=(0, 100), xlabel="processor time (s)", ylabel="runs that found their bug (%)")
        axes.legend(loc="lower right")
        return figures.save(figure, folder, "detection", ("png", "pdf"))


def write(folder, bugs, rows):
    """All files of a report, and the table on the terminal; 0, or 1 when a bug was found by nobody."""
    names = {bug.name for bug in bugs}
    rows = [row for row in rows if row["bug"] in names]
    engines = [engine for engine in ENGINES if any(row["engine"] == engine for row in rows)]
    if not rows:
        raise plant.PlantError(f"{folder}: no runs of these bugs")
    cells = {(bug.name, engine): Cell([row for row in rows if row["bug"] == bug.name and row["engine"] == engine])
             for bug in bugs for engine in ENGINES}
    lines = [*table(cells, bugs, engines), "", *summary(cells, bugs, engines)]
    write_csv(os.path.join(folder, "bench.csv"), cells, bugs, engines)
    with open(os.path.join(folder, "bench.txt"), "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)
    draw(folder, rows, engines)
    return 0 if all(any(cells[bug.name, engine].found for engine in engines) for bug in bugs) else 1
