#!/usr/bin/python3
"""Three classic results about object allocators, from the replays of a run: figures/classic_*.{png,pdf}, tables/classics.csv.

pinned     After a spike a few survivors keep whole slabs: what is asked for falls, what the slabs hold stays.
           (Bonwick 1994, section 3.2: fragmentation; Gorman 2004, Understanding the Linux Virtual Memory Manager, chapter 8.)
merging    A cache of its own for every type of object, against few that types of like size share (mm/slab_common.c:
           find_mergeable): more caches, each with partial slabs of its own.
footprint  SLOB (mm/slob.c): no caches, so little is held while little is asked for, and what finding a place costs.

A result is drawn for each trace and level that shows it: pinned where the share of the slots in use falls below nine
tenths of what it was before; merging where a stack ran with and without merge=on; footprint where slob and another
strategy ran on the same page allocator. Every number in a caption is a row of tables/classics.csv.
Exit status: 0; 2 when the run's files are not what results/README.md says; 3 when a Python module is missing.
"""

import os
import re
import sys

import families
import program
import schema

if __name__ == "__main__":
    program.fix_hash_seed()

import figures
from figures import MIB, mpl_lines, mpl_patches, numpy, pandas, pyplot

FALLEN = 0.9  # a spike is over where the share of slots in use is below this part of what it was
BARS = 8
# Slabs by the tenths of their slots in use: (lowest, highest, words, colour), from empty to full.
FILLS = ((0, 0, "empty", "#000000"), (1, 1, "to 10 %", "#B2182B"), (2, 5, "to 50 %", "#EF8A62"), (6, 9, "to 90 %", "#FDDBC7"),
         (10, 10, "over 90 %", "#D9D9D9"))
SPARSE = 1  # tenths: the slabs counted as pinned by few objects


class Table:
    """tables/classics.csv: one number a row."""

    COLUMNS = ("result", "trace", "level", "allocator", "quantity", "value")

    def __init__(self):
        self.rows = []

    def add(self, result, place, allocator, quantity, value):
        """The value as the table has it: whole numbers as they are, others with six decimals."""
        text = str(int(value)) if isinstance(value, (int, numpy.integer)) else f"{value:.6f}"
        self.rows.append((result, *place, allocator, quantity, text))
        return value

    def text(self):
        return "\n".join(",".join(quoted(field) for field in row) for row in (self.COLUMNS, *self.rows)) + "\n"


def quoted(field):
    return '"' + field.replace('"', '""') + '"' if any(letter in field for letter in ',"\n') else field


def mib(size):
    return f"{size / MIB:.2f} MiB"


def percent(share):
    return f"{100 * share:.1f} %"


def stacks_of(run, place):
    """Rows of the object stacks, those as they are first."""
    return [row for row in figures.stack_rows(run.rows(*place)) if row["allocator"] != schema.RECORDED]


def strategies_of(run, place):
    """The stacks compared with each other: the strategies as they are, else all."""
    stacks = stacks_of(run, place)
    plain = [row for row in stacks if families.family_of(row["allocator"]) == families.STRATEGIES]
    return (plain or stacks)[:families.PANEL_LINES]


def object_places(run):
    return [place for place in run.places if figures.has_stacks(run, place)]


def seconds(frame, start):
    return (frame["time_ns"].to_numpy() - start) / 1e9


class Objects:
    """
    What a place's stacks ask for and hold on behalf of objects. SLOB serves from 4 KiB on by pages what the others have
    in slabs, so slabs alone do not compare: of requested and held bytes the page demand is taken away, which is that of
    the stack that has most in slabs, and the same for all.
    """

    def __init__(self, run, place):
        frames = {row["allocator"]: run.moments("samples.csv", row) for row in figures.stack_rows(run.rows(*place))}
        self.frames = {name: frame.set_index("sample") for name, frame in frames.items() if frame is not None}
        pages = [frame["requested_bytes"] - figures.object_bytes(frame) for name, frame in self.frames.items() if name != schema.RECORDED]
        self.page_bytes = pandas.concat(pages, axis=1).min(axis=1) if pages else None

    def of(self, name):
        """A frame of the stack's samples: time_ns, requested and held (bytes of or for objects); None: it has no samples."""
        frame = self.frames.get(name)
        if frame is None or self.page_bytes is None:
            return None
        pages = self.page_bytes.reindex(frame.index).ffill().bfill()
        return pandas.DataFrame({"time_ns": frame["time_ns"], "requested": (frame["requested_bytes"] - pages).clip(lower=0),
                                 "held": (frame["held_bytes"] - pages).clip(lower=0)})


# --- partial slabs pin pages -------------------------------------------------------------------------------------------

def fill_by_snapshot(run, row):
    """{snapshot: (time, share of the slabs' bytes in use)} of a stack, in order of time."""
    frame = run.cell("slabs.csv", row)
    if frame is None:
        return {}
    sums = frame.groupby("snapshot").agg({"time_ns": "first", "slab_bytes": "sum", "live_bytes": "sum"})
    return {int(number): (int(sums.time_ns[number]), sums.live_bytes[number] / max(1, sums.slab_bytes[number])) for number in sums.index}


def valley_of(run, place):
    """(snapshot, time) at which the slabs of a strategy have lost the largest part of their fill; None: none fell so far."""
    valley, least = None, FALLEN
    for row in strategies_of(run, place):
        fullest = 0.0
        for snapshot, (time, fill) in fill_by_snapshot(run, row).items():
            fullest = max(fullest, fill)
            if fill < least * fullest:
                valley, least = (snapshot, time), fill / fullest
    return valley


def pinned_numbers(run, place, row, frame, valley, table):
    """What fell and what stayed between the peak of the objects and the valley; None without samples there."""
    before = frame[frame["time_ns"] <= valley[1]]
    if before.empty:
        return None
    peak, end = before["requested"].idxmax(), before.index[-1]
    numbers = {"peak_time_ns": int(before["time_ns"][peak]), "valley_time_ns": valley[1]}
    for what in ("requested", "held"):
        numbers |= {f"peak_{what}_bytes": int(before[what][peak]), f"valley_{what}_bytes": int(before[what][end])}
        numbers[f"{what}_fell"] = 1 - numbers[f"valley_{what}_bytes"] / max(1, numbers[f"peak_{what}_bytes"])
    fills = run.cell("slabs.csv", row)
    if fills is not None:
        sparse = fills[(fills["snapshot"] == valley[0]) & (fills["fill_tenths"] == SPARSE)]
        for column in ("slabs", "slab_bytes", "live_objects"):
            numbers[f"sparse_{column}"] = int(sparse[column].sum())
    for quantity, value in numbers.items():
        table.add("pinned", place, row["allocator"], quantity, value)
    return numbers


def draw_fall(axes, rows, objects, start, moments):
    """What is held for objects by each strategy over what is asked for, over time."""
    first = objects.of(rows[-1]["allocator"])
    grey = figures.DEMAND_COLOURS[0]
    axes.fill_between(seconds(first, start), first["requested"] / MIB, color=grey, linewidth=0)
    handles, index = [mpl_patches.Patch(color=grey, label="requested")], 0
    for row in rows:
        recorded = row["allocator"] == schema.RECORDED
        style = families.RECORDED_STYLE if recorded else families.line_style(index)
        index += not recorded
        frame = objects.of(row["allocator"])
        axes.plot(seconds(frame, start), frame["held"] / MIB, **style, zorder=2.5 if recorded else 3)
        handles.append(mpl_lines.Line2D([], [], label="held: " + figures.label_of(row, 40), **style))
    for moment in moments:
        axes.axvline((moment - start) / 1e9, color="#707070", linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.set_xlabel("time since the first sample (s)")
    axes.set_title("for objects, over time (MiB)", loc="left", fontsize=figures.FONT_POINTS, pad=3)
    return handles


def draw_fills(axes, run, rows, valley):
    """A bar a stack: its slabs at the valley by how full they are."""
    backings = {row["allocator"].split("/")[-1] for row in rows}
    backing = backings.pop() if len(backings) == 1 else ""
    for y, row in enumerate(rows):
        fills = run.cell("slabs.csv", row)
        fills = fills[fills["snapshot"] == valley[0]]
        left = 0.0
        for lowest, highest, _, colour in FILLS:
            width = fills[fills["fill_tenths"].between(lowest, highest)]["slab_bytes"].sum() / MIB
            axes.barh(y, width, left=left, height=0.72, color=colour, edgecolor="white", linewidth=0.4)
            left += width
        sparse = fills[fills["fill_tenths"] == SPARSE]
        axes.text(left, y, f" {sparse['slabs'].sum():,} / {sparse['live_objects'].sum():,}", va="center", fontsize=figures.SMALL_POINTS)
    longest = max((patch.get_x() + patch.get_width() for patch in axes.patches), default=1)
    axes.set_xlim(0, longest * 1.4)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), labels=[families.short(row["allocator"].removesuffix(f"/{backing}"), 22) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"slabs by slots in use (MiB{', on ' + backing if backing else ''})")
    axes.set_title("slabs to 10 % full / objects", loc="right", fontsize=figures.FONT_POINTS, pad=3)


def filled_stacks(run, place):
    """The stacks whose slabs are compared: on the page allocator of the strategies, which changes nothing in a slab."""
    rows = [row for row in stacks_of(run, place) if run.cell("slabs.csv", row) is not None]
    backing = strategies_of(run, place)[0]["allocator"].split("/")[-1]
    return [row for row in rows if row["allocator"].split("/")[-1] == backing][:BARS] or rows[:BARS]


def pinned(run, place, table):
    """The figure, or None where the trace has no such fall."""
    valley, objects = valley_of(run, place), Objects(run, place)
    if valley is None:
        return None
    bars = filled_stacks(run, place)
    recorded = [row for row in run.rows(*place) if row["allocator"] == schema.RECORDED]
    numbers = {row["allocator"]: pinned_numbers(run, place, row, frame, valley, table)
               for row in [*recorded, *bars] if (frame := objects.of(row["allocator"])) is not None}
    lines = [row for row in [*recorded, *strategies_of(run, place)] if numbers.get(row["allocator"])]
    if not lines:
        return None
    height = max(2.3, 0.62 + 0.3 * len(bars))
    figure = pyplot.figure(figsize=(figures.WIDTH_INCHES, height))
    axes = [figure.add_axes([x, 0.42 / height, width, 1 - 0.62 / height]) for x, width in ((0.05, 0.44), (0.665, 0.325))]
    main = numbers[lines[-1]["allocator"]]
    handles = draw_fall(axes[0], lines, objects, run.start_ns(*place), (main["peak_time_ns"], main["valley_time_ns"]))
    draw_fills(axes[1], run, bars, valley)
    figure.spec_axes = [axes[1]]
    handles += [mpl_patches.Patch(color=colour, label=f"slots in use: {words}") for _, _, words, colour in FILLS]
    figure.legend(handles=handles, ncol=3, loc="lower left", bbox_to_anchor=(0.01, 1.0), columnspacing=1.2)
    notes = ["From the first dotted line, the peak of the objects, to the second, the recorded kernel's snapshot where the slabs had lost most of their fill:"]
    notes += [pinned_sentence(row["allocator"], numbers[row["allocator"]]) for row in lines]
    notes.append("Page demand is left out of both. A slab of SLOB is a page, or those of one large object.")
    above = 0.08 + figures.LEGEND_LINE_INCHES * -(-len(handles) // 3)
    return figures.finish(figure, figures.place_title("Partial slabs pin pages after a spike", *place), notes, above)


def signed(fell):
    return f"{-100 * fell:+.1f} %".replace("-", "\u2212")


def pinned_sentence(name, numbers):
    text = f"{name}: requested {signed(numbers['requested_fell'])}, held {signed(numbers['held_fell'])}"
    if "sparse_slabs" in numbers:
        text += (f", {numbers['sparse_slabs']:,} slabs ({mib(numbers['sparse_slab_bytes'])}) at most a tenth full are kept by "
                 f"{numbers['sparse_live_objects']:,} objects")
    return text + ";" if name == schema.RECORDED else text + "."


# --- many caches against few ---------------------------------------------------------------------------------------------

def without_merge(spec):
    """(the spec without its merge parameter, its value or None)."""
    found = re.search(r"(?<=[:,])merge=(\w+),?", spec)
    if not found:
        return spec, None
    rest = spec[:found.start()] + spec[found.end():]
    return re.sub(r"[:,](?=/|$)", "", rest), found.group(1)


def merge_pairs(run, place):
    """[(row of many caches, row of merged ones)]: stacks that differ in merge= alone."""
    rows = {row["allocator"]: row for row in stacks_of(run, place)}
    pairs = []
    for spec, row in rows.items():
        rest, value = without_merge(spec)
        if value != "on":
            continue
        many = next((rows[other] for other in rows if other != spec and without_merge(other) in ((rest, None), (rest, "off"))), None)
        if many and all(run.cell("samples.csv", which) is not None for which in (many, row)):
            pairs.append((many, row))
    return pairs


MERGE_QUANTITIES = (
    ("caches", "caches", lambda frame: frame["caches"]),
    ("slabs", "slabs", lambda frame: frame["slabs"]),
    ("free_slot_bytes", "free and\nparked slots", lambda frame: frame["waste_free_slots_bytes"] + frame["waste_cpu_cached_bytes"]),
    ("slab_bytes", "slab\nmemory", lambda frame: frame["slab_bytes"]),
    ("held_bytes", "held in all", lambda frame: frame["held_bytes"]),
)


def merge_numbers(run, place, many, few, table):
    """{quantity: (mean with many caches, mean with few)} over the samples."""
    frames = [run.moments("samples.csv", row) for row in (many, few)]
    numbers = {}
    for quantity, _, of in MERGE_QUANTITIES:
        values = [float(of(frame).mean()) for frame in frames]
        numbers[quantity] = tuple(values)
        for row, value in zip((many, few), values):
            table.add("merging", place, row["allocator"], f"mean_{quantity}", value)
    return numbers


def merging(run, level, table):
    """One figure a level: what merging changes, a group of bars a quantity, a bar a trace."""
    found = [(place, pair) for place in object_places(run) if place[1] == level for pair in merge_pairs(run, place)[:1]]
    if not found:
        return None
    numbers = [merge_numbers(run, place, *pair, table) for place, pair in found]
    figure = pyplot.figure(figsize=(figures.WIDTH_INCHES, 2.5))
    axes = figure.add_axes([0.085, 0.42 / 2.5, 0.905, 1 - 0.6 / 2.5])
    width = 0.84 / len(found)
    for index, ((place, _), of_trace) in enumerate(zip(found, numbers)):
        colour = families.LINE_COLOURS[index % len(families.LINE_COLOURS)]
        for x, (quantity, _, _) in enumerate(MERGE_QUANTITIES):
            many, few = of_trace[quantity]
            change = 100 * (few / many - 1) if many else 0.0
            at = x + (index - (len(found) - 1) / 2) * width
            axes.bar(at, change, width=width * 0.86, color=colour)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(MERGE_QUANTITIES)), labels=[words for _, words, _ in MERGE_QUANTITIES])
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("change by merging (%)")
    handles = [mpl_patches.Patch(color=families.LINE_COLOURS[i % len(families.LINE_COLOURS)], label=place[0]) for i, (place, _) in enumerate(found)]
    figure.legend(handles=handles, ncol=6, loc="lower left", bbox_to_anchor=(0.01, 1.0), columnspacing=1.4, handlelength=1.2)
    # In words only where most caches are merged; the table has all.
    most = min(range(len(found)), key=lambda i: numbers[i]["caches"][1] / max(1, numbers[i]["caches"][0]))
    notes = [merging_sentence(*found[most], numbers[most])]
    notes.append("Means over the samples. Where the recorded kernel had merged caches itself, fewer are left to merge.")
    above = 0.08 + figures.LEGEND_LINE_INCHES * -(-len(handles) // 6)
    return figures.finish(figure, f"Many caches against few: merging off and on, level {level}", notes, above)


def merging_sentence(place, pair, numbers):
    many, few = ({quantity: values[which] for quantity, values in numbers.items()} for which in (0, 1))
    return (f"{place[0]}, {pair[0]['allocator']} against {pair[1]['allocator']}: {many['caches']:.1f} caches against {few['caches']:.1f}, "
            f"{many['slabs']:,.0f} slabs against {few['slabs']:,.0f}, free and parked slots {mib(many['free_slot_bytes'])} against "
            f"{mib(few['free_slot_bytes'])}, slab memory {mib(many['slab_bytes'])} against {mib(few['slab_bytes'])}.")


# --- SLOB's footprint and its price ----------------------------------------------------------------------------------------

SLOB = "slob"


def growth(frame):
    """(requested, held) of the samples up to the peak of the objects, as far as the objects grow."""
    requested, held = frame["requested"].to_numpy(), frame["held"].to_numpy()
    top = int(requested.argmax()) + 1
    keep = (requested[:top] > 0) & (requested[:top] >= numpy.maximum.accumulate(requested[:top]))
    return requested[:top][keep], held[:top][keep]


def footprint_numbers(place, row, frame, timing, table):
    numbers = {
        "held_over_requested": row["peak_held_bytes"] / max(1, row["peak_requested_bytes"]),
        "objects_held_over_requested": float(frame["held"].max() / max(1, frame["requested"].max())),
        "steps_per_event": row["steps"] / max(1, row["events"]),
    }
    for quantity, value in numbers.items():
        table.add("footprint", place, row["allocator"], quantity, value)
    spent = timing.get(tuple(row[column] for column in schema.KEY))  # not the same twice: it stays in timing.csv
    return numbers if spent is None else {**numbers, "ns_per_event": spent}


FOOTPRINT_PANELS = (
    ("objects_held_over_requested", "peak held / peak\nrequested, objects", False),
    ("steps_per_event", "steps an event\n(log scale)", True),
    ("ns_per_event", "ns an event\n(log scale)", True),
)


def compared_with_slob(run, place):
    """The strategies of a place when SLOB and another are among them."""
    rows = [row for row in strategies_of(run, place) if run.cell("samples.csv", row) is not None]
    names = [families.base_name(row["allocator"]) for row in rows]
    return rows if SLOB in names and len(set(names)) > 1 else []


def widest(objects_of, rows_of):
    """The trace whose objects grow most from the first sample on: a boot, where there is one."""
    def span(place):
        requested, _ = growth(objects_of[place].of(rows_of[place][0]["allocator"]))
        return requested[-1] / requested[0] if len(requested) else 0
    return max(rows_of, key=span)


def draw_growth(axes, place, rows, objects, styles):
    for row in rows:
        requested, held = growth(objects.of(row["allocator"]))
        axes.plot(requested / MIB, held / numpy.maximum(1, requested), **styles[row["allocator"]])
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlabel("requested by objects (MiB, log scale)")
    axes.set_title(f"{place[0]}: held / requested, objects", loc="left", fontsize=figures.FONT_POINTS, pad=3)


def plain_log(axis):
    axis.set_major_locator(figures.matplotlib.ticker.LogLocator(subs=(1, 3)))
    axis.set_major_formatter(figures.PLAIN_NUMBERS)
    axis.set_minor_formatter(figures.matplotlib.ticker.NullFormatter())


def draw_panel(axes, panel, numbers, names, styles):
    """One quantity of every trace (a row) and strategy (a marker)."""
    quantity, words, logarithmic = panel
    for y, at in enumerate(numbers.values()):
        for name, of in at.items():
            if quantity in of and not (logarithmic and of[quantity] <= 0):
                axes.plot(of[quantity], y, marker=figures.MARKERS[names.index(name) % len(figures.MARKERS)], markersize=5, linestyle="",
                          color=styles[name]["color"], clip_on=False)
    if logarithmic:
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    axes.set_xlabel(words)


def footprint(run, level, timing, table):
    """One figure a level: held over requested while the objects grow, then what each trace holds and costs."""
    rows_of = {place: compared_with_slob(run, place) for place in object_places(run) if place[1] == level}
    rows_of = {place: rows for place, rows in rows_of.items() if rows}
    if not rows_of:
        return None
    objects_of = {place: Objects(run, place) for place in rows_of}
    names = list(dict.fromkeys(row["allocator"] for rows in rows_of.values() for row in rows))
    styles = {name: families.line_style(i) for i, name in enumerate(names)}
    numbers = {place: {row["allocator"]: footprint_numbers(place, row, objects_of[place].of(row["allocator"]), timing, table) for row in rows}
               for place, rows in rows_of.items()}
    panels = [panel for panel in FOOTPRINT_PANELS if any(panel[0] in of for at in numbers.values() for of in at.values())]
    height = max(2.2, 0.75 + 0.26 * len(rows_of))
    figure = pyplot.figure(figsize=(figures.WIDTH_INCHES, height))
    bottom, tall = 0.56 / height, 1 - 0.78 / height
    boot = widest(objects_of, rows_of)
    draw_growth(figure.add_axes([0.06, bottom, 0.34, tall]), boot, rows_of[boot], objects_of[boot], styles)
    first = None
    for number, panel in enumerate(panels):
        axes = figure.add_axes([0.5 + number * 0.5 / len(panels), bottom, 0.5 / len(panels) - 0.025, tall], sharey=first)
        first = first or axes
        draw_panel(axes, panel, numbers, names, styles)
        axes.tick_params(axis="y", length=0, labelleft=number == 0)
    first.set_yticks(range(len(rows_of)), labels=[place[0] for place in rows_of])
    first.set_ylim(len(rows_of) - 0.5, -0.5)
    handles = [mpl_lines.Line2D([], [], marker=figures.MARKERS[i % len(figures.MARKERS)], markersize=5, label=name, **styles[name])
               for i, name in enumerate(names)]
    figure.legend(handles=handles, ncol=4, loc="lower left", bbox_to_anchor=(0.01, 1.0), columnspacing=1.4)
    notes = footprint_notes(boot, rows_of[boot], objects_of[boot], numbers[boot], table)
    return figures.finish(figure, f"SLOB's footprint and its price, level {level}", notes, 0.08 + figures.LEGEND_LINE_INCHES * -(-len(handles) // 4))


def footprint_notes(place, rows, objects, numbers, table):
    """Sentences on SLOB against each other strategy while the objects grow."""
    names = [row["allocator"] for row in rows]
    slob = next(name for name in names if families.base_name(name) == SLOB)
    requested, of_slob = growth(objects.of(slob))
    notes = []
    for other in (name for name in names if name != slob):
        share = of_slob / numpy.maximum(1, numpy.interp(requested, *growth(objects.of(other))))
        least, smaller = int(share.argmin()), requested[share < 1]
        found = {"slob_least_share_of_held": float(share[least]), "slob_least_share_at_requested_bytes": int(requested[least]),
                 "slob_holds_less_up_to_requested_bytes": int(smaller[-1]) if len(smaller) else 0, "slob_share_of_held_at_peak": float(share[-1])}
        for quantity, value in found.items():
            table.add("footprint", place, other, quantity, value)
        how = (f"it holds {percent(share[least])} of that at {mib(requested[least])} of objects, less up to {mib(smaller[-1])}, "
               if len(smaller) else "it never holds less, ")
        notes.append(f"{place[0]}, {slob} against {other}: {how}{percent(share[-1])} at the peak; "
                     f"{numbers[slob]['steps_per_event']:.1f} steps an event against {numbers[other]['steps_per_event']:.1f}.")
    notes.append("Where a trace begins in mid-life, SLUB starts with the slabs of the recorded kernel; strategies whose slabs have another size start with packed ones. "
                 "Page demand is left out. Steps: objects handed over or moved between lists, slots of new slabs, pages and free blocks "
                 "searched; the same in every replay. ns: of the machine that ran it.")
    return notes


# --- the program ---------------------------------------------------------------------------------------------------------------

def make_all(options):
    run = figures.Run(options.directory, ["samples.csv", "orders.csv", "slabs.csv"])
    timing, table, drawn = schema.read_timing(options.directory), Table(), []
    levels = list(dict.fromkeys(level for _, level in run.places))
    with figures.matplotlib.rc_context(figures.STYLE):
        drawn += [(figures.file_name("classic_pinned", *place), pinned(run, place, table)) for place in object_places(run)]
        drawn += [(f"classic_merging-{level}", merging(run, level, table)) for level in levels]
        drawn += [(f"classic_footprint-{level}", footprint(run, level, timing, table)) for level in levels]
        folder = program.figures_folder(options.directory)
        paths = [path for name, figure in drawn if figure is not None for path in figures.save(figure, folder, name, options.format)]
    if table.rows:
        paths.append(os.path.join(options.directory, "tables", "classics.csv"))
        schema.write_whole(paths[-1], table.text())
    return paths


def main(arguments=None):
    parser = program.parser_of("Classic results about object allocators, from the replays of a run.", "RUN_DIR", "folder written by `kmemlab run`")
    return program.run("classics", make_all, parser.parse_args(arguments),
                       nothing="classics: the run shows none of them (no object stacks, or too little happened to them)")


if __name__ == "__main__":
    sys.exit(main())
