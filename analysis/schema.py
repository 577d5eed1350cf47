"""What analysis knows of results/: the columns of each file (results/README.md), and how to say what is wrong with one.

Standard library only, so that the summary works on a machine without numpy, pandas or matplotlib.
Invariant: a SchemaError is one sentence that names the file and, where there is one, the line and the column.
"""

import csv
import math
import os

KEY = ("trace", "allocator", "level")
LEVELS = ("all", "objects", "pages")

# The seven waste terms in the order of enum kml_waste: (column stem, words for people).
WASTE = (
    ("class_rounding", "class rounding"),
    ("slab_tail", "slab tail"),
    ("management", "alignment, colour, management"),
    ("free_slots", "free slots in slabs"),
    ("cpu_cached", "cached per cpu"),
    ("buddy_rounding", "buddy rounding"),
    ("external", "external"),
)
WASTE_COLUMNS = tuple(f"waste_{stem}_bytes" for stem, _ in WASTE)

RECORDED = "recorded"  # the real kernel's own placement
NOP = "nop"            # keeps nothing: the cost of the harness, not an allocator


def is_stack(spec):
    """An object strategy on a page allocator."""
    return "/" in spec


class SchemaError(Exception):
    """A results file is not what results/README.md says."""


def _text(value):
    return value


def _count(value):
    number = int(value)
    if not 0 <= number < 1 << 63:
        raise ValueError(value)
    return number


def _optional_count(value):
    return None if value == "" else _count(value)


def _number(value):
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _optional_number(value):
    return None if value == "" else _number(value)


def _cells(value):
    """Two hexadecimal digits a cell of the arena."""
    return bytes.fromhex(value)


TYPE_NAMES = {
    _text: "text",
    _count: "a whole number, 0 or more",
    _optional_count: "a whole number, 0 or more, or nothing",
    _number: "a number",
    _optional_number: "a number, or nothing",
    _cells: "two hexadecimal digits a cell",
}


def _columns(*groups, key=KEY):
    table = {name: _text for name in key}
    for kind, names in groups:
        table.update({name: kind for name in names.split()})
    return table


SUMMARY = _columns(
    (_text, "status reason"),
    (_count, "arena_bytes"),
    (_optional_count, "min_arena_bytes"),
    (_count, "events allocations frees failed_no_memory failed_no_run failed_impossible"),
    (_count, "peak_requested_bytes peak_granted_bytes peak_held_bytes peak_metadata_bytes"),
    (_count, "mean_requested_bytes mean_granted_bytes mean_held_bytes"),
    (_number, "internal_fragmentation slab_slack jw1 jw2 jw3 jw4"),
    (_optional_number, "unusable_index_order4_mean"),
    (_count, " ".join(WASTE_COLUMNS) + " splits merges steps"),
)
SAMPLES = _columns(
    (_count, "sample event time_ns live_blocks requested_bytes granted_bytes held_bytes metadata_bytes"),
    (_count, "free_bytes largest_free_bytes " + " ".join(WASTE_COLUMNS) + " splits merges steps"),
    (_count, "caches slabs slab_bytes slab_objects live_objects"),
)
ORDERS = _columns(
    (_count, "sample time_ns order block_bytes free_blocks"),
    (_number, "unusable_index extfrag_index"),
)
MAP = _columns((_count, "sample time_ns cell_bytes"), (_cells, "occupancy"))
SLABS = _columns((_count, "snapshot time_ns"), (_text, "label"), (_count, "fill_tenths slabs slab_bytes live_objects live_bytes"))
TIMING = _columns((_count, "events elapsed_ns"), (_number, "ns_per_event"))

FILES = {
    "summary.csv": SUMMARY,
    "samples.csv": SAMPLES,
    "orders.csv": ORDERS,
    "map.csv": MAP,
    "slabs.csv": SLABS,
    "timing.csv": TIMING,
}
# Of an invalid cell these are all that is known.
ALWAYS_SET = KEY + ("status", "reason")


def file_of(run_directory, name):
    """The path of one of a run's files; SchemaError when the run or the file is not there."""
    if not os.path.isdir(run_directory):
        raise SchemaError(f"{run_directory}: no such run folder; `kmemlab run` makes one")
    path = os.path.join(run_directory, name)
    if not os.path.isfile(path):
        raise SchemaError(f"{path}: missing; `kmemlab run` writes it")
    return path


def check_shape(path, columns):
    """Only the shape: a header with every column, and as many fields in each line. SchemaError names what is not so."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, None)
            check_header(path, header, columns)
            odd = next((reader.line_num for row in reader if len(row) != len(header)), None)
    except (OSError, UnicodeDecodeError, csv.Error):
        odd = 0
    if odd is not None:
        read_rows(path, columns)  # says it in words


def check_header(path, header, columns):
    """SchemaError when a column is missing; columns beyond the contract are allowed."""
    if not header:
        raise SchemaError(f"{path}: empty file, no header line")
    missing = [name for name in columns if name not in header]
    if missing:
        raise SchemaError(f"{path}: column {missing[0]} is missing (results/README.md lists the columns)")
    repeated = [name for name in columns if header.count(name) > 1]
    if repeated:
        raise SchemaError(f"{path}: column {repeated[0]} appears twice")


def _convert(path, line, row, header, columns):
    if len(row) != len(header):
        raise SchemaError(f"{path}: line {line}: {len(row)} fields where the header names {len(header)}, "
                          f"from column {header[min(len(row), len(header) - 1)]} on")
    fields = dict(zip(header, row))
    known_only = ALWAYS_SET if fields.get("status") == "invalid" else tuple(columns)
    values = {}
    for name, kind in columns.items():
        if fields[name] == "" and name not in known_only:
            values[name] = None
            continue
        try:
            values[name] = kind(fields[name])
        except ValueError:
            raise SchemaError(f"{path}: line {line}: column {name} is '{fields[name][:40]}', "
                              f"not {TYPE_NAMES[kind]}") from None
    return values


def read_rows(path, columns, may_be_empty=False):
    """Every row of a CSV file as a dictionary of converted values. SchemaError for anything out of contract."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, None)
            check_header(path, header, columns)
            rows = [_convert(path, reader.line_num, row, header, columns) for row in reader if row]
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SchemaError(f"{path}: not a UTF-8 text file") from None
    except csv.Error as error:
        raise SchemaError(f"{path}: not a CSV file: {error}") from None
    if not rows and not may_be_empty:
        raise SchemaError(f"{path}: no rows under the header (column {next(iter(columns))} has no value)")
    return rows


def grouped(rows, key=KEY):
    """{values of the key's columns: its rows}, in the order of the file."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in key), []).append(row)
    return groups


def read_summary(run_directory):
    """summary.csv: one dictionary a cell, in the order of the run."""
    path = file_of(run_directory, "summary.csv")
    rows = read_rows(path, SUMMARY)
    seen = set()
    for number, row in enumerate(rows, start=2):
        if row["status"] not in ("ok", "invalid"):
            raise SchemaError(f"{path}: line {number}: column status is '{row['status'][:40]}', not ok or invalid")
        key = tuple(row[name] for name in KEY)
        if key in seen:
            raise SchemaError(f"{path}: line {number}: column allocator repeats {row['allocator']} "
                              f"on trace {row['trace']} at level {row['level']}")
        seen.add(key)
    return rows


def read_timing(run_directory):
    """{(trace, allocator, level): ns per event}; empty when the run kept no timing.csv."""
    if not os.path.isfile(os.path.join(run_directory, "timing.csv")):
        return {}
    rows = read_rows(file_of(run_directory, "timing.csv"), TIMING)
    return {tuple(row[name] for name in KEY): row["ns_per_event"] for row in rows}


def failures(row):
    """Allocations refused, whatever the reason."""
    return row["failed_no_memory"] + row["failed_no_run"] + row["failed_impossible"]


def demands(rows):
    """
    {(trace, level): peak requested bytes}. The demand belongs to the trace: the largest over its valid cells, because
    a cell that refuses requests shows less. The recorded kernel speaks only where it is alone.
    """
    peak = {}
    for row in sorted(rows, key=lambda row: row["allocator"] == RECORDED):
        place = (row["trace"], row["level"])
        if row["status"] != "ok" or (row["allocator"] == RECORDED and place in peak):
            continue
        peak[place] = max(peak.get(place, 0), row["peak_requested_bytes"])
    return peak


def places(rows):
    """Every (trace, level) in the order of the run."""
    return list(dict.fromkeys((row["trace"], row["level"]) for row in rows))


def allocators(rows):
    """Every allocator in the order of the run, the recorded kernel first."""
    names = dict.fromkeys(row["allocator"] for row in rows)
    return [name for name in names if name == RECORDED] + [name for name in names if name != RECORDED]


def write_whole(path, text):
    """Write beside the final name, then rename: nothing partial is ever seen. SchemaError when it cannot be written."""
    partial = f"{path}.partial-{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(partial, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(partial, path)
    except OSError as error:
        if os.path.exists(partial):
            os.remove(partial)
        raise SchemaError(f"{path}: cannot be written: {error.strerror}") from None
