#!/usr/bin/python3
"""A fuzzing campaign: targets and engines share the time, corpora are merged, crashes become finds, a report is written.

Started by `kmemlab fuzz`, which has checked the words. Everything lies in one folder; a campaign that was ended in any way
goes on from there. Exit status: 0 nothing was found, 1 something was (or the canary was not), 2 a tool is missing or the folder
cannot be used.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import sys
import time
import traceback

import finds
import report
from books import Books
from builds import SOURCE, Build, check_tools
from engines import AFL_DRIVER_INPUT, ENGINES, Folder
from tools import CampaignError, Terminal, files_in, run, tail

POLL_SECONDS = 0.2
TURN_SECONDS_MIN, TURN_SECONDS_MAX = 2, 300
CANARY_SECONDS_MAX = 30
FAILED_STARTS_MAX = 3  # in a row: then it is not the input


@dataclasses.dataclass
class Settings:
    """What sessions share."""

    build: Build
    afl_build: Build
    plugin: str
    seed: int
    worker_prefix: str
    sessions: int  # so far: libFuzzer shall not draw the same numbers again

    def environment(self, target):
        plugin = {"KML_FUZZ_PLUGIN": self.plugin} if self.plugin else {}
        return {"KML_FUZZ_TARGET": target["name"], **plugin}


class Campaign:
    def __init__(self, arguments):
        self.arguments = arguments
        self.out = pathlib.Path(arguments.out or SOURCE / "build" / "campaign").absolute()
        self.engines = ["libfuzzer", "afl"] if arguments.engine == "both" else [arguments.engine]
        self.terminal = Terminal()
        self.interrupted = False
        self.sessions, self.failed_starts = [], {}
        self.settling = None
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=max(1, arguments.jobs))
        self.canary = {}

    # --- before

    def build(self):
        presets = ["fuzz"] + (["afl"] if "afl" in self.engines else [])
        plain = self.arguments.plain
        check_tools(presets)
        self.engine_build = Build("fuzz", plain).make(self.terminal)
        self.judge_build = Build("fuzz-plain").make(self.terminal) if plain else self.engine_build
        self.afl_build = Build("afl", plain).make(self.terminal) if "afl" in self.engines else None
        self.lines = report.Lines(Build("fuzz-coverage"), self.out, self.arguments.no_coverage)
        if self.lines.wanted and not self.lines.missing:
            self.lines.build.make(self.terminal)
        self.tool = finds.Tool(self.judge_build.path("kmemlab"), self.arguments.plugin)

    def choose_targets(self):
        status, output, errors = self.tool("--list", "--json")
        if status != 0:
            raise CampaignError(f"the targets cannot be listed: {tail(errors, 3)}")
        known = {target["name"]: target for target in json.loads(output)}
        names = list(dict.fromkeys(self.arguments.targets or ["all"]))
        if "all" in names:
            names = [name for name in known if known[name]["kind"] != "canary"] + [name for name in names if known.get(name, {}).get("kind") == "canary"]
        self.targets = [known[name] for name in names]
        self.canary_target = next(target for target in known.values() if target["kind"] == "canary")

    def open_folder(self):
        self.books = Books(self.out)
        sync = pathlib.Path(self.arguments.sync).absolute() if self.arguments.sync else None
        prefix = "worker" if not sync else "".join(letter if letter.isalnum() else "-" for letter in os.uname().nodename) + "-"
        self.settings = Settings(self.engine_build, self.afl_build, self.arguments.plugin, self.arguments.seed, prefix, self.books.state["sessions"])
        self.folders = {target["name"]: Folder(self.out, target["name"], sync) for target in self.targets}
        for target in self.targets:
            self.folders[target["name"]].make()

    def recover(self):
        """After a kill: a merge that was nearly through is, and what engines left lying is picked up."""
        for target in self.targets:
            name, folder = target["name"], self.folders[target["name"]]
            old = folder.path / "corpus.old"
            if old.exists():
                if not files_in(folder.corpus):
                    shutil.rmtree(folder.corpus, ignore_errors=True)
                    os.rename(old, folder.corpus)
                else:
                    shutil.rmtree(old)
            shutil.rmtree(folder.path / "corpus.new", ignore_errors=True)
            for engine in ENGINES:
                pair = self.books.pair(name, engine)
                for worker in range(self.books.state["workers"].get(f"{name}/{engine}", 0)):
                    session = ENGINES[engine](target, folder, self.settings, worker, 0)
                    if session.log.exists():
                        session.log_from = session.log.stat().st_size
                        self._keep(session, pair["seconds"], pair["executions"])
            # Moved, but the books were not written any more.
            for entry in files_in(folder.crashes):
                engine = entry.name.split("-", 1)[0]
                pair = self.books.pair(name, engine)
                self.books.add_crash(name, entry.name, engine, pair["seconds"], pair["executions"])
        self.books.save()

    def sow(self):
        """First inputs where there are none; those that fail already are crashes."""
        empty = [target for target in self.targets if not files_in(self.folders[target["name"]].corpus)]
        for number, _ in enumerate(self.pool.map(self._sow_one, empty)):
            self.terminal.show(f"first inputs: {number + 1} of {len(empty)} targets")
        self.books.save()

    def _sow_one(self, target):
        name, folder = target["name"], self.folders[target["name"]]
        sown = folder.path / "corpus.new"
        self.tool("--write-corpus", "--target", name, sown)
        sown.mkdir(exist_ok=True)
        finds.write_bytes(sown / "driver", AFL_DRIVER_INPUT)
        entries = [pathlib.Path(entry.path) for entry in files_in(sown)]
        for path, verdict in finds.judge(self.tool, name, entries).items() if entries else ():
            if verdict["failed"]:
                self.books.add_crash(name, folder.keep_crash(path, "seed", "crash"), "seed", 0.0, 0)
        if not any(entry.stat().st_size for entry in files_in(sown)):
            finds.write_bytes(sown / "zero", bytes(1))  # engines want one byte at least
        shutil.rmtree(folder.corpus)
        os.rename(sown, folder.corpus)

    # --- the canary

    def send_canary(self):
        """An allocator that is wrong must be found by each engine, or its silence means nothing."""
        if any(target["kind"] == "canary" for target in self.targets):
            return
        for engine in self.engines:
            self.terminal.show(f"canary: {engine}")
            seconds = self._canary_seconds(engine)
            if not self.interrupted:
                self.canary[engine] = seconds

    def _canary_seconds(self, engine):
        home = self.out / ".canary"
        shutil.rmtree(home, ignore_errors=True)
        folder = Folder(home, self.canary_target["name"])
        folder.make()
        finds.write_bytes(folder.corpus / "zero", bytes(64))
        session = ENGINES[engine](self.canary_target, folder, self.settings, 0, CANARY_SECONDS_MAX).begin()
        seconds = None
        while session.running() and not self.interrupted:
            time.sleep(0.05)
            if self._crashed(session):
                seconds = session.elapsed()
                break
        if seconds is None and self._crashed(session):
            seconds = session.elapsed()
        said, ended_itself = session.text(), session.process.poll() is not None and not session.stopping
        session.process.kill()
        session.process.wait()
        shutil.rmtree(home, ignore_errors=True)
        if seconds is None and ended_itself:
            raise CampaignError(f"{engine} does not run:\n{tail(said)}")
        return seconds

    @staticmethod
    def _crashed(session):
        crashed = files_in(session.output / "crashes") if session.engine == "afl" else files_in(session.folder.artifacts)
        return any(not entry.name.startswith(("README", "slow-unit-")) for entry in crashed)

    # --- the time

    def fuzz(self):
        seconds = self.arguments.seconds
        pairs = [(target, engine) for target in self.targets for engine in self.engines]
        turn = min(TURN_SECONDS_MAX, max(TURN_SECONDS_MIN, seconds * self.arguments.jobs / len(pairs)))
        started, self.ends = time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < self.ends and not self.interrupted:
            for session in [session for session in self.sessions if not session.running()]:
                self._end(session)
            while len(self.sessions) < self.arguments.jobs and time.monotonic() < self.ends and not self.interrupted:
                self._begin(*self._next_pair(pairs), turn)
            self._count()
            self._settle_aside()
            self._show(time.monotonic() - started, seconds)
            time.sleep(POLL_SECONDS)
        for session in self.sessions:
            session.stop()
        for session in list(self.sessions):
            while session.running():
                time.sleep(0.05)
            self._end(session)
        self.books.save()

    def _next_pair(self, pairs):
        """Whoever has the fewest workers at present, of these the least time."""

        def burden(pair):
            target, engine = pair
            working = sum(1 for session in self.sessions if (session.target["name"], session.engine) == (target["name"], engine))
            return working, self.books.pair(target["name"], engine)["seconds"]

        return min(pairs, key=burden)

    def _begin(self, target, engine, turn):
        name = target["name"]
        working = {session.worker for session in self.sessions if (session.target["name"], session.engine) == (name, engine)}
        worker = next(number for number in range(len(working) + 1) if number not in working)
        workers = self.books.state["workers"]
        workers[f"{name}/{engine}"] = max(workers.get(f"{name}/{engine}", 0), worker + 1)
        self.books.state["sessions"] = self.settings.sessions = self.settings.sessions + 1
        session = ENGINES[engine](target, self.folders[name], self.settings, worker, min(turn, max(1, self.ends - time.monotonic())))
        before = session.progress()["executions"] if engine == "afl" else 0  # afl-fuzz goes on counting
        session.begin()
        session.counted = {"seconds": 0.0, "executions": before}
        self.sessions.append(session)

    def _count(self, sessions=None):
        for session in self.sessions if sessions is None else sessions:
            pair, now = self.books.pair(session.target["name"], session.engine), session.progress()
            elapsed, executions = session.elapsed(), max(now["executions"], session.counted["executions"])
            pair["seconds"] += elapsed - session.counted["seconds"]
            pair["executions"] += executions - session.counted["executions"]
            session.counted = {"seconds": elapsed, "executions": executions}
            pair["edges"] = max(pair["edges"], now["edges"])
            if now["stability"] is not None:
                pair["stability"] = now["stability"]
        self.books.save_sometimes()

    def _keep(self, session, seconds_before, executions_before):
        found = session.collect()
        for name, seconds, executions in found:
            if session.engine == "afl":  # counts from its first session
                seconds_before = executions_before = 0
            self.books.add_crash(session.target["name"], name, session.engine, seconds_before + seconds, executions_before + executions)
        return found

    def _end(self, session):
        self.sessions.remove(session)
        pair = self.books.pair(session.target["name"], session.engine)
        before = (pair["seconds"] - session.counted["seconds"], pair["executions"] - session.counted["executions"])
        self._count([session])
        found = self._keep(session, *before)
        key = (session.target["name"], session.engine)
        worked = found or session.stopping or session.progress()["executions"] > 0
        self.failed_starts[key] = 0 if worked else self.failed_starts.get(key, 0) + 1
        if self.failed_starts[key] >= FAILED_STARTS_MAX:
            raise CampaignError(f"{session.engine} does not run on {key[0]}:\n{tail(session.text())}\nThe whole log is {session.log}")

    def _show(self, elapsed, seconds):
        executions = sum(pair["executions"] for pair in self.books.state["pairs"].values())
        at_work = ", ".join(f"{session.target['name']} ({session.engine})" for session in self.sessions)
        self.terminal.show(f"fuzz {elapsed:.0f}/{seconds} s  {executions} executions  {len(self.books.state['finds'])} finds  {at_work}")

    # --- finds

    def _settle_aside(self):
        """Crashes are looked at while the engines run, one target at a time."""
        if self.settling and self.settling.done():
            self._book(self.settling.result())
            self.settling = None
        waiting = self.books.unjudged()
        if not self.settling and waiting:
            self.settling = self.pool.submit(self._settle, waiting[0].split("/", 1)[0])

    def _settle(self, target):
        crashes = {key.split("/", 1)[1]: dict(crash) for key, crash in list(self.books.state["crashes"].items())
                   if key.startswith(f"{target}/") and crash["find"] is None}
        return target, *finds.settle(self.tool, self.out, target, crashes, dict(self.books.state["finds"]))

    def _book(self, settled):
        target, belongs, made = settled
        for crash, find in belongs.items():
            self.books.state["crashes"][f"{target}/{crash}"]["find"] = find
        self.books.state["finds"].update(made)
        self.books.save()
        for name in made:
            self.terminal.say(f"found: {name}: {made[name]['text']}")

    def settle(self):
        if self.settling:
            self._book(self.settling.result())
            self.settling = None
        while self.books.unjudged():
            self.terminal.show(f"finds: {len(self.books.unjudged())} crashes to look at")
            self._book(self._settle(self.books.unjudged()[0].split("/", 1)[0]))

    # --- after

    def harvest(self):
        """Merge, and measure what the corpora cover."""
        done = 0
        for name, measured in self.pool.map(self._harvest_one, self.targets):
            done += 1
            self.terminal.show(f"corpora and coverage: {done} of {len(self.targets)} targets")
            if measured:
                stable = measured.pop("stability")
                if "libfuzzer" in self.engines:
                    self.books.pair(name, "libfuzzer")["stability"] = stable
                self.books.state["coverage"][name] = measured
                self.books.save_sometimes()
        if not self.interrupted:
            self.books.state["coverage"][""] = {"lines": self.lines.together(self.folders.values())}
        self.books.save()

    def _harvest_one(self, target):
        if self.interrupted:
            return target["name"], None
        folder, environment = self.folders[target["name"]], self.settings.environment(target)
        self.merge(target, folder, environment)
        return target["name"], {"corpus": len(files_in(folder.corpus)), "lines": self.lines.measure(target, folder, environment),
                                "stability": report.stability(self.engine_build, environment, target, folder)}

    def merge(self, target, folder, environment):
        """What of both engines' inputs adds coverage becomes the corpus; the old one stays until the new one is whole."""
        sources = [source for source in [folder.corpus, folder.queue, *folder.afl_queues()] if files_in(source)]
        new, old = folder.path / "corpus.new", folder.path / "corpus.old"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        limit = [f"-max_len={target['bytes_max']}"] if target["bytes_max"] else []
        status, _, errors = run([self.engine_build.path("kmemlab-fuzz"), "-merge=1", f"-artifact_prefix={folder.artifacts}/", *limit, new, *sources],
                                env={**os.environ, **environment})
        if status != 0 or not files_in(new):
            shutil.rmtree(new, ignore_errors=True)
            (folder.logs / "merge.log").write_text(errors)
            return
        merged = files_in(folder.queue)
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder.corpus, old)
        os.rename(new, folder.corpus)
        shutil.rmtree(old)
        for entry in merged:
            pathlib.Path(entry.path).unlink(missing_ok=True)
        for entry in files_in(folder.artifacts):  # what one engine takes may crash the other's build
            self.books.add_crash(target["name"], folder.keep_crash(entry.path, "libfuzzer", "crash"), "libfuzzer", 0.0, 0)

    def tell(self):
        made = report.make(self.books, self.targets, self.engines, self.canary, self.lines.missing, self.interrupted)
        report.write(self.out, made)
        self.terminal.clear()
        print(json.dumps(made, indent=1, sort_keys=True) if self.arguments.json else report.text(made) + f"All of it is in {self.out}", flush=True)
        blind = any(seconds is None for seconds in self.canary.values())
        return 1 if made["finds"] or blind else 0

    def on_signal(self, *_):
        if self.interrupted:  # asked twice
            for session in self.sessions:
                session.process.kill()
            os._exit(1)
        self.interrupted = True

    def run(self):
        self.build()
        self.choose_targets()
        self.open_folder()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        self.recover()
        self.sow()
        self.send_canary()
        try:
            self.fuzz()
        finally:
            for session in self.sessions:
                session.process.kill()
        self.settle()
        if not self.interrupted:
            self.harvest()
            self.settle()
        return self.tell()


def main():
    parser = argparse.ArgumentParser(prog="kmemlab fuzz")
    parser.add_argument("--engine", default="both")
    parser.add_argument("--out")
    parser.add_argument("--sync")
    parser.add_argument("--plugin")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--no-coverage", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("targets", nargs="*")
    campaign = Campaign(parser.parse_args())
    try:
        return campaign.run()
    except CampaignError as error:
        campaign.terminal.clear()
        print(f"kmemlab fuzz: {error}", file=sys.stderr)
        return 2
    except Exception:  # exit status 1 is kept for finds
        campaign.terminal.clear()
        traceback.print_exc()
        return 2


if __name__ == "__main__":
    sys.exit(main())
