#!/usr/bin/python3
"""Are the fuzzers alive? A short run of every target: smoke.py [--fuzz BUILD] [--afl BUILD] [--measure].

 1. libFuzzer, for each target, on its seeds: nothing is found, the runs asked for are done, as many edges of allocators
    and parsers are covered as fuzz/floors.tsv demands, and what was kept covers the same a second time.
 2. The canary is found, by libFuzzer and by AFL++; AFL++ on one more target finds nothing and is stable.
 3. A build whose decoder rejects everything stays below the floors: they tell.

Seed and number of runs are fixed, so the coverage is too. --measure writes the floors anew, four fifths of what it finds.
Prints a line a target; exit status 1 when anything is wrong, 2 when a build is not there.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

SOURCE = os.environ.get("KMEMLAB_SOURCE") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(SOURCE, "fuzz"))
import plant  # noqa: E402  (beside this file)

FLOORS = os.path.join(SOURCE, "fuzz", "floors.tsv")
HEADER = "target\truns\tedges"
PROGRAM_BYTES_MAX = 800  # fuzz/program.h
RUNS = {"stack": 600, "differential": 1000, "parser": 1500}
CANARY_SECONDS = 30
AFL_SECONDS = 4
AFL_TARGET = "slub-binary"
AFL_EXECUTIONS = 300
REJECTS_ALL = plant.Bug("program_rejects_all", "fuzz/decode.c", "", "", "", "")
REJECTING_TARGETS = ("binary", "slub-binary", "solaris-weighted", "textbook")


def run(words, environment=None, seconds=120):
    """Exit status (124: too long) and what was printed."""
    try:
        done = subprocess.run(words, env=dict(os.environ, **(environment or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as late:
        return 124, (late.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def targets_of(program):
    """Name to kind, in the table's order."""
    status, printed = run([program, "--list"])
    if status != 0:
        sys.exit(f"{program} --list: {printed}")
    return dict(line.split("\t")[:2] for line in printed.splitlines())


def read_floors():
    with open(FLOORS, encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    if not lines or lines[0] != HEADER:
        sys.exit(f"{FLOORS}: the first line is not: {HEADER}")
    rows = [line.split("\t") for line in lines[1:]]
    return {name: (int(runs), int(edges)) for name, runs, edges in rows}


def last_words(printed):
    """What a find says of itself, else the end."""
    told = [line for line in printed.splitlines() if re.search(r"kmemlab: |broken invariant|ERROR: |runtime error", line)]
    return (told or printed.splitlines() or ["nothing was printed"])[0 if told else -1][:200]


def fuzz(program, name, kind, runs, corpus):
    """A deterministic run of libFuzzer; status, edges and print."""
    words = [program, name, f"-runs={runs}", "-seed=1", "-print_final_stats=1", "-verbosity=1", "-timeout=20", f"-artifact_prefix={corpus}-"]
    words += [f"-max_len={PROGRAM_BYTES_MAX}"] if kind != "parser" else ["-max_len=4096"]
    dictionary = os.path.join(SOURCE, "fuzz", "dictionaries", name + ".dict")
    words += ["-dict=" + dictionary] if os.path.exists(dictionary) and os.path.getsize(dictionary) else []
    status, printed = run([*words, corpus])
    edges = [int(found) for found in re.findall(r"\bcov: (\d+)", printed)]
    return status, max(edges, default=0), printed


def smoke(program, name, kind, floor, folder):
    """What is wrong with a target (empty: nothing), the edges that its run covered, and the seconds it took."""
    begun, corpus, wrong = time.monotonic(), os.path.join(folder, name), []
    status, printed = run([program, name, "--write-seeds", corpus])
    if status != 0:
        return [f"no seeds: {last_words(printed)}"], 0, 0
    status, edges, printed = fuzz(program, name, kind, floor[0], corpus)
    done = re.search(r"stat::number_of_executed_units: (\d+)", printed)
    if status != 0:
        wrong.append(f"found something: {last_words(printed)}")
    elif not done or int(done.group(1)) < floor[0]:
        wrong.append(f"stopped after {done.group(1) if done else 0} of {floor[0]} runs")
    if edges < floor[1]:
        wrong.append(f"{edges} edges covered, the floor is {floor[1]}")
    status, printed = run([program, name, "--stable", corpus])
    if status != 0:
        wrong.append(f"not stable: {last_words(printed)}")
    return wrong, edges, time.monotonic() - begun


def libfuzzer_finds_canary(program, folder):
    corpus = os.path.join(folder, "canary")
    run([program, "canary", "--write-seeds", corpus])
    status, printed = run([program, "canary", "-seed=1", f"-max_total_time={CANARY_SECONDS}", f"-max_len={PROGRAM_BYTES_MAX}",
                           f"-artifact_prefix={corpus}-", corpus], seconds=CANARY_SECONDS + 30)
    found = status != 0 and "kmemlab: " in printed
    return [] if found else [f"libFuzzer did not find the canary in {CANARY_SECONDS} s: {last_words(printed)}"]


def run_afl(build, name, folder, seconds):
    """AFL++ until the first crash; its statistics."""
    program, out, seeds = os.path.join(build, "kmemlab-fuzz"), os.path.join(folder, "afl-" + name), os.path.join(folder, "afl-in-" + name)
    run([program, name, "--write-seeds", seeds])
    status, printed = run(["afl-fuzz", "-m", "none", "-t", "5000", "-G", str(PROGRAM_BYTES_MAX), "-V", str(seconds), "-i", seeds, "-o", out,
                           "--", program],
                          {"KML_FUZZ_TARGET": name, "AFL_CUSTOM_MUTATOR_LIBRARY": os.path.join(build, "libkmemlab-mutator.so"),
                           "AFL_CUSTOM_MUTATOR_ONLY": "1",
                           "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1", "AFL_SKIP_CPUFREQ": "1", "AFL_NO_AFFINITY": "1", "AFL_NO_UI": "1",
                           "AFL_BENCH_UNTIL_CRASH": "1", "AFL_FORKSRV_INIT_TMOUT": "60000"}, seconds + 60)
    try:
        with open(os.path.join(out, "default", "fuzzer_stats"), encoding="utf-8") as stream:
            return dict((word.strip() for word in line.split(":", 1)) for line in stream)
    except OSError:
        return {"failed": f"afl-fuzz: exit status {status}: {last_words(printed)}"}


def afl_finds_canary(build, folder):
    stats = run_afl(build, "canary", folder, CANARY_SECONDS)
    if int(stats.get("saved_crashes", 0)) > 0:
        return []
    return [stats.get("failed") or f"AFL++ did not find the canary in {stats.get('execs_done')} executions"]


def afl_finds_nothing(build, folder):
    stats, wrong = run_afl(build, AFL_TARGET, folder, AFL_SECONDS), []
    if "failed" in stats:
        return [stats["failed"]]
    if int(stats["saved_crashes"]) > 0:
        wrong.append("AFL++ found something: run the fuzzer of this target")
    if int(stats["execs_done"]) < AFL_EXECUTIONS:
        wrong.append(f"AFL++ did {stats['execs_done']} executions in {AFL_SECONDS} s")
    if stats["stability"] != "100.00%":
        wrong.append(f"AFL++ calls it {stats['stability']} stable")
    return wrong


def floors_tell(build, targets, floors, folder):
    """A decoder that rejects everything falls below the floors."""
    program, wrong = os.path.join(folder, "rejects-all"), []
    plant.build_planted(build, REJECTS_ALL, program)
    for name in REJECTING_TARGETS:
        corpus = os.path.join(folder, "rejecting-" + name)
        run([program, name, "--write-seeds", corpus])
        edges = fuzz(program, name, targets[name], floors[name][0], corpus)[1]
        if edges >= floors[name][1]:
            wrong.append(f"{name}: {edges} edges covered by a decoder that rejects everything, the floor is {floors[name][1]}")
    return wrong


def words_are_known(program):
    """The dictionary of specs is the registry's."""
    with open(os.path.join(SOURCE, "fuzz", "dictionaries", "spec.dict"), encoding="utf-8") as stream:
        kept = stream.read()
    return [] if run([program, "--words"])[1] == kept else ["fuzz/dictionaries/spec.dict is not what kmemlab-fuzz --words prints: write it anew"]


def tell(name, wrong, note=""):
    print(f"{'FAILED' if wrong else 'ok':<7}{name:<26}{note}{'; '.join(wrong)}", flush=True)
    return bool(wrong)


def run_all(arguments, targets, floors, folder):
    program, failed, measured = os.path.join(arguments.fuzz, "kmemlab-fuzz"), 0, {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=arguments.jobs) as pool:
        running = {name: pool.submit(smoke, program, name, kind, floors.get(name, (RUNS[kind], 1)), folder)
                   for name, kind in targets.items() if kind != "canary"}
        checks = {"canary, libFuzzer": pool.submit(libfuzzer_finds_canary, program, folder)}
        checks["dictionary"] = pool.submit(words_are_known, program)
        if arguments.afl:
            checks["canary, AFL++"] = pool.submit(afl_finds_canary, arguments.afl, folder)
            checks[f"{AFL_TARGET}, AFL++"] = pool.submit(afl_finds_nothing, arguments.afl, folder)
        if not arguments.measure:
            checks["floors"] = pool.submit(floors_tell, arguments.fuzz, targets, floors, folder)
        for name, job in running.items():
            wrong, measured[name], seconds = job.result()
            if not arguments.measure and name not in floors:
                wrong = [*wrong, "has no floor: run smoke.py --measure"]
            failed += tell(name, wrong, f"{measured[name]:>6} edges {seconds:5.1f} s  ")
        for name, job in checks.items():
            failed += tell(name, job.result())
    return failed, measured


def write_floors(targets, measured):
    with open(FLOORS, "w", encoding="utf-8") as stream:
        print(HEADER, file=stream)
        for name, edges in measured.items():
            print(name, RUNS[targets[name]], edges * 4 // 5, sep="\t", file=stream)


def main():
    parser = argparse.ArgumentParser(description="a short run of every fuzz target")
    parser.add_argument("--fuzz", default=os.path.join(SOURCE, "build", "fuzz"), help="build of preset fuzz")
    parser.add_argument("--afl", default=os.path.join(SOURCE, "build", "afl"), help="build of preset afl; empty: without AFL++")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", action="append", help="this target and no checks besides")
    parser.add_argument("--measure", action="store_true", help="write fuzz/floors.tsv")
    arguments = parser.parse_args()
    for build in filter(None, (arguments.fuzz, arguments.afl)):
        if not os.path.exists(os.path.join(build, "kmemlab-fuzz")):
            print(f"{build}/kmemlab-fuzz: not built: cmake --preset {os.path.basename(build)} && cmake --build --preset {os.path.basename(build)}",
                  file=sys.stderr)
            return 2
    begun, folder = time.monotonic(), tempfile.mkdtemp(prefix="kmemlab-smoke-")
    try:
        targets = targets_of(os.path.join(arguments.fuzz, "kmemlab-fuzz"))
        floors = {} if arguments.measure else read_floors()
        if arguments.only:
            failed = sum(tell(name, *reversed_note(smoke(os.path.join(arguments.fuzz, "kmemlab-fuzz"), name, targets[name], floors[name], folder)))
                         for name in arguments.only)
        else:
            failed, measured = run_all(arguments, targets, floors, folder)
            if arguments.measure:
                write_floors(targets, measured)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(targets)} targets, {failed} failed, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


def reversed_note(result):
    wrong, edges, seconds = result
    return wrong, f"{edges:>6} edges {seconds:5.1f} s  "


if __name__ == "__main__":
    sys.exit(main())
