"""What a campaign has to say: stability, the allocators' lines that its corpora cover, the table, report.json and report.txt."""

import json
import os
import re
import shutil

from builds import SOURCE
from tools import files_in, run, tail, write_json, write_whole

# Which lines count: of programs the allocators', the checkers left out; of parsers those that read.
PARTS = {"allocators": re.compile(r"^allocators/(?!check/)"), "parsers": re.compile(r"^(traces|workloads)/|^allocators/(spec|plugin)\.c|^fuzz/text\.c")}


def loaded(text):
    """What the corpus covers, from libFuzzer's line after it was read: (edges, features)."""
    found = re.search(r"INITED\s+cov: (\d+) ft: (\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def stability(build, environment, target, folder):
    """
    Percent of edges that the corpus covers in each of three orders: what an input does must not depend on what ran before
    it. None without a corpus.
    """
    if not files_in(folder.corpus):
        return None
    seen = []
    for order in (["-shuffle=0"], ["-shuffle=1", "-seed=1"], ["-shuffle=1", "-seed=2"]):
        limit = [f"-max_len={target['bytes_max']}"] if target["bytes_max"] else []
        _, _, errors = run([build.path("kmemlab-fuzz"), "-runs=0", f"-artifact_prefix={folder.artifacts}/", *order, *limit, folder.corpus],
                           env={**os.environ, **environment})
        seen.append(loaded(errors))
    if None in seen:
        return None
    return round(min(100 * min(values) / max(1, max(values)) for values in zip(*seen)), 2)


class Lines:
    """Lines covered, by llvm-cov, of the build `fuzz-coverage`."""

    def __init__(self, build, out, unwanted):
        self.build, self.out, self.wanted = build, out, not unwanted
        self.missing = [tool for tool in ("llvm-profdata", "llvm-cov") if self.wanted and not shutil.which(tool)]

    def measure(self, target, folder, environment):
        """Run the corpus; {part: [covered, all]} or None."""
        raw, data = folder.path / "coverage.profraw", folder.path / "coverage.profdata"
        if not self.wanted or self.missing or not files_in(folder.corpus):
            return None
        run([self.build.path("kmemlab-fuzz"), target["name"], folder.corpus], env={**os.environ, **environment, "LLVM_PROFILE_FILE": str(raw)})
        if not raw.exists():
            return None
        run(["llvm-profdata", "merge", "-sparse", "-o", data, raw])
        raw.unlink()
        return self._export(data)

    def together(self, folders):
        data = [folder.path / "coverage.profdata" for folder in folders if (folder.path / "coverage.profdata").exists()]
        if not self.wanted or self.missing or not data:
            return None
        everything = self.out / "coverage.profdata"
        run(["llvm-profdata", "merge", "-sparse", "-o", everything, *data])
        return self._export(everything)

    def _export(self, data):
        status, output, errors = run(["llvm-cov", "export", "-summary-only", f"-instr-profile={data}", self.build.path("kmemlab-fuzz")])
        if status != 0:
            return {"error": tail(errors, 2)}
        sums = {part: [0, 0] for part in PARTS}
        for entry in json.loads(output)["data"][0]["files"]:
            name = os.path.relpath(entry["filename"], SOURCE)
            for part, pattern in PARTS.items():
                if pattern.search(name):
                    sums[part][0] += entry["summary"]["lines"]["covered"]
                    sums[part][1] += entry["summary"]["lines"]["count"]
        return sums


def share(lines, part):
    return f"{lines[part][0]} ({100 * lines[part][0] / lines[part][1]:.0f} %)" if lines and lines.get(part, [0, 0])[1] else "-"


def make(books, targets, engines, canary, missing, interrupted):
    """The report as data: a row a target and engine, the finds, the lines in all."""
    state = books.state
    rows = []
    for target in targets:
        for engine in engines:
            pair = books.pair(target["name"], engine)
            mine = {name: find for name, find in state["finds"].items() if find["target"] == target["name"]}
            seen = {crash["find"] for key, crash in state["crashes"].items()
                    if key.split("/")[0] == target["name"] and crash["engine"] == engine and crash["find"] in mine}
            coverage = state["coverage"].get(target["name"], {})
            rows.append({"target": target["name"], "kind": target["kind"], "engine": engine, "seconds": round(pair["seconds"], 1),
                         "executions": pair["executions"], "executions_per_second": round(pair["executions"] / pair["seconds"]) if pair["seconds"] else 0,
                         "edges": pair["edges"], "corpus": coverage.get("corpus", 0), "crashes": len(seen),
                         "stability_percent": pair["stability"], "lines": coverage.get("lines")})
    return {"rows": rows, "finds": state["finds"], "lines": state["coverage"].get("", {}).get("lines"), "canary": canary,
            "missing_tools": missing, "interrupted": interrupted}


def columns(row):
    part = "parsers" if row["kind"] == "parser" else "allocators"
    stable = "-" if row["stability_percent"] is None else f"{row['stability_percent']:.2f}"
    return [row["target"], row["engine"], f"{row['seconds']:.0f}", str(row["executions"]), str(row["executions_per_second"]), str(row["edges"]),
            str(row["corpus"]), str(row["crashes"]), stable, share(row["lines"], part)]


HEAD = ["target", "engine", "seconds", "executions", "per second", "edges", "corpus", "crashes", "stable %", "lines"]


def text(report):
    table = [HEAD] + [columns(row) for row in report["rows"]]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    lines = []
    for line in table:
        fields = [field.ljust(width) if i < 2 else field.rjust(width) for i, (field, width) in enumerate(zip(line, widths))]
        lines.append("  ".join(fields).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    lines.append("")
    if report["lines"]:
        lines.append(f"Lines covered by all corpora together: allocators {share(report['lines'], 'allocators')}, parsers {share(report['lines'], 'parsers')}")
    if report["missing_tools"]:
        lines.append(f"Lines are not counted: {' and '.join(report['missing_tools'])} cannot be found (apt-get install llvm)")
    for engine, seconds in report["canary"].items():
        lines.append(f"Canary, {engine}: " + (f"found after {seconds:.1f} s" if seconds is not None else
                                               "NOT found: this campaign says nothing, its fuzzers are blind"))
    unstable = [row for row in report["rows"] if row["stability_percent"] is not None and row["stability_percent"] < 100]
    for row in unstable:
        lines.append(f"{row['target']} is not stable ({row['stability_percent']} % with {row['engine']}): an input does not do the same each time")
    lines += [f"{len(report['finds'])} finds" + (":" if report["finds"] else "")]
    for name, find in sorted(report["finds"].items()):
        size = f"{find['operations']} operations" if find["form"] == "program" else f"{find['bytes']} bytes"
        lines.append(f"  {name} ({find['engine']}, {find['seconds']:.1f} s, {find['executions']} executions, {size}): {find['text']}")
    if report["interrupted"]:
        lines.append("Interrupted: corpora are merged and lines counted at the end of the next campaign in this folder.")
    return "\n".join(lines) + "\n"


def write(out, report):
    write_json(out / "report.json", report)
    write_whole(out / "report.txt", text(report))
