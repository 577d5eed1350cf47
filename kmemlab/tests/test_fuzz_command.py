"""`kmemlab fuzz` as a user meets it: short campaigns, finds and their files, resuming after a kill, words that will not do."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = SOURCE / "allocators" / "example_plugin"
NEEDED = ["clang", "afl-clang-fast", "afl-fuzz", "cmake", "ninja"]

pytestmark = pytest.mark.skipif(any(not shutil.which(tool) for tool in NEEDED), reason="needs clang and afl++: apt-get install clang afl++")


def campaign(kmemlab, *words, seconds=3):
    """(exit status, report); exit status 2 fails here with what was said."""
    done = kmemlab("fuzz", *words, "--seconds", seconds, "--json")
    assert done.returncode != 2, done.stderr
    return done.returncode, json.loads(done.stdout)


def compile_plugin(source, path):
    subprocess.run(["cc", "-shared", "-fPIC", "-g", "-I", SOURCE, source, "-o", path], check=True)


@pytest.fixture(scope="module")
def canary_campaign(program, tmp_path_factory):
    """A campaign on the canary alone: (exit status, report, its folder)."""
    out = tmp_path_factory.mktemp("canary") / "out"
    done = subprocess.run([program, "fuzz", "canary", "--engine", "libfuzzer", "--no-coverage", "--jobs", "1", "--seconds", "3", "--json", "--out", out],
                          capture_output=True, text=True, check=False)
    assert done.returncode != 2, done.stderr
    return done.returncode, json.loads(done.stdout), out


# --- finds ------------------------------------------------------------------------------------------------------------


def test_canary_is_found_and_minimised(canary_campaign, kmemlab):
    status, report, out = canary_campaign
    assert status == 1
    assert report["finds"]
    for name, find in report["finds"].items():
        # Three frees of equal blocks in a row, the last of which is forgotten; the final drain can do what frees would.
        assert find["form"] == "program" and 3 <= find["operations"] <= 6, find
        text = (out / "found" / f"{name}.ops").read_text()
        assert text.startswith("kmemlab program 1\n")
        assert sum(line.startswith("alloc") or line.startswith("pages") for line in text.splitlines()) >= 3
        assert find["text"] in (out / "found" / f"{name}.txt").read_text()


def test_finds_fail_again_from_every_file(canary_campaign, kmemlab):
    _, report, out = canary_campaign
    for name, find in report["finds"].items():
        for file in (out / "found" / f"{name}.ops", out / "found" / f"{name}.kmt", out / find["crash"]):
            done = kmemlab("fuzz", "--run", "--json", file)
            assert done.returncode == 1, (file, done.stderr)
            assert [verdict["oracle"] for verdict in json.loads(done.stdout)] == [find["oracle"]]


def link_words(program):
    """What a test of the project is linked with, from the build that the program is of."""
    build = pathlib.Path(program).parent
    # Not of the presets' builds, which lie in the folder of the release build.
    libraries = list(build.glob("*/libkml_*.a"))
    packages = subprocess.run(["pkg-config", "--libs", "cmocka", "libzstd", "libxxhash", "libcjson", "libtracefs", "libtraceevent", "zlib"],
                              capture_output=True, text=True, check=True).stdout.split()
    sanitizers = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout.count("__asan_init")
    return ["-Wl,--start-group", *libraries, "-Wl,--end-group", *packages, "-lm", "-ldl", *(["-fsanitize=address,undefined"] if sanitizers else [])]


def test_regression_test_compiles_and_fails(canary_campaign, program, tmp_path):
    _, report, out = canary_campaign
    name, find = next(iter(report["finds"].items()))
    command = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-I", SOURCE, out / "found" / f"{name}_test.c", "-o", tmp_path / "test"]
    built = subprocess.run([*command, *link_words(program)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert f"{find['oracle']}: " in ran.stderr and "1 FAILED TEST" in ran.stderr


def test_an_allocator_of_ones_own(kmemlab, tmp_path):
    """A plugin that does not zero: an owner must have written before, so three operations; mended, the find passes."""
    right = (PLUGINS / "cells.c").read_text()
    wrong = right.replace("(request->flags & KML_ZEROED) != 0 &&", "request->size_bytes == 0 &&")
    assert wrong != right
    (tmp_path / "wrong.c").write_text(wrong)
    compile_plugin(tmp_path / "wrong.c", tmp_path / "wrong.so")
    compile_plugin(PLUGINS / "cells.c", tmp_path / "right.so")
    status, report = campaign(kmemlab, "cells", "--plugin", tmp_path / "wrong.so", "--engine", "libfuzzer", "--no-coverage", "--jobs", 1,
                              "--out", tmp_path / "out", seconds=4)
    assert status == 1
    find = report["finds"]["cells-zeroed"]
    assert find["oracle"] == "zeroed" and find["operations"] <= 3
    trace = tmp_path / "out" / "found" / "cells-zeroed.kmt"
    done = kmemlab("replay", "--check", trace, "--plugin", tmp_path / "wrong.so")
    assert done.returncode == 1 and "zeroed: " in done.stderr
    done = kmemlab("replay", "--check", trace, "--plugin", tmp_path / "right.so")
    assert done.returncode == 0, done.stderr


# --- campaigns --------------------------------------------------------------------------------------------------------


def test_a_right_allocator_passes_with_both_engines(kmemlab, tmp_path):
    status, report = campaign(kmemlab, "nop", "--engine", "both", "--jobs", 2, "--out", tmp_path / "out", seconds=4)
    assert status == 0 and not report["finds"]
    assert {row["engine"] for row in report["rows"]} == {"libfuzzer", "afl"}
    for row in report["rows"]:
        assert row["executions"] > 100 and row["edges"] > 0 and row["corpus"] > 0, row
        assert row["stability_percent"] == 100, row
        if not report["missing_tools"]:
            covered, lines = row["lines"]["allocators"]
            assert 0 < covered < lines
    assert all(seconds is not None for seconds in report["canary"].values())
    assert (tmp_path / "out" / "report.txt").exists() and json.loads((tmp_path / "out" / "report.json").read_text()) == report


def processes_of(folder):
    """Command lines of living processes that name the folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
            alive = "Z" not in (path.parent / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if os.fsencode(folder) in line and alive:
            found.append(line)
    return found


def wait_for(what, seconds=30):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if what():
            return True
        time.sleep(0.1)
    return False


def test_killed_it_goes_on_and_loses_no_crash(canary_campaign, kmemlab, program, tmp_path):
    _, report, first = canary_campaign
    crash = first / next(iter(report["finds"].values()))["crash"]
    out = tmp_path / "out"
    words = ["fuzz", "canary", "--engine", "libfuzzer", "--no-coverage", "--jobs", "1", "--out", out]
    process = subprocess.Popen([program, *words, "--seconds", "100"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def books():
        return json.loads((out / "state.json").read_text()) if (out / "state.json").exists() else {"crashes": {}, "pairs": {}}

    assert wait_for(lambda: books()["crashes"] and books()["pairs"]["canary/libfuzzer"]["executions"] > 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_for(lambda: not processes_of(out), 5), "engines outlived their campaign"
    before = books()
    kept = {path.name for path in (out / "canary" / "crashes").iterdir()}
    # What an engine wrote at the last moment.
    content = crash.read_bytes() + b"\1"
    (out / "canary" / "artifacts" / "crash-late").write_bytes(content)
    status = kmemlab(*words, "--seconds", 1).returncode
    after = books()
    assert status == 1
    crashes = list((out / "canary" / "crashes").iterdir())
    assert kept <= {path.name for path in crashes}
    assert content in [path.read_bytes() for path in crashes]
    assert all(entry["find"] for entry in after["crashes"].values())
    assert after["pairs"]["canary/libfuzzer"]["executions"] >= before["pairs"]["canary/libfuzzer"]["executions"]


def test_interrupted_it_ends_with_a_report(program, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen([program, "fuzz", "canary", "--engine", "libfuzzer", "--no-coverage", "--seconds", "100", "--out", out, "--jobs", "1"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert wait_for(lambda: list(out.glob("canary/crashes/*")))
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Interrupted" in text and "1 finds" in text or " finds:" in text
    assert (out / "report.txt").exists()


def test_two_campaigns_do_not_share_a_folder(canary_campaign, kmemlab):
    import fcntl

    _, _, out = canary_campaign
    with open(out / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = kmemlab("fuzz", "canary", "--engine", "libfuzzer", "--no-coverage", "--seconds", 1, "--out", out)
    assert done.returncode == 2 and "another campaign" in done.stderr


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, says", [
    (["no-such-target"], "nearest"),
    (["binary", "--engine", "klee"], "libfuzzer, afl or both"),
    (["binary", "--seconds", "0"], "number"),
    (["binary", "--minutes", "1", "--seconds", "1"], "not both"),
    (["--show"], "one file"),
    (["--show", "/no/such/file"], "/no/such/file"),
    (["--run", "--jobs", "2", "x"], "campaigns"),
    (["--run", "--show", "x"], "at a time"),
    (["--minimise", "x", "--target", "no-such"], "no-such"),
    (["--write-corpus", "x"], "--target"),
])
def test_words_that_will_not_do(kmemlab, words, says):
    done = kmemlab("fuzz", *words)
    assert done.returncode == 2
    assert says in done.stderr, done.stderr


def test_a_folder_that_is_no_campaign_stays_as_it_is(kmemlab, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.tex").write_text("years")
    done = kmemlab("fuzz", "nop", "--engine", "libfuzzer", "--no-coverage", "--seconds", 1, "--out", out)
    assert done.returncode == 2 and "no campaign" in done.stderr
    assert (out / "thesis.tex").read_text() == "years"


def test_missing_engine_names_its_package(program, tmp_path):
    """With a PATH that has all but AFL++."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("cmake", "ninja", "clang", "setpriv"):
        (tools / tool).symlink_to(shutil.which(tool))
    done = subprocess.run([program, "fuzz", "nop", "--engine", "afl", "--out", tmp_path / "out"], env={**os.environ, "PATH": str(tools)},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "apt-get install" in done.stderr and "afl++" in done.stderr


def test_targets_are_those_of_the_registry(kmemlab):
    targets = {target["name"]: target for target in json.loads(kmemlab("fuzz", "--list", "--json").stdout)}
    allocators = json.loads(kmemlab("list", "--json").stdout)
    for allocator in allocators:
        if allocator["layer"] == "pages":
            assert targets[allocator["name"]]["stack"] == allocator["name"]
        else:
            assert targets[f"{allocator['name']}-binary"]["stack"] == f"{allocator['name']}/binary"
    assert targets["canary"]["kind"] == "canary"


def test_first_inputs_can_be_shown_and_pass(kmemlab, tmp_path):
    assert kmemlab("fuzz", "--write-corpus", tmp_path / "seeds", "--target", "slub-binary").returncode == 0
    seeds = sorted((tmp_path / "seeds").iterdir())
    assert seeds
    done = kmemlab("fuzz", "--show", seeds[0], "--target", "slub-binary")
    assert done.returncode == 0 and done.stdout.startswith("kmemlab program 1\nstack slub")
    (tmp_path / "again.ops").write_text(done.stdout)
    assert kmemlab("fuzz", "--show", tmp_path / "again.ops").stdout == done.stdout
    assert kmemlab("fuzz", "--run", "--target", "slub-binary", *seeds).returncode == 0


def test_what_passes_cannot_be_minimised(kmemlab, tmp_path):
    (tmp_path / "fine.ops").write_text("kmemlab program 1\nstack binary\narena 65536\nalloc 0 size=100\nfree 0\n")
    done = kmemlab("fuzz", "--minimise", "fine.ops")
    assert done.returncode == 2 and "passes" in done.stderr


