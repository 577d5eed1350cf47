#!/usr/bin/python3
"""Build kmemlab-fuzz with one planted bug: plant.py --build BUILD_FOLDER NAME -o FILE.

The folder is a finished build of any preset (fuzz, afl, dev, ...). The bug's source is compiled once more with
-DKML_PLANT_NAME, as compile_commands.json says, and its object is put before the libraries in the link of kmemlab-fuzz,
so that the one in the library is not taken: a bug costs one compile and one link.
fuzz/bugs.tsv is the table of all bugs. Exit status: 0; 2 when the words, the table or the build will not do.
"""

import argparse
import collections
import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ.get("KMEMLAB_SOURCE") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(SOURCE, "fuzz", "bugs.tsv")
PROOFS = os.path.join(SOURCE, "fuzz", "bugs")
PROGRAM = "kmemlab-fuzz"
QUICK_LINK = ["-fuse-ld=lld"] if shutil.which("ld.lld") else []  # a third of the time

# source: the file with the switch; of a header, then those to compile.
Bug = collections.namedtuple("Bug", ("name", "source", "target", "oracle", "bug_class", "what"))
HEADER = ["name", "source", "target", "oracle", "class", "what"]


class PlantError(Exception):
    """What will not do, and the mend."""


def read_table(path=TABLE):
    """Every bug, in the order of the table."""
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or rows[0] != HEADER:
        raise PlantError(f"{path}: the first line is not: {' '.join(HEADER)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(HEADER) or not all(row):
            raise PlantError(f"{path}:{number}: {len(row)} fields, some perhaps empty: write {len(HEADER)}, with tabs between")
    return [Bug(*row) for row in rows[1:]]


def find_bug(name):
    bugs = {bug.name: bug for bug in read_table()}
    if name not in bugs:
        raise PlantError(f"no bug is called {name}: {TABLE} has them all")
    return bugs[name]


def sources(bug):
    """The file with the switch, and the files to compile."""
    switch, *compiled = bug.source.split(",")
    return switch, compiled or [switch]


def proof(bug):
    """The minimal input that shows the bug."""
    paths = [os.path.join(PROOFS, bug.name + ending) for ending in (".ops", ".input")]
    there = [path for path in paths if os.path.exists(path)]
    if len(there) != 1:
        raise PlantError(f"{bug.name} has {len(there)} proofs: write {paths[0]} or, for a parser, {paths[1]}")
    return there[0]


def oracle_of(printed, status):
    """Which oracle spoke, by what the program printed and its exit status (judge.h has the names); "" when it passed."""
    if status == 0:
        return ""
    for pattern, oracle in ((r"^kmemlab: ([^\s:]+): ", None), (": broken invariant: ", "check"), (": runtime error: ", "undefined"),
                            ("LeakSanitizer: detected memory leaks", "leak"), (r"ERROR: libFuzzer: (\S+)", None),
                            (r"ERROR: AddressSanitizer: (?:attempting )?([^\s:]+)", None)):
        found = re.search(pattern, printed, re.MULTILINE)
        if found:
            return oracle or found.group(1)
    return f"signal-{-status}" if status < 0 else f"exit-{status}"


def run(words, folder):
    environment = dict(os.environ, AFL_QUIET="1")
    done = subprocess.run(words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PlantError(f"{shlex.join(words)}\n{done.stdout}{done.stderr}in {folder}: exit status {done.returncode}")
    return done.stdout


def compile_command(build, source):
    """How the build compiles a source: the words without the output, and the folder."""
    path = os.path.join(build, "compile_commands.json")
    try:
        with open(path, encoding="utf-8") as stream:
            entries = json.load(stream)
    except OSError as error:
        raise PlantError(f"{path}: {error.strerror}: configure and build {PROGRAM} there first") from error
    wanted = os.path.join(SOURCE, source)
    for entry in entries:
        if os.path.normpath(os.path.join(entry["directory"], entry["file"])) != wanted:
            continue
        words = shlex.split(entry["command"])
        at = words.index("-o")
        return words[:at] + words[at + 2:], entry["directory"]
    raise PlantError(f"{path} does not compile {source}")


def link_command(build):
    """How the build links the program: the words, of which the one after -o is the output."""
    lines = run(["ninja", "-t", "commands", PROGRAM], build).splitlines()
    words = shlex.split(lines[-1]) if lines else []
    inner = [word for word in words if word not in ("&&", ":")]
    if "-o" not in inner or os.path.basename(inner[inner.index("-o") + 1]) != PROGRAM:
        raise PlantError(f"{build}: the last command of {PROGRAM} is no link: {shlex.join(words)}")
    return inner


def build_planted(build, bug, output):
    """Compile and link; `output` appears whole or not at all."""
    build, output = os.path.abspath(build), os.path.abspath(output)
    with tempfile.TemporaryDirectory(prefix="kmemlab-plant-") as folder:
        objects = []
        for source in sources(bug)[1]:
            words, directory = compile_command(build, source)
            objects.append(os.path.join(folder, f"{len(objects)}.o"))
            run([*words, f"-DKML_PLANT_{bug.name}", "-w", "-o", objects[-1]], directory)
        words = link_command(build)
        at = words.index("-o") + 1
        partial = f"{output}.partial-{os.getpid()}"
        words[at:at + 1] = [partial, *objects, *QUICK_LINK]
        run(words, build)
        os.replace(partial, output)


def main():
    parser = argparse.ArgumentParser(description="build kmemlab-fuzz with one planted bug")
    parser.add_argument("name", help="of the bug in fuzz/bugs.tsv")
    parser.add_argument("--build", required=True, help="a finished build of kmemlab-fuzz")
    parser.add_argument("-o", dest="output", required=True, help="the program to write")
    words = parser.parse_args()
    try:
        build_planted(words.build, find_bug(words.name), words.output)
    except PlantError as error:
        print(f"plant: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
