"""Each planted bug is there, does not show in the clean program, and is caught by the oracle that the table names."""

import concurrent.futures
import os
import pathlib
import re
import subprocess

import pytest

import plant

# With AddressSanitizer and UBSan: bugs in the parsers show as bad reads.
BUILD = os.environ.get("KMEMLAB_FUZZ_BUILD", os.path.join(plant.SOURCE, "build", "dev"))
JOBS = 2
FOLDERS = ("allocators", "traces", "workloads", "kmemlab")
SWITCH = re.compile(r"\bKML_PLANTED\((\w+)\)")
BUGS = plant.read_table()
# Nobody reads the call stack; symbols would cost half a second a bug.
ENVIRONMENT = {"ASAN_OPTIONS": "symbolize=0:abort_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=0:abort_on_error=1"}


def switches():
    """{(name, file)} of every switch in the sources."""
    found = set()
    for folder in FOLDERS:
        for place, _, names in os.walk(os.path.join(plant.SOURCE, folder)):
            for name in names:
                path = os.path.join(place, name)
                if not name.endswith((".c", ".h")) or name == "planted.h":
                    continue
                with open(path, encoding="utf-8") as stream:
                    found |= {(bug, os.path.relpath(path, plant.SOURCE)) for bug in SWITCH.findall(stream.read())}
    return found


def run_proof(program, bug):
    """The oracle that the proof breaks; "" when it passes."""
    environment = {**os.environ, **ENVIRONMENT, "KML_FUZZ_TARGET": bug.target, "KMEMLAB_SOURCE": plant.SOURCE}
    path = plant.proof(bug)
    words = [program, "--program", path] if path.endswith(".ops") else [program, path]
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return plant.oracle_of(done.stderr.decode(errors="replace"), done.returncode)


@pytest.fixture(scope="session")
def outcomes(request, tmp_path_factory):
    """By the name of each bug that is asked for, the future of what its proof breaks: (clean, planted)."""
    folder = tmp_path_factory.mktemp("planted")
    wanted = {item.callspec.params["bug"].name for item in request.session.items if "outcomes" in getattr(item, "fixturenames", ())}
    clean = os.path.join(BUILD, plant.PROGRAM)
    assert os.path.exists(clean), f"{clean} is missing: cmake --preset dev && cmake --build --preset dev"

    def prove(bug):
        program = os.path.join(folder, bug.name)
        plant.build_planted(BUILD, bug, program)
        outcome = run_proof(clean, bug), run_proof(program, bug)
        os.remove(program)
        return outcome

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        yield {bug.name: pool.submit(prove, bug) for bug in BUGS if bug.name in wanted}


def test_switches_and_table_are_the_same_set():
    assert {(bug.name, plant.sources(bug)[0]) for bug in BUGS} == switches()


def test_names_are_unique():
    names = [bug.name for bug in BUGS]
    assert sorted(set(names)) == sorted(names)


def test_every_proof_belongs_to_a_bug():
    proofs = {os.path.splitext(name)[0] for name in os.listdir(plant.PROOFS)}
    assert proofs == {bug.name for bug in BUGS}


def operations(path):
    """The lines of a program, comments left out."""
    with open(path, encoding="utf-8") as stream:
        return {line.split("#")[0].strip() for line in stream} - {""}


def test_no_seed_contains_a_proof():
    """Seeds are general scenarios: none has all lines of a proof, setup and operations, and none of a parser's is a proof's bytes."""
    seeds = [os.path.join(place, name) for place, _, names in os.walk(os.path.join(plant.SOURCE, "fuzz", "seeds")) for name in names]
    programs = {path: operations(path) for path in seeds if path.endswith(".ops")}
    files = {path: pathlib.Path(path).read_bytes() for path in seeds if path not in programs}
    assert programs and files
    for path in map(plant.proof, BUGS):
        if path.endswith(".ops"):
            told = [seed for seed, lines in programs.items() if operations(path) <= lines]
        else:
            told = [seed for seed, content in files.items() if content == pathlib.Path(path).read_bytes()]
        assert not told, f"{told[0]} contains {path}"


def test_enough_bugs_in_allocators_and_parsers():
    places = [plant.sources(bug)[0].split(os.sep)[0] for bug in BUGS]
    assert len(BUGS) >= 110 and {"allocators", "traces"} <= set(places)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_proof(bug, outcomes):
    clean, planted = outcomes[bug.name].result()
    assert clean == "", f"the clean program fails on {plant.proof(bug)}"
    assert planted == bug.oracle
