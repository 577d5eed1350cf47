"""The engines as processes: how libFuzzer and AFL++ are started on a target, how far they are, and what they found.

A session is one process on one target. Of a target's folder it uses:

    corpus/     what is known so far, minimised
    queue/      libFuzzer's own finds of new coverage since
    afl/        afl-fuzz's output folders, one a worker; afl/corpus/ hands it what is in corpus/
    artifacts/  where engines write crashes, until they are moved
    crashes/    every crash there ever was: ENGINE-KIND-HASH
    logs/
"""

import errno
import hashlib
import os
import re
import shutil
import signal
import time

from builds import SOURCE
from tools import files_in, start

INPUT_SECONDS_MAX = 10  # longer: a find of its own kind
MEMORY_MB_MAX = 2048
KEPT_LOG_BYTES = 1 << 20


def dictionary(target):
    path = SOURCE / "fuzz" / "dictionaries" / f"{target['name']}.dict"
    return path if path.exists() else None


# How an engine is started on a target, by campaigns and by the bench alike. A target is {"name", "kind", "bytes_max"}.

# What AFL++'s driver (utils/aflpp_driver, 4.04) runs once in each process, so that first times are not taken for coverage: its
# two signatures. What fails on it would fail on everything.
AFL_DRIVER_INPUT = b"##SIG_AFL_PERSISTENT##".ljust(32, b"\0") + b"##SIG_AFL_DEFER_FORKSRV##".ljust(32, b"\0")


def libfuzzer_words(program, target, seed, artifacts, input_seconds):
    words = [program, f"-artifact_prefix={artifacts}", f"-timeout={input_seconds}", f"-seed={max(1, seed)}", "-print_final_stats=1"]
    if target["bytes_max"]:
        words.append(f"-max_len={target['bytes_max']}")
    if dictionary(target):
        words.append(f"-dict={dictionary(target)}")
    return words


def afl_words(program, target, seed, first, output, name, input_seconds):
    words = ["afl-fuzz", "-i", first, "-o", output, "-S", name, "-t", f"{1000 * input_seconds}", "-m", "none", "-s", seed % 2**31]
    if target["bytes_max"]:
        words += ["-G", target["bytes_max"]]
    if dictionary(target):
        words += ["-x", dictionary(target)]
    return [*words, "--", program]


def afl_environment(target, mutator):
    """In containers: no cpu governor, no binding to cpus, core dumps as the host has them. In scripts: no screen. Operations
    are trimmed when a find is minimised, not while there is something to look for."""
    environment = {name: "1" for name in ("AFL_SKIP_CPUFREQ", "AFL_NO_AFFINITY", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES", "AFL_NO_UI",
                                          "AFL_DISABLE_TRIM", "AFL_FAST_CAL")}
    environment["AFL_CUSTOM_MUTATOR_LIBRARY"] = str(mutator)
    if target["kind"] != "parser":
        environment["AFL_CUSTOM_MUTATOR_ONLY"] = "1"
    return environment


def content_hash(path):
    with open(path, "rb") as stream:
        return hashlib.sha1(stream.read()).hexdigest()


class Folder:
    """Where a target's inputs are kept."""

    def __init__(self, out, target, afl_root=None):
        self.path = out / target
        self.corpus, self.queue, self.artifacts = self.path / "corpus", self.path / "queue", self.path / "artifacts"
        self.crashes, self.logs = self.path / "crashes", self.path / "logs"
        self.afl = (afl_root / target) if afl_root else self.path / "afl"

    def make(self):
        for folder in (self.corpus, self.queue, self.artifacts, self.crashes, self.logs, self.afl):
            folder.mkdir(parents=True, exist_ok=True)

    def keep_crash(self, path, engine, kind):
        """By rename, under a name that says what it holds: the same crash twice is one file. Its name."""
        name = f"{engine}-{kind}-{content_hash(path)}"
        try:
            os.rename(path, self.crashes / name)
        except OSError as error:
            if error.errno != errno.EXDEV:  # a shared folder is another disk
                raise
            shutil.copy(path, self.crashes / f".{name}")
            os.rename(self.crashes / f".{name}", self.crashes / name)
            os.unlink(path)
        return name

    def drop_crashing_inputs(self, crash):
        """A corpus that crashes would end every session at its start: what crashed is kept in crashes/ alone."""
        size, wanted = os.path.getsize(self.crashes / crash), crash.rsplit("-", 1)[1]
        for folder in (self.corpus, self.queue):
            for entry in files_in(folder):
                try:
                    if entry.stat().st_size == size and content_hash(entry.path) == wanted:
                        os.unlink(entry.path)
                except FileNotFoundError:  # another worker was first
                    continue

    def afl_queues(self):
        return [queue for queue in sorted(self.afl.glob("*/queue")) if queue.parent.name != "corpus"]


class Session:
    """One engine process on one target, until `seconds` are over or it ends itself."""

    engine = ""

    def __init__(self, target, folder, settings, worker, seconds):
        self.target, self.folder, self.settings = target, folder, settings
        self.worker, self.seconds = worker, seconds
        self.log = folder.logs / f"{self.engine}-{worker}.log"
        self.started = time.monotonic()
        self.stopping = None
        self.process = None

    def begin(self):
        if self.log.exists() and self.log.stat().st_size > KEPT_LOG_BYTES:
            os.replace(self.log, f"{self.log}.old")
        self.log_from = self.log.stat().st_size if self.log.exists() else 0
        self.process = start(self.command(), log=self.log, env={**os.environ, **self.environment()})
        return self

    def elapsed(self):
        return time.monotonic() - self.started

    def running(self):
        """False when it is through; what is over its time is asked to end, then made to."""
        if self.process.poll() is not None:
            return False
        if self.stopping and time.monotonic() > self.stopping + 10:
            self.process.kill()
        elif not self.stopping and self.elapsed() >= self.seconds:
            self.stop()
        return True

    def stop(self):
        if not self.stopping:
            self.stopping = time.monotonic()
            self.process.send_signal(signal.SIGINT)

    def text(self):
        with open(self.log, "rb") as stream:
            stream.seek(self.log_from)
            return stream.read().decode(errors="replace")

    def collect(self):
        """Move what crashed to crashes/: [(name, seconds, executions)], the two counted from the session's start or, by
        afl-fuzz, from its first."""
        raise NotImplementedError


class LibFuzzer(Session):
    engine = "libfuzzer"
    # "#1234  NEW    cov: 345 ft: 678 corp: 9/10b lim: 4096 exec/s: 11 rss: 40Mb"
    LINE = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)

    def command(self):
        seed = (self.settings.seed + 1000003 * self.worker + self.settings.sessions) % 2**31
        command = libfuzzer_words(self.settings.build.path("kmemlab-fuzz"), self.target, seed, f"{self.folder.artifacts}/", INPUT_SECONDS_MAX)
        command += [f"-rss_limit_mb={MEMORY_MB_MAX}", "-print_funcs=0", "-reload=1"]
        return command + [self.folder.queue, self.folder.corpus]

    def environment(self):
        return self.settings.environment(self.target)

    def progress(self):
        """Of this session: executions, edges."""
        text = self.text()
        lines = self.LINE.findall(text)
        final = re.search(r"stat::number_of_executed_units: (\d+)", text)
        executions = int(final.group(1)) if final else int(lines[-1][0]) if lines else 0
        return {"executions": executions, "edges": int(lines[-1][1]) if lines else 0, "stability": None}

    def collect(self):
        found = []
        for entry in files_in(self.folder.artifacts):
            # Slow inputs are worth knowing, but nothing is wrong with them.
            if entry.name.startswith("slow-unit-"):
                os.unlink(entry.path)
                continue
            kind = entry.name.split("-", 1)[0]  # libFuzzer's: crash, leak, timeout, oom
            found.append((self.folder.keep_crash(entry.path, self.engine, kind), self.elapsed(), self.progress()["executions"]))
            self.folder.drop_crashing_inputs(found[-1][0])
        return found


class Afl(Session):
    engine = "afl"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.name = f"{self.settings.worker_prefix}{self.worker}"
        self.output = self.folder.afl / self.name

    def begin(self):
        self._hand_over_corpus()
        return super().begin()

    def _handed_over(self):
        return self.folder.afl / "corpus" / "queue"

    def _hand_over_corpus(self):
        """What libFuzzer knows, as the queue of one more fuzzer: afl-fuzz takes what is new to it. Numbers only grow."""
        queue = self._handed_over()
        queue.mkdir(parents=True, exist_ok=True)
        names = [entry.name for entry in files_in(queue)]
        known = {name.rsplit(",", 1)[-1] for name in names}
        number = max((int(name[3:9]) for name in names), default=-1) + 1
        for folder in (self.folder.corpus, self.folder.queue):
            for entry in files_in(folder):
                try:
                    shutil.copy(entry.path, queue / ".next")
                except FileNotFoundError:  # libFuzzer, at work there, has found a smaller one
                    continue
                name = content_hash(queue / ".next")
                if name not in known and (queue / ".next").stat().st_size > 0:
                    os.rename(queue / ".next", queue / f"id:{number:06},{name}")
                    known.add(name)
                    number += 1

    def command(self):
        return afl_words(self.settings.afl_build.path("kmemlab-fuzz"), self.target, self.settings.seed + self.worker, self._handed_over(),
                         self.folder.afl, self.name, INPUT_SECONDS_MAX)

    def environment(self):
        environment = {**self.settings.environment(self.target),
                       **afl_environment(self.target, self.settings.afl_build.path("libkmemlab-mutator.so")),
                       **{name: "1" for name in ("AFL_AUTORESUME", "AFL_IMPORT_FIRST", "AFL_IGNORE_UNKNOWN_ENVS")}}
        environment.update({"AFL_SYNC_TIME": "1", "AFL_FORKSRV_INIT_TMOUT": "60000"})
        if self.settings.plugin:
            environment["AFL_IGNORE_PROBLEMS"] = "1"  # the plugin may have coverage of its own, loaded late
        return environment

    def _stats(self):
        try:
            lines = (self.output / "fuzzer_stats").read_text().splitlines()
        except OSError:
            return {}
        return dict((part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)

    def progress(self):
        """Of this worker since its folder was made: afl-fuzz goes on counting when it resumes."""
        stats = self._stats()
        stability = stats.get("stability", "").rstrip("%")
        return {"executions": int(stats.get("execs_done", 0)), "edges": int(stats.get("edges_found", 0)),
                "stability": float(stability) if stability else None}

    def collect(self):
        found = []
        for kind, folder in (("crash", "crashes"), ("timeout", "hangs")):
            for entry in files_in(self.output / folder):
                if not entry.name.startswith("id:"):
                    continue
                when, count = (re.search(rf"{word}:(\d+)", entry.name) for word in ("time", "execs"))
                found.append((self.folder.keep_crash(entry.path, self.engine, kind), int(when.group(1)) / 1000 if when else self.elapsed(),
                              int(count.group(1)) if count else 0))
        return found


ENGINES = {"libfuzzer": LibFuzzer, "afl": Afl}
