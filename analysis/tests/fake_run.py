"""Writes a made-up run folder that follows results/README.md to the letter, for the tests. No figure of it means anything.

As a program: fake_run.py DIR [SAMPLES]
"""

import csv
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir))
import schema  # noqa: E402

PAGE = 4096
MIB = 1 << 20
CELLS = 64

# name: (waste over requested, shares of the seven terms in that waste, smallest arena over requested peak)
ALLOCATORS = {
    "nop": (0.0, (0, 0, 0, 0, 0, 0, 0), None),
    "recorded": (0.30, (10, 4, 2, 40, 0, 14, 30), None),
    "best_fit": (0.10, (0, 0, 20, 0, 0, 5, 75), 1.09),
    "binary": (0.38, (0, 0, 0, 0, 0, 80, 20), 1.61),
    "binary:max_order=10,policy=fifo": (0.39, (0, 0, 0, 0, 0, 79, 21), 1.63),
    "binary:max_order=10,policy=lowest": (0.37, (0, 0, 0, 0, 0, 82, 18), 1.52),
    "dual": (0.27, (0, 0, 0, 0, 0, 70, 30), 1.48),
    "fibonacci": (0.30, (0, 0, 0, 0, 0, 60, 40), 1.55),
    "fibonacci:j=3": (0.26, (0, 0, 0, 0, 0, 50, 50), 1.72),
    "first_fit": (0.12, (0, 0, 20, 0, 0, 5, 75), 1.13),
    "kary:k=3": (0.55, (0, 0, 0, 0, 0, 90, 10), 1.95),
    "kary:k=4": (0.70, (0, 0, 0, 0, 0, 92, 8), 2.30),
    "kary:k=8": (1.60, (0, 0, 0, 0, 0, 95, 5), 4.80),
    "kary:k=16": (3.60, (0, 0, 0, 0, 0, 97, 3), 0),
    "tertiary": (0.25, (0, 0, 0, 0, 0, 65, 35), 1.50),
    "weighted": (0.24, (0, 0, 0, 0, 0, 55, 45), 1.58),
    "weighted:sizes=64k+128k+256k": (None, None, None),
    "slab/binary": (0.26, (12, 20, 18, 30, 20, 0, 0), 1.35),
    "slob/binary": (0.34, (0, 0, 10, 90, 0, 0, 0), 1.42),
    "slub/binary": (0.24, (9, 4, 2, 60, 25, 0, 0), 1.31),
    "slub/fibonacci": (0.30, (9, 4, 2, 35, 15, 30, 5), 1.40),
    "slub:merge=on/binary": (0.23, (11, 4, 2, 58, 25, 0, 0), 1.30),
    "slub:profile=linux-6.18/binary:max_order=10": (0.28, (9, 4, 2, 35, 15, 5, 30), 1.37),
}
BROKEN = "weighted:sizes=64k+128k+256k"


def whole(total, shares):
    """Split a whole number by shares, without remainder."""
    scale = sum(shares) or 1
    parts = [total * share // scale for share in shares]
    parts[-1] += total - sum(parts)
    return parts


def requested_at(trace_number, step, steps):
    phase = step / steps
    return int((3 + trace_number) * MIB * (0.3 + 0.7 * phase + 0.15 * math.sin(9 * phase + trace_number)))


def cell_samples(spec, trace_number, steps):
    overhead, shares, _ = ALLOCATORS[spec]
    for step in range(steps):
        requested = requested_at(trace_number, step, steps)
        waste = whole(int(requested * overhead * (0.7 + 0.3 * step / steps)), shares)
        held = requested + sum(waste)
        yield {
            "sample": step, "event": (step + 1) * 1000, "time_ns": 5_000_000_000 + step * 40_000_000 + step * step * 1000,
            "live_blocks": requested // 200, "requested_bytes": requested, "granted_bytes": requested + waste[5],
            "held_bytes": held, "metadata_bytes": held // PAGE * 16, "free_bytes": 20 * MIB - held,
            "largest_free_bytes": MIB, **dict(zip(schema.WASTE_COLUMNS, waste)),
            "splits": 0 if spec in ("nop", "recorded") else step * 700, "merges": 0 if spec in ("nop", "recorded") else step * 650,
            **slab_figures(spec, requested, waste, step),
        }


def slab_figures(spec, requested, waste, step):
    """Half of what is requested is objects of 256 bytes; caches of slabs where the stack has such."""
    if not schema.is_stack(spec) and spec != schema.RECORDED:
        return dict.fromkeys(("steps", "caches", "slabs", "slab_bytes", "slab_objects", "live_objects"), 0)
    slab_bytes, live = requested // 2 + sum(waste[:5]), requested // 512
    return {"steps": step * 1000 * (40 if spec.startswith("slob") else 2), "caches": 3 if "merge=on" in spec else 5,
            "slabs": -(-slab_bytes // (4 * PAGE)), "slab_bytes": slab_bytes, "slab_objects": live + waste[3] // 256, "live_objects": live}


def slab_fill(sample, snapshot):
    """Rows of slabs.csv: a tenth of the slabs nearly empty, the rest full; nearly all of them empty after the middle."""
    slabs = sample["slabs"]
    sparse = slabs * (8 if snapshot == 1 else 1) // 10
    for tenths, part, objects in ((1, sparse, sparse), (10, slabs - sparse, 60 * (slabs - sparse))):
        yield {"snapshot": snapshot, "time_ns": sample["time_ns"], "label": f"{snapshot:04d}", "fill_tenths": tenths, "slabs": part,
               "slab_bytes": part * 4 * PAGE, "live_objects": objects, "live_bytes": objects * 256}


def cell_orders(sample, seed):
    for order in range(11):
        unusable = min(1.0, (order / 10) ** (1 + seed % 4) * (0.3 + sample["sample"] / 400))
        yield {"sample": sample["sample"], "time_ns": sample["time_ns"], "order": order, "block_bytes": PAGE << order,
               "free_blocks": max(0, 3000 * (1 + seed % 5) >> order), "unusable_index": f"{unusable:.3f}",
               "extfrag_index": "-1.000"}


def cell_map(sample, seed):
    taken = [max(0, min(255, int(255 * (1.2 - i / CELLS * (2.2 - sample["sample"] / 100)) + 20 * math.sin(i * seed))))
             for i in range(CELLS)]
    return {"sample": sample["sample"], "time_ns": sample["time_ns"], "cell_bytes": 20 * MIB // CELLS,
            "occupancy": bytes(taken).hex()}


def summary_row(spec, samples):
    peak = max(samples, key=lambda row: row["held_bytes"])
    least = ALLOCATORS[spec][2]
    top = {name: max(row[f"{name}_bytes"] for row in samples) for name in ("requested", "granted", "held", "metadata")}
    mean = {name: sum(row[f"{name}_bytes"] for row in samples) // len(samples) for name in ("requested", "granted", "held")}
    ratio = f"{top['held'] / top['requested']:.6f}"
    return {
        "status": "ok", "reason": "", "arena_bytes": 20 * MIB,
        "min_arena_bytes": "" if least is None else int(least * top["requested"]),
        "events": 1000 * len(samples), "allocations": 600 * len(samples), "frees": 400 * len(samples),
        "failed_no_memory": 0, "failed_no_run": 17 if spec == "kary:k=16" else 0, "failed_impossible": 0,
        **{f"peak_{name}_bytes": value for name, value in top.items()},
        **{f"mean_{name}_bytes": value for name, value in mean.items()},
        "internal_fragmentation": f"{1 - mean['requested'] / mean['granted']:.6f}",
        "slab_slack": f"{1 - mean['granted'] / mean['held']:.6f}", "jw1": ratio, "jw2": ratio, "jw3": ratio, "jw4": ratio,
        "unusable_index_order4_mean": "0.123", **{name: peak[name] for name in schema.WASTE_COLUMNS},
        **{name: samples[-1][name] for name in ("splits", "merges", "steps")},
    }


def invalid_row():
    return {"status": "invalid", "reason": "the largest request is 1 MiB, the largest weight 256 KiB"}


def write(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make_run(directory, steps=12, traces=("compile", "fork-storm"), level="all", specs=None):
    """Write summary, samples, orders, map and timing of every trace on every allocator."""
    os.makedirs(directory, exist_ok=True)
    tables = {name: [] for name in schema.FILES}
    for trace_number, trace in enumerate(traces):
        for seed, spec in enumerate(specs or ALLOCATORS):
            key = dict(zip(schema.KEY, (trace, spec, level)))
            if spec == BROKEN:
                tables["summary.csv"].append({**key, **invalid_row()})
                continue
            samples = list(cell_samples(spec, trace_number, steps))
            tables["summary.csv"].append({**key, **summary_row(spec, samples)})
            tables["samples.csv"] += [{**key, **row} for row in samples]
            tables["timing.csv"].append({**key, "events": 1000 * steps, "elapsed_ns": 1000 * steps * (20 + seed),
                                         "ns_per_event": f"{20 + seed:.3f}"})
            if spec == schema.NOP:
                continue
            if schema.is_stack(spec):
                for snapshot, row in enumerate((samples[0], samples[len(samples) // 2], samples[-1])):
                    tables["slabs.csv"] += [{**key, **fill} for fill in slab_fill(row, snapshot)]
            for row in samples:
                tables["orders.csv"] += [{**key, **order} for order in cell_orders(row, seed)]
                tables["map.csv"].append({**key, **cell_map(row, seed)})
    for name, rows in tables.items():
        write(os.path.join(directory, name), schema.FILES[name], rows)
    return directory


if __name__ == "__main__":
    make_run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200)
