"""What a campaign remembers, in OUT/state.json: written whole, every few seconds, so that a kill costs seconds of counting.

pairs     "TARGET/ENGINE": seconds, executions, edges, stability, corpus
crashes   "TARGET/NAME" of each file in crashes/: engine, seconds and executions until it came, the find it belongs to
finds     NAME of each distinct find: target, oracle, place, what was first, how small it became
"""

import fcntl
import json
import os
import time

from tools import CampaignError, write_json

VERSION = 1
SAVE_SECONDS = 5


class Books:
    def __init__(self, out):
        self.path = out / "state.json"
        self.saved = time.monotonic()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self.lock = open(out / ".lock", "w")
        except OSError as error:
            raise CampaignError(f"{out}: {error.strerror}: choose an --out that you may write to") from error
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CampaignError(f"{out}: another campaign is at work there: wait for it, or choose another --out") from None
        self.state = {"version": VERSION, "pairs": {}, "crashes": {}, "finds": {}, "workers": {}, "coverage": {}, "sessions": 0}
        if self.path.exists():
            self._read()
        elif any(entry.name != ".lock" for entry in os.scandir(out)):
            raise CampaignError(f"{out}: is there, and no campaign: name another --out, or remove it")
        else:
            self.save()

    def _read(self):
        try:
            state = json.loads(self.path.read_text())
            if state["version"] != VERSION:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise CampaignError(f"{self.path}: is no campaign of this version: name another --out") from None
        self.state = state

    def save(self):
        self.saved = time.monotonic()
        write_json(self.path, self.state)

    def save_sometimes(self):
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save()

    def pair(self, target, engine):
        return self.state["pairs"].setdefault(f"{target}/{engine}", {"seconds": 0.0, "executions": 0, "edges": 0, "stability": None})

    def add_crash(self, target, name, engine, seconds, executions):
        """Known already: the first time counts."""
        self.state["crashes"].setdefault(f"{target}/{name}", {"engine": engine, "seconds": seconds, "executions": executions, "find": None})

    def unjudged(self):
        return [key for key, crash in self.state["crashes"].items() if crash["find"] is None]
