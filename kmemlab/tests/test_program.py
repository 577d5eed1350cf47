"""What holds for every command: help, exit status, errors that name the mend, nothing partial left behind."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
COMMANDS = ["list", "demo", "capture", "export", "fidelity", "fuzz", "generate", "import", "info", "replay", "run", "validate",
            "view"]
CSV_FILES = ["summary.csv", "samples.csv", "orders.csv", "map.csv"]


def small_run(kmemlab, trace, out, *more):
    return kmemlab("run", trace, "--out", out, "--no-figures", "--allocator", "binary", "--allocator", "recorded", *more)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(kmemlab, command):
    done = kmemlab(command, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert f"kmemlab {command}" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_option_is_a_usage_error(kmemlab, command):
    done = kmemlab(command, "--no-such-option")
    assert done.returncode == 2
    assert "no-such-option" in done.stderr


def test_unknown_command_names_the_nearest(kmemlab):
    done = kmemlab("replya")
    assert done.returncode == 2
    assert "'replay'" in done.stderr


def test_unknown_allocator_and_parameter_name_the_nearest(kmemlab, shipped):
    done = kmemlab("replay", shipped[0], "--allocator", "fibonaci")
    assert done.returncode == 2 and "'fibonacci'" in done.stderr
    done = kmemlab("replay", shipped[0], "--allocator", "binary:polcy=fifo")
    assert done.returncode == 2 and "'policy'" in done.stderr
    done = kmemlab("replay", shipped[0], "--allocator", "binary:policy=fofo")
    assert done.returncode == 2 and "'fifo'" in done.stderr


def test_list_is_complete(kmemlab):
    listed = json.loads(kmemlab("list", "--json").stdout)
    names = [allocator["name"] for allocator in listed]
    assert names == sorted(names)
    for needed in ["binary", "fibonacci", "weighted", "kary", "dual", "tertiary", "first_fit", "best_fit", "nop", "recorded"]:
        assert needed in names
    text = kmemlab("list").stdout
    for allocator in listed:
        assert allocator["citation"] in text
        for param in allocator["params"]:
            assert param["help"] in text


def wrong_inputs(tmp_path, trace):
    good = trace.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0x10
    inputs = {
        "empty": b"",
        "truncated": good[: len(good) // 2],
        "bit-flipped": bytes(flipped),
        "wrong-type": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "absurd-length": good[:16] + b"\xff" * 64 + good[80:],
    }
    for name, data in inputs.items():
        path = tmp_path / f"{name}.kmt"
        path.write_bytes(data)
        yield path


def test_damaged_traces_are_refused_by_name(kmemlab, shipped, tmp_path):
    for path in wrong_inputs(tmp_path, shipped[0]):
        for command in (["info", path, "--events"], ["replay", path, "--allocator", "binary"], ["view", "buddyinfo", path, "--allocator", "binary"]):
            done = kmemlab(*command)
            assert done.returncode == 2, (command, done.stdout[-300:], done.stderr)
            assert path.name in done.stderr, (command, done.stderr)


def test_damaged_imports_are_refused_and_leave_nothing(kmemlab, shipped, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for path in wrong_inputs(tmp_path, shipped[0]):
        done = kmemlab("import", "-o", out / "x.kmt", path)
        assert done.returncode == 2, (path.name, done.stderr)
        assert path.name in done.stderr
        assert list(out.iterdir()) == []


def test_missing_file_is_named(kmemlab):
    for command in (["info", "no.kmt"], ["replay", "no.kmt", "--allocator", "binary"], ["import", "-o", "x.kmt", "no.txt"], ["run", "no.kmt"]):
        done = kmemlab(*command)
        assert done.returncode == 2, command
        assert command[-1] in done.stderr or "no.kmt" in done.stderr


def test_one_bad_trace_does_not_lose_the_others(kmemlab, shipped, tmp_path):
    bad = tmp_path / "bad.kmt"
    data = bytearray(shipped[0].read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    done = kmemlab("run", bad, shipped[0], "--out", tmp_path / "r", "--no-figures", "--no-min", "--allocator", "binary")
    rows = (tmp_path / "r" / "summary.csv").read_text().splitlines()
    assert any(row.startswith("bad,binary,all,invalid,") for row in rows), done.stderr
    assert any(",binary,all,ok," in row for row in rows)
    assert done.returncode == 2
    assert "bad.kmt" in done.stderr


def test_same_bytes_twice_and_from_clang_and_whatever_the_jobs(kmemlab, program, shipped, tmp_path):
    clang = SOURCE / "build" / "clang" / "kmemlab"
    if not clang.exists():
        pytest.skip("no clang build: run ./test.sh")
    assert small_run(kmemlab, shipped[0], tmp_path / "one", "--jobs", "1").returncode == 0
    assert small_run(kmemlab, shipped[0], tmp_path / "two", "--jobs", "2").returncode == 0
    done = subprocess.run(
        [clang, "run", shipped[0], "--out", tmp_path / "clang", "--no-figures", "--allocator", "binary", "--allocator", "recorded"],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    for name in CSV_FILES:
        first = (tmp_path / "one" / name).read_bytes()
        assert first.count(b"\n") > 2
        assert first == (tmp_path / "two" / name).read_bytes(), name
        assert first == (tmp_path / "clang" / name).read_bytes(), name


def test_all_allocators_give_the_same_bytes_from_gcc_and_clang(program, shipped, tmp_path):
    clang = SOURCE / "build" / "clang" / "kmemlab"
    if not clang.exists():
        pytest.skip("no clang build: run ./test.sh")
    for name, path in (("gcc", program), ("clang", clang)):
        done = subprocess.run([path, "run", shipped[0], "--level", "all,pages", "--no-min", "--out", tmp_path / name, "--no-figures"], capture_output=True)
        assert done.returncode == 0, done.stderr
    for name in CSV_FILES:
        assert (tmp_path / "gcc" / name).read_bytes() == (tmp_path / "clang" / name).read_bytes(), name


def test_waste_terms_add_up_to_held_bytes(kmemlab, shipped, tmp_path):
    import csv

    assert kmemlab("run", shipped[0], "--level", "all,pages", "--out", tmp_path / "r", "--no-figures", "--no-min").returncode == 0
    rows = list(csv.DictReader((tmp_path / "r" / "samples.csv").open()))
    assert {row["allocator"] for row in rows} >= {"recorded", "binary", "fibonacci"}
    for row in rows:
        waste = sum(int(value) for name, value in row.items() if name.startswith("waste_"))
        assert int(row["requested_bytes"]) + waste == int(row["held_bytes"]), row


def test_check_passes_on_a_shipped_trace(kmemlab, shipped):
    done = kmemlab("replay", shipped[0], "--allocator", "fibonacci", "--check")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A folder with 64 KiB of space."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_is_reported_and_earlier_results_stay(kmemlab, shipped, small_disk):
    earlier = small_disk / "earlier"
    earlier.mkdir()
    (earlier / "summary.csv").write_text("kept\n")
    done = kmemlab("run", shipped[0], "--out", small_disk / "later", "--no-figures", "--no-min", "--allocator", "binary", "--allocator", "fibonacci", "--level", "all,pages")
    assert done.returncode == 2, done.stderr
    assert "No space left" in done.stderr
    assert (earlier / "summary.csv").read_text() == "kept\n"
    assert [path.name for path in small_disk.iterdir()] == ["earlier"]


def test_existing_results_are_not_lost_when_the_run_fails(kmemlab, shipped, tmp_path):
    out = tmp_path / "r"
    assert small_run(kmemlab, shipped[0], out, "--no-min").returncode == 0
    before = (out / "summary.csv").read_bytes()
    bad = tmp_path / "bad.kmt"
    bad.write_bytes(b"nonsense")
    assert small_run(kmemlab, bad, out, "--no-min").returncode != 0
    if out.exists() and (out / "summary.csv").exists():
        assert before == (out / "summary.csv").read_bytes() or b"invalid" in (out / "summary.csv").read_bytes()
    else:
        pytest.fail("the earlier results are gone")


def as_nobody(*command, **options):
    return subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", *map(str, command)], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_unwritable_results_folder(program, shipped):
    if as_nobody(program, "info", shipped[0]).returncode != 0:
        pytest.skip("the program or its traces are closed to other users")
    # pytest's own folders are closed to nobody altogether; this one can be seen but not written.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        done = as_nobody(program, "run", shipped[0], "--out", f"{folder}/r", "--no-figures", "--no-min", "--allocator", "binary")
        assert done.returncode == 2
        assert "ermission denied" in done.stderr
        assert os.listdir(folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_capture_without_root_says_so_plainly(program, tmp_path):
    tmp_path.chmod(0o777)
    if as_nobody(program, "--version").returncode != 0:
        pytest.skip("the program's folder is closed to other users")
    done = as_nobody(program, "capture", "-o", "/dev/shm/x.kmt", "--duration", "1")
    assert done.returncode == 2
    assert "root" in done.stderr
    assert "import" in done.stderr
    assert not os.path.exists("/dev/shm/x.kmt")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_halfway_leaves_no_results_that_look_whole(program, shipped, tmp_path, number):
    out = tmp_path / "r"
    process = subprocess.Popen(
        [program, "run", shipped[-1], "--out", out, "--no-figures"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(0.5)
    assert process.poll() is None, "the run was over before it could be killed"
    os.killpg(process.pid, number)
    assert process.wait(timeout=30) != 0
    assert not (out / "summary.csv").exists()
    if number != signal.SIGKILL:
        assert [path.name for path in tmp_path.iterdir()] == []
    # and the next run is not in the way of what was left
    done = subprocess.run([program, "run", shipped[0], "--out", out, "--no-figures", "--no-min", "--allocator", "binary"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (out / "summary.csv").exists()


def test_broken_pipe_is_quiet(program, shipped):
    done = subprocess.run(f"'{program}' info '{shipped[0]}' --events | head -n 3", shell=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 3
    assert "kmemlab:" not in done.stderr


def test_manifest_tells_what_was_run(kmemlab, program, tmp_path):
    """The shipped traces by default, named from the top of the source whatever the machine."""
    done = kmemlab("run", "--out", tmp_path / "r", "--no-figures", "--no-min", "--allocator", "nop", "--samples", "1")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    shipped_names = sorted(path.name for path in (SOURCE / "traces").glob("*.kmt"))
    assert [trace["path"] for trace in manifest["traces"]] == [f"traces/{name}" for name in shipped_names]
    assert manifest["program"]["compiler"] and manifest["machine"]["kernel"] == os.uname().release
    assert manifest["options"]["seed"] == 1
    for trace in manifest["traces"]:
        assert len(trace["xxh64"]) == 16 and trace["events"] > 100_000
