#!/usr/bin/python3
"""The figure of a forecast: reads fidelity.csv in DIR (of `kmemlab fidelity --out DIR`), writes DIR/figures/fidelity-TRACE.{png,pdf}.

All slab pages over time, predicted and actual, and the caches that are off farthest, each in a panel of its own.
Same CSV file, same bytes out. Exit status: 0; 2 when the file is not what results/README.md says; 3 when a Python module
is missing.
"""

import sys

import program
import schema

if __name__ == "__main__":
    program.fix_hash_seed()

import figures

pyplot = figures.pyplot

WORST = 6
COLUMNS = 3
PANEL_INCHES = 1.35
TOTAL_INCHES = 2.1
GAP_INCHES = 0.55
LEFT_INCHES, RIGHT_INCHES, BELOW_INCHES = 0.62, 0.12, 0.5
ACTUAL_COLOUR, PREDICTED_COLOUR = "#000000", "#D55E00"

CACHES = schema._columns(
    (schema._text, "snapshot cache"),
    (schema._count, "time_ns event judged left_out predicted_pages actual_pages predicted_slabs actual_slabs"),
    (schema._count, "predicted_live_objects predicted_active_objects actual_active_objects actual_total_objects"),
)


class Forecast:
    """One trace on one stack: pages of each cache at each snapshot."""

    def __init__(self, key, rows):
        self.trace, self.allocator, self.level = key
        self.rows = [row for row in rows if not row["left_out"]]
        self.left_out = sorted({row["cache"] for row in rows if row["left_out"]})
        self.times = sorted({row["time_ns"] for row in rows})
        self.judged = {row["time_ns"]: row["judged"] for row in rows}

    def curve(self, column, cache=None):
        """The column over the snapshots, of one cache or of all; 0 where a cache has no row."""
        sums = dict.fromkeys(self.times, 0)
        for row in self.rows:
            if cache is None or row["cache"] == cache:
                sums[row["time_ns"]] += row[column]
        return list(sums.values())

    def errors(self):
        """{cache: pages off, over the judged snapshots}."""
        errors = {}
        for row in self.rows:
            if row["judged"]:
                errors[row["cache"]] = errors.get(row["cache"], 0) + abs(row["predicted_pages"] - row["actual_pages"])
        return errors

    def worst(self):
        errors = self.errors()
        if len(errors) == 1:
            return []  # the sum is all there is
        return sorted((cache for cache in errors if errors[cache]), key=lambda cache: (-errors[cache], cache))[:WORST]

    def wmape(self):
        actual = sum(row["actual_pages"] for row in self.rows if row["judged"])
        return sum(self.errors().values()) / actual if actual else None


def read_forecasts(directory):
    rows = schema.read_rows(schema.file_of(directory, "fidelity.csv"), CACHES)
    return [Forecast(key, of) for key, of in schema.grouped(rows).items()]


def draw_curves(axes, forecast, cache):
    seconds = [time / 1e9 for time in forecast.times]
    axes.plot(seconds, forecast.curve("actual_pages", cache), color=ACTUAL_COLOUR, marker="o", markersize=3, linewidth=1.4)
    axes.plot(seconds, forecast.curve("predicted_pages", cache), color=PREDICTED_COLOUR, marker="x", markersize=4,
              linewidth=1.1, linestyle=(0, (4, 2)))
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02, y=0.08)


def panel(figure, left, top, width, height):
    """Axes at a place in inches from the left and the top."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes([left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height])


def draw(forecast):
    worst = forecast.worst()
    rows = -(-len(worst) // COLUMNS)
    height = TOTAL_INCHES + rows * (PANEL_INCHES + GAP_INCHES) + BELOW_INCHES
    figure = pyplot.figure(figsize=(figures.WIDTH_INCHES, height))
    wide = figures.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
    axes = panel(figure, LEFT_INCHES, 0, wide, TOTAL_INCHES)
    draw_curves(axes, forecast, None)
    axes.set_ylabel("slab pages")
    axes.legend(["the kernel", "predicted"], loc="lower right", bbox_to_anchor=(1, 1), ncol=2)
    errors = forecast.errors()
    narrow = (wide - (COLUMNS - 1) * LEFT_INCHES) / COLUMNS
    for index, cache in enumerate(worst):
        left = LEFT_INCHES + index % COLUMNS * (narrow + LEFT_INCHES)
        top = TOTAL_INCHES + GAP_INCHES + index // COLUMNS * (PANEL_INCHES + GAP_INCHES)
        axes = panel(figure, left, top, narrow, PANEL_INCHES)
        draw_curves(axes, forecast, cache)
        axes.set_title(f"{cache}: {errors[cache]} off", loc="left")
    figure.axes[-1].set_xlabel("seconds")
    return figures.finish(figure, f"Slabs of {forecast.trace}: the kernel's and those of {forecast.allocator}", notes_of(forecast, worst),
                          above_inches=0.26)


def notes_of(forecast, worst):
    wmape = forecast.wmape()
    notes = ["Pages of slabs at each snapshot; the first is where the forecast begins."]
    if wmape is not None:
        notes.append(f"WMAPE {100 * wmape:.3f} % over the snapshots after it.")
    if worst:
        notes.append("Below the caches that are farthest off, in pages summed over snapshots.")
    elif not any(forecast.errors().values()):
        notes.append("Nothing is off.")
    if forecast.left_out:
        notes.append(f"Left out, as part of the recording: {', '.join(forecast.left_out)}.")
    return notes


def make_all(options):
    return figures.draw_all(options, [(figures.file_name(f"fidelity-{forecast.trace}"), draw, forecast)
                                      for forecast in read_forecasts(options.directory)])


def main(arguments=None):
    parser = program.parser_of("The figure of `kmemlab fidelity --out DIR`.", "DIR", "the folder with fidelity.csv")
    return program.run("fidelity", make_all, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
