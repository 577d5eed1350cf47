"""Processes and files that a campaign needs: children that die with it, and files that are there whole or not at all."""

import json
import os
import shutil
import subprocess
import sys

# A killed campaign must not leave engines running: the kernel ends them with their parent (prctl(2), PR_SET_PDEATHSIG).
WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


class CampaignError(Exception):
    """What the user can mend; the text says how. Exit status 2."""


def tail(text, lines=15):
    return "\n".join(text.strip().splitlines()[-lines:])


def start(command, log=None, **options):
    """A child in a session of its own, so that Ctrl-C reaches the campaign alone; `log` is a path that is appended to."""
    stream = open(log, "ab") if log else subprocess.DEVNULL
    try:
        return subprocess.Popen(WITH_PARENT + [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                                start_new_session=True, **options)
    finally:
        if log:
            stream.close()


def run(command, **options):
    """Run to the end; (exit status, output, errors)."""
    options.setdefault("start_new_session", True)
    done = subprocess.run(WITH_PARENT + [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, errors="replace", **options)
    return done.returncode, done.stdout, done.stderr


def write_whole(path, text):
    """Under its name only when all of it is on the disk."""
    partial = f"{path}.partial-{os.getpid()}"
    with open(partial, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def write_json(path, value):
    write_whole(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def files_in(folder):
    """The regular files of a folder, in the order of their names; none when it is not there."""
    try:
        return sorted((entry for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


class Terminal:
    """One line on stderr that is drawn over; silent where stderr is no terminal."""

    def __init__(self):
        self.visible = sys.stderr.isatty()
        self.drawn = False

    def show(self, text):
        if self.visible:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\033[K{text[:width]}")
            sys.stderr.flush()
            self.drawn = True

    def clear(self):
        if self.drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self.drawn = False

    def say(self, text):
        """A line that stays, also where there is no terminal."""
        self.clear()
        print(text, file=sys.stderr, flush=True)
