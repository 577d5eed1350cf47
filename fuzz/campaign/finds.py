"""Crashes become finds: what broke is asked of the program itself, one of each kind is minimised and written down.

Two crashes of a target are one find when the same oracle broke (and, where the process died, in the same function). All
that knows programs and oracles is in `kmemlab fuzz --run` and `--minimise`; here are names and files.
"""

import json
import os
import re
import time

from tools import CampaignError, run, tail, write_whole

# Sanitizers as the harness sets them (fuzz/harness.c), so that the same inputs fail.
SANITIZERS = {"ASAN_OPTIONS": "quarantine_size_mb=4:allocator_may_return_null=1:detect_stack_use_after_return=0:abort_on_error=1:handle_abort=1",
              "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1"}
MINIMISE_SECONDS = 60
JUDGED_AT_A_TIME = 50
PASSES = "-"  # instead of a find's name: a timeout that is none when the input runs alone


class Tool:
    """`kmemlab fuzz` in the build that the finds come from."""

    def __init__(self, program, plugin):
        self.program, self.plugin = program, plugin

    def __call__(self, *words, leaks=False):
        plugin = ["--plugin", self.plugin] if self.plugin else []
        environment = {**os.environ, **SANITIZERS}
        if leaks:
            environment["KML_FUZZ_LEAKS"] = "1"
        return run([self.program, "fuzz", *plugin, *words], env=environment)


def find_name(target, verdict):
    parts = [target, verdict["oracle"], verdict["place"]]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(part for part in parts if part)).strip("-.")


def judge(tool, target, paths):
    """The verdict of each path, by its name."""
    verdicts = {}
    for first in range(0, len(paths), JUDGED_AT_A_TIME):
        some = paths[first:first + JUDGED_AT_A_TIME]
        leaks = any("-leak-" in path.name for path in some)
        status, output, errors = tool("--run", "--json", "--target", target, *some, leaks=leaks)
        if status not in (0, 1):
            raise CampaignError(f"the crashes of {target} cannot be looked at: {tail(errors, 3)}")
        verdicts.update(zip(some, json.loads(output)))
    return verdicts


def describe(name, find, crash, verdict, minimised):
    """NAME.txt."""
    lines = [verdict["text"], "", f"target      {find['target']}", f"oracle      {find['oracle']}"]
    if find["place"]:
        lines.append(f"place       {find['place']}")
    lines += [f"engine      {crash['engine']}", f"time        {crash['seconds']:.1f} s", f"executions  {crash['executions']}", f"crash       {find['crash']}"]
    if minimised and minimised["form"] == "program":
        lines += [f"smallest    {minimised['operations']} operations, after {minimised['tries']} tries", "",
                  f"kmemlab fuzz --run {name}.ops", f"kmemlab replay --check {name}.kmt"]
    elif minimised:
        lines += [f"smallest    {minimised['bytes']} bytes, after {minimised['tries']} tries", "",
                  f"kmemlab fuzz --run {name}.input --target {find['target']}"]
    else:
        lines += ["smallest    the crash itself: it could not be minimised", "", f"kmemlab fuzz --run {find['crash']} --target {find['target']}"]
    return "\n".join(lines + ["", verdict["trace"].rstrip(), ""])


def minimise(tool, out, name, find, path):
    """The smallest's verdict, with its size, and ""; None, and why, when it cannot be made smaller."""
    status, output, errors = tool("--minimise", "--json", "--target", find["target"], "--seconds", MINIMISE_SECONDS, "--out", out / "found" / name,
                                  path, leaks="leak" in find["oracle"])
    if status != 0:
        return None, tail(errors, 3)
    return json.loads(output), ""


def write_find(tool, out, name, find, crash, verdict):
    """OUT/found/NAME.*; NAME.txt is last, and says that the others are there."""
    (out / "found").mkdir(exist_ok=True)
    path = out / find["crash"]
    minimised, why_not = (None, "") if find["oracle"] == "unreproduced" else minimise(tool, out, name, find, path)
    if minimised is None:
        write_bytes(out / "found" / f"{name}.input", path.read_bytes())
    find["operations"] = minimised["operations"] if minimised else 0
    find["bytes"] = minimised["bytes"] if minimised else path.stat().st_size
    find["form"] = minimised["form"] if minimised else "bytes"
    find["text"] = (minimised or verdict)["text"]
    text = describe(name, find, crash, minimised or verdict, minimised)
    write_whole(out / "found" / f"{name}.txt", text + (f"\nNot minimised: {why_not}\n" if why_not else ""))


def write_bytes(path, data):
    partial = f"{path}.partial-{os.getpid()}"
    with open(partial, "wb") as stream:
        stream.write(data)
    os.replace(partial, path)


def unreproduced(crash):
    return {"failed": True, "oracle": "unreproduced", "place": crash["engine"], "trace": "",
            "text": f"{crash['engine']} saw it fail, and it passes when it runs alone: something is left from one run to the next"}


def settle(tool, out, target, crashes, finds):
    """
    Which find each crash of a target belongs to: ({name of crash: name of find}, {name of find: its record}), new finds
    being minimised and written. `crashes` are the records of the new ones by name, `finds` the known ones.
    """
    paths = {out / target / "crashes" / name: name for name in crashes}
    # The earliest first: it is the one that the report tells of. Of one time, the smallest.
    order = sorted((path for path in paths if path.exists()), key=lambda path: (crashes[paths[path]]["seconds"], path.stat().st_size))
    verdicts = judge(tool, target, order)
    belongs, made = {name: PASSES for name in crashes}, {}
    for path in order:
        name, verdict = paths[path], verdicts[path]
        crash = crashes[name]
        if not verdict["failed"]:
            if "-timeout-" in name:
                continue
            verdict = unreproduced(crash)
        find = find_name(target, verdict)
        belongs[name] = find
        if find in finds or find in made:
            continue
        made[find] = {"target": target, "oracle": verdict["oracle"], "place": verdict["place"], "crash": f"{target}/crashes/{name}",
                      "engine": crash["engine"], "seconds": round(crash["seconds"], 1), "executions": crash["executions"], "when": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_find(tool, out, find, made[find], crash, verdict)
    return belongs, made
