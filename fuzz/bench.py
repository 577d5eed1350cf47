#!/usr/bin/python3
"""How fast planted bugs are found: each bug of fuzz/bugs.tsv, by each engine, several times.

libfuzzer  coverage-guided, mutates operations (build/fuzz)
afl        AFL++ in persistent mode with the same mutations (build/afl)
random     uniformly random bytes, no feedback: the blind baseline, in the same program as libfuzzer. Any bytes decode to a
           program that knows what is live and chooses parameters: it is a blind generator, not a blind stress test
naive      uniformly random events on a stack of defaults (naive.h), no feedback; of stacks only: what a parser reads is a
           file, of which `random` is all that is blind
seeds      no fuzzing: each seed of the target is run once

A run ends at its first find or at the limit. The guided engines are started as a campaign starts them: on the seeds of the
target, with its dictionary, length and mutations (campaign/engines.py); no run is given the proofs (fuzz/bugs). A find counts when the clean program passes on the same input. Times are processor time
of the run, its children included, and so is the limit: the time on one core, whatever else the machine does.
Each run is kept in FOLDER/runs.csv as it ends; the next start does those that are missing. At the end FOLDER/bench.csv,
bench.txt (also printed) and detection.{png,pdf}. Exit status: 0; 1 when a bug was found by nobody; 2 for wrong words or
builds; 130 when interrupted.
"""

import argparse
import collections
import concurrent.futures
import csv
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import bench_report
import plant

sys.path.insert(0, os.path.join(plant.SOURCE, "fuzz", "campaign"))
import engines  # noqa: E402  (beside this file)

Engine = collections.namedtuple("Engine", ("name", "preset", "start"))
Run = collections.namedtuple("Run", ("bug", "engine", "repeat"))

FIRST_SEED = 1
STUCK_SECONDS = 3  # an input that takes longer is a find: a loop without end
GRACE_SECONDS = 20  # to end after an interrupt
WALL_FACTOR = 50  # nobody waits longer, in wall time, for a limit of processor time
LOOK_SECONDS = 0.05
AFL_UNTIL_FIRST = {"AFL_BENCH_UNTIL_CRASH": "1", "AFL_CRASHING_SEEDS_AS_NEW_CRASH": "1"}
PROGRAM_ENDING = ".program"  # of a find that is a text; the others are a target's bytes
PROGRAM_BYTES_MAX = 816  # fuzz/program.h
# A report's call stack costs half a second, and nobody reads it here.
QUICK_REPORTS = {"ASAN_OPTIONS": "symbolize=0:abort_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=0:abort_on_error=1"}


class Outcome:
    """What a process did: exit status, what it printed, processor and wall seconds. It is interrupted at the limit."""

    def __init__(self, words, folder, environment, limit_seconds):
        log = os.path.join(folder, "log.txt")
        started = time.monotonic()
        with open(log, "wb") as stream:
            process = subprocess.Popen(words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream,
                                       stderr=stream, start_new_session=True, preexec_fn=no_core)
        RUNNING.add(process.pid)
        seen_seconds, self.interrupted, used = watch(process.pid, limit_seconds)
        RUNNING.discard(process.pid)
        kill_group(process.pid)  # what it left behind
        process.returncode = self.status = os.waitstatus_to_exitcode(used[1])
        self.wall_seconds = time.monotonic() - started
        self.cpu_seconds = max(seen_seconds, used[2].ru_utime + used[2].ru_stime)
        with open(log, encoding="utf-8", errors="replace") as stream:
            self.printed = stream.read()

    def add(self, before):
        """A process that ran before this one, for the same end."""
        self.cpu_seconds += before.cpu_seconds
        self.wall_seconds += before.wall_seconds


def cpu_seconds(pid):
    """Of a process, those that it waited for, and its children."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            ticks = sum(map(int, stream.read().rpartition(")")[2].split()[11:15]))
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as stream:
            children = stream.read().split()
    except OSError:
        return 0
    return ticks / os.sysconf("SC_CLK_TCK") + sum(cpu_seconds(child) for child in children)


def watch(pid, limit_seconds):
    """Wait for a process; interrupt it at its limit of processor time, kill it when it will not end. (seconds seen, interrupted?, os.wait4)"""
    seen_seconds, interrupted, wall_limit = 0, None, time.monotonic() + WALL_FACTOR * limit_seconds
    while True:
        used = os.wait4(pid, os.WNOHANG)
        if used[0] == pid:
            return seen_seconds, interrupted is not None, used
        seen_seconds = max(seen_seconds, cpu_seconds(pid))
        now = time.monotonic()
        if interrupted is None and (seen_seconds > limit_seconds or now > wall_limit):
            interrupted = now
            os.kill(pid, signal.SIGINT)
        elif interrupted is not None and now - interrupted > GRACE_SECONDS:
            kill_group(pid)
        time.sleep(LOOK_SECONDS)


RUNNING = set()


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# --- engines -----------------------------------------------------------------------------------------------------
# Each starts a run in an empty folder and answers (outcome, executions, input found or None).

def number_after(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def newest(folder, beginning):
    names = [name for name in os.listdir(folder) if name.startswith(beginning)] if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names]
    return max(paths, key=os.path.getmtime) if paths else None


def run_libfuzzer(bench, binary, run, folder):
    words = engines.libfuzzer_words(binary, bench.target(run.bug), FIRST_SEED + run.repeat, f"{folder}/found-", STUCK_SECONDS)
    words += ["-rss_limit_mb=0", bench.first_inputs(run.bug, folder)]
    outcome = Outcome(words, folder, bench.environment(run.bug), bench.seconds)
    return outcome, number_after(r"stat::number_of_executed_units: +(\d+)", outcome.printed), newest(folder, "found-")


def run_seeds(bench, binary, run, folder):
    """Each seed for itself, and what AFL++'s driver runs before all else."""
    first = bench.first_inputs(run.bug, folder)
    with open(os.path.join(first, "driver"), "wb") as stream:
        stream.write(engines.AFL_DRIVER_INPUT)
    outcome = Outcome([binary, "--keep-going", first], folder, bench.environment(run.bug), bench.seconds)
    failing = re.search(r"^found: (.*)$", outcome.printed, re.MULTILINE)
    return outcome, number_after(r": (\d+) inputs", outcome.printed), failing and failing.group(1)


def run_afl(bench, binary, run, folder):
    target = bench.target(run.bug)
    seeds, tried, failing = run_seeds(bench, binary, run, folder)
    if failing or seeds.interrupted:  # as in a campaign: no engine is started on what fails without it
        return seeds, tried, failing
    words = engines.afl_words(binary, target, FIRST_SEED + run.repeat, os.path.join(folder, "first"), os.path.join(folder, "afl"),
                              "default", STUCK_SECONDS)
    environment = {**bench.environment(run.bug), **AFL_UNTIL_FIRST,
                   **engines.afl_environment(target, os.path.join(bench.build("afl"), "libkmemlab-mutator.so"))}
    outcome = Outcome([str(word) for word in words], folder, environment, bench.seconds - seeds.cpu_seconds)
    outcome.add(seeds)
    kept = os.path.join(folder, "afl", "default")
    executions = 0
    if os.path.exists(os.path.join(kept, "fuzzer_stats")):
        with open(os.path.join(kept, "fuzzer_stats"), encoding="utf-8") as stream:
            executions = number_after(r"execs_done +: (\d+)", stream.read())
    executions += tried
    return outcome, executions, newest(os.path.join(kept, "crashes"), "id:") or newest(os.path.join(kept, "hangs"), "id:")


def run_baseline(bench, binary, run, folder):
    found = os.path.join(folder, "found" + (PROGRAM_ENDING if run.engine == "naive" else ""))
    words = [binary, f"--{run.engine}", str(FIRST_SEED + run.repeat), "--seconds", str(bench.seconds), "--artifact", found]
    outcome = Outcome(words, folder, bench.environment(run.bug), bench.seconds + GRACE_SECONDS)  # it ends at its limit itself
    return outcome, number_after(r": (\d+) executions", outcome.printed), found if os.path.exists(found) else None


ENGINES = {engine.name: engine for engine in (Engine("libfuzzer", "fuzz", run_libfuzzer), Engine("afl", "afl", run_afl),
                                              Engine("random", "fuzz", run_baseline), Engine("naive", "fuzz", run_baseline),
                                              Engine("seeds", "fuzz", run_seeds))}


# --- runs --------------------------------------------------------------------------------------------------------

class Bench:
    """The runs of one folder."""

    def __init__(self, options):
        self.folder = os.path.abspath(options.output)
        self.builds = os.path.abspath(options.builds)
        self.seconds = options.seconds
        self.work = os.path.join(self.folder, "work")
        self.bugs = options.bugs
        self.repeats, self.engines = options.repeats, options.engines
        self.rows = {}
        self.targets = {}
        self.writing = threading.Lock()
        self.planting = collections.defaultdict(threading.Lock)
        os.makedirs(self.work, exist_ok=True)

    def build(self, preset):
        return os.path.join(self.builds, preset)

    def clean(self, preset):
        return os.path.join(self.build(preset), plant.PROGRAM)

    def environment(self, bug):
        return {**os.environ, **QUICK_REPORTS, "KML_FUZZ_TARGET": bug.target, "KMEMLAB_SOURCE": plant.SOURCE}

    def target(self, bug):
        kind = self.targets[bug.target]
        return {"name": bug.target, "kind": kind, "bytes_max": 0 if kind == "parser" else PROGRAM_BYTES_MAX}

    def check_builds(self):
        """The programs are there and know the targets."""
        for preset in sorted({ENGINES[engine].preset for engine in self.engines} | {"fuzz"}):
            if not os.path.exists(self.clean(preset)):
                raise plant.PlantError(f"{self.clean(preset)} is missing: cmake --preset {preset} && cmake --build --preset {preset}")
            listed = subprocess.run([self.clean(preset), "--list"], capture_output=True, text=True, check=True).stdout
            self.targets = dict(line.split("\t")[:2] for line in listed.splitlines())
        unknown = [bug for bug in self.bugs if bug.target not in self.targets]
        if unknown:
            raise plant.PlantError(f"{unknown[0].name}: no target is called {unknown[0].target}")

    def runs(self):
        return [Run(bug, engine, repeat) for repeat in range(self.repeats) for bug in self.bugs for engine in self.engines
                if engine != "naive" or self.targets[bug.target] == "stack"]

    def planted(self, bug, preset):
        """The program with the bug, made at its first use and after every new build."""
        path = os.path.join(self.work, f"{bug.name}-{preset}")
        with self.planting[path]:
            if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(self.clean(preset)):
                plant.build_planted(self.build(preset), bug, path)
        return path

    def first_inputs(self, bug, folder):
        """A folder with what a run begins with: the seeds of the target, as of a campaign."""
        path = os.path.join(folder, "first")
        os.makedirs(path)
        subprocess.run([self.clean("fuzz"), "--write-seeds", path], env=self.environment(bug), stdout=subprocess.DEVNULL, check=True)
        return path

    def fails(self, binary, bug, path, folder):
        """The oracle that an input breaks in a program; "" when it passes."""
        words = [binary, "--program", path] if path.endswith(PROGRAM_ENDING) else [binary, path]
        outcome = Outcome(words, folder, self.environment(bug), STUCK_SECONDS)
        return "timeout" if outcome.interrupted else plant.oracle_of(outcome.printed, outcome.status)

    def do(self, run):
        """One run; its row."""
        engine = ENGINES[run.engine]
        binary = self.planted(run.bug, engine.preset)
        folder = os.path.join(self.work, f"{run.bug.name}-{run.engine}-{run.repeat}")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        outcome, executions, found = engine.start(self, binary, run, folder)
        oracle = self.fails(binary, run.bug, found, folder) if found else ""
        blamed = oracle and not self.fails(self.clean(engine.preset), run.bug, found, folder)
        shutil.rmtree(folder, ignore_errors=True)
        return {"bug": run.bug.name, "engine": run.engine, "repeat": run.repeat, "limit_seconds": self.seconds,
                "found": int(bool(blamed)), "seconds": f"{outcome.cpu_seconds:.3f}",
                "wall_seconds": f"{outcome.wall_seconds:.3f}", "executions": executions,
                "oracle": oracle if blamed or not oracle else f"{oracle} (clean too)"}

    # What is known of the runs: every row as it comes, the file whole at any time.

    def path(self):
        return os.path.join(self.folder, "runs.csv")

    def read(self):
        if not os.path.exists(self.path()):
            return
        with open(self.path(), encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                self.rows[row["bug"], row["engine"], int(row["repeat"])] = row

    def keep(self, row):
        with self.writing:
            self.rows[row["bug"], row["engine"], row["repeat"]] = row
            partial = f"{self.path()}.partial-{os.getpid()}"
            with open(partial, "w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, bench_report.RUN_COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows[key] for key in sorted(self.rows))
            os.replace(partial, self.path())

    def missing(self):
        """Runs without a row of this limit or, where nothing was found, of a longer one."""
        def is_done(run):
            row = self.rows.get((run.bug.name, run.engine, run.repeat))
            return row is not None and (row["found"] == "1" or float(row["limit_seconds"]) >= self.seconds)
        return [run for run in self.runs() if not is_done(run)]


def do_all(bench, jobs, quiet):
    todo = bench.missing()
    done = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(bench.do, run): run for run in todo}
        try:
            for future in concurrent.futures.as_completed(futures):
                row = future.result()
                bench.keep(row)
                done += 1
                if not quiet:
                    what = f"{row['oracle']} after {row['seconds']} s" if int(row["found"]) else row["oracle"] or "not found"
                    print(f"{done}/{len(todo)} {row['bug']} {row['engine']} {row['repeat']}: {what}", file=sys.stderr, flush=True)
        except BaseException:
            for future in futures:
                future.cancel()
            for pid in list(RUNNING):
                kill_group(pid)
            raise


def chosen(known, what):
    def parse(text):
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"{what} '{unknown[0] if unknown else text}' is none of {', '.join(known)}")
        return names
    return parse


def positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 on")
    return int(text)


def parse_arguments(arguments, bugs):
    parser = argparse.ArgumentParser(prog="kmemlab fuzz --bench", description="how fast planted bugs are found")
    parser.add_argument("--bugs", type=chosen(bugs, "bug"), default=list(bugs), help="some of fuzz/bugs.tsv, joined by commas (default all)")
    parser.add_argument("--engines", type=chosen(ENGINES, "engine"), default=list(ENGINES), help="some of " + ",".join(ENGINES))
    parser.add_argument("--repeats", type=positive, default=5, help="runs of each bug and engine (default 5)")
    parser.add_argument("--seconds", type=positive, default=60, help="limit of a run (default 60)")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help="runs at a time (default one a core)")
    parser.add_argument("--builds", default=os.path.join(plant.SOURCE, "build"), help="folder of the builds (default build)")
    parser.add_argument("--output", default=os.path.join(plant.SOURCE, "results", "fuzz-bench"), help="folder (default results/fuzz-bench)")
    parser.add_argument("--report-only", action="store_true", help="no new runs: table and figure from runs.csv")
    parser.add_argument("--quiet", action="store_true", help="do not tell of each run")
    options = parser.parse_args(arguments)
    options.bugs = [bugs[name] for name in options.bugs]
    return options


def main(arguments=None):
    try:
        options = parse_arguments(arguments, {bug.name: bug for bug in plant.read_table()})
        bench = Bench(options)
        bench.read()
        if not options.report_only:
            bench.check_builds()
            do_all(bench, options.jobs, options.quiet)
            shutil.rmtree(bench.work, ignore_errors=True)
        return bench_report.write(bench.folder, options.bugs, list(bench.rows.values()))
    except plant.PlantError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted: the next start goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
