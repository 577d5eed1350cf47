"""`kmemlab import` on a series of /proc/slabinfo: the shipped ones, what `info` prints, a folder, a pipe; then replayed."""

import gzip
import json
import pathlib
import re
import subprocess
import tarfile

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SERIES = sorted((SOURCE / "traces" / "series").glob("*.slabinfo.zst"))
LINE = "{name} {active} 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n"


def snapshot(**active):
    return "slabinfo - version: 2.1\n" + "".join(LINE.format(name=name, active=count) for name, count in active.items())


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(f"time: 10\n{snapshot(dentry=9, filp=2)}time: 20\n{snapshot(dentry=4, filp=6)}")
    return path


def summary(kmemlab, trace):
    done = kmemlab("info", "--json", trace)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def counts(text):
    """Active objects of every cache, of a slabinfo."""
    lines = re.findall(r"^([^#\n].*?) +(\d+) +\d+ +\d+ +\d+ +\d+ : tunables", text, re.MULTILINE)
    return {name: int(active) for name, active in lines}


def live_at_the_end(kmemlab, trace):
    done = kmemlab("info", "--events", "--csv", trace)
    assert done.returncode == 0, done.stderr
    live = {}
    for line in done.stdout.splitlines()[1:]:
        fields = line.split(",")
        if fields[3] in ("alloc", "free"):
            live[fields[10]] = live.get(fields[10], 0) + (1 if fields[3] == "alloc" else -1)
    return live


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.name)
def test_a_shipped_series_is_imported_whole_and_replayed(kmemlab, tmp_path, path):
    done = kmemlab("import", "--strict", "--churn", "0", "--cpus", "2", "-o", "out.kmt", path)
    assert done.returncode == 0, done.stderr
    text = subprocess.run(["zstd", "-dc", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    snapshots = re.split(r"^time: \d+\n", text, flags=re.MULTILINE)[1:]
    told = [counts(part) for part in snapshots]
    needed = sum(abs(after.get(name, 0) - before.get(name, 0)) for before, after in zip(told, told[1:]) for name in before | after)
    totals = summary(kmemlab, "out.kmt")["totals"]
    assert totals["snapshots"] == len(snapshots) > 50
    assert totals["warm_events"] == sum(told[0].values())
    assert totals["events"] - totals["warm_events"] == needed
    assert {name: count for name, count in live_at_the_end(kmemlab, "out.kmt").items() if count} == {
        name: count for name, count in told[-1].items() if count
    }
    done = kmemlab("replay", "out.kmt", "--allocator", "slub/binary")
    assert done.returncode == 0, done.stderr


def test_what_info_prints_is_a_series(kmemlab, tmp_path):
    printed = kmemlab("info", "--snapshots=slabinfo", SOURCE / "traces" / "reclaim.kmt")
    (tmp_path / "series.txt").write_text(printed.stdout)
    done = kmemlab("import", "--churn", "0", "-o", "series.kmt", "series.txt")
    assert done.returncode == 0, done.stderr
    again = kmemlab("info", "--snapshots=slabinfo", "series.kmt")
    texts = [re.sub(r"^###.*\n", "", out, flags=re.MULTILINE) for out in (printed.stdout, again.stdout)]
    assert texts[0].split() == texts[1].split()
    # The stream knows nothing but counts, and yet foretells most of how the kernel's slabs changed.
    done = kmemlab("fidelity", "series.kmt", "--allocator", "slub/binary", "--min-skill", "0.8")
    assert done.returncode == 0, done.stdout


def test_every_form_gives_the_same_events(kmemlab, tmp_path, small):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0000-10000000000.slabinfo").write_text(snapshot(dentry=9, filp=2))
    (folder / "0001-20000000000.slabinfo").write_text(snapshot(dentry=4, filp=6))
    with tarfile.open(tmp_path / "folder.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=f"snapshots/{path.name}")
    (tmp_path / "small.gz").write_bytes(gzip.compress(small.read_bytes()))
    subprocess.run(["zstd", "-q", small, "-o", tmp_path / "small.zst"], check=True)
    events = set()
    for form in (small, folder, "folder.tar", "small.gz", "small.zst"):
        done = kmemlab("import", "-o", "out.kmt", form)
        assert done.returncode == 0, done.stderr
        events.add(kmemlab("info", "--events", "out.kmt").stdout)
    with open(small) as stdin:
        assert kmemlab("import", "-o", "out.kmt", "-", stdin=stdin).returncode == 0
    events.add(kmemlab("info", "--events", "out.kmt").stdout)
    assert len(events) == 1
    assert len(events.pop().splitlines()) >= 11 + 5 + 4


def test_replays_hold_what_they_promise(kmemlab, small):
    assert kmemlab("import", "--churn", "20", "--cpus", "4", "-o", "out.kmt", small).returncode == 0
    for stack in ("slub/binary", "slab/binary", "slob/binary", "solaris/binary"):
        done = kmemlab("replay", "--check", "out.kmt", "--allocator", stack)
        assert done.returncode == 0, done.stderr


def test_the_note_says_how_it_was_made(kmemlab, small):
    arguments = ("import", "--seed", "5", "--note", "of a web server", "--kernel", "Linux 4.19", "-o", "out.kmt", small)
    assert kmemlab(*arguments).returncode == 0
    origin = summary(kmemlab, "out.kmt")["origin"]
    assert origin["source"] == "slabinfo series"
    assert origin["kernel"] == "Linux 4.19"
    assert "churn of 0 objects/s (estimated), seed 5" in origin["note"]
    assert "of a web server" in origin["note"]


def test_a_single_snapshot_and_its_churn(kmemlab, tmp_path):
    (tmp_path / "now.txt").write_text(snapshot(dentry=40))
    done = kmemlab("import", "--churn", "10", "--seconds", "3", "-o", "now.kmt", "now.txt")
    assert done.returncode == 0, done.stderr
    totals = summary(kmemlab, "now.kmt")["totals"]
    assert totals["warm_events"] == 40
    assert totals["events"] == 40 + 2 * 30


@pytest.mark.parametrize(
    "options, words",
    [
        (("--churn", "-1"), "--churn -1: wanted is auto, or objects a second"),
        (("--churn", "nan"), "--churn nan"),
        (("--churn", "3x"), "--churn 3x"),
        (("--cpus", "0"), "--cpus"),
        (("--seed", "none"), "--seed"),
        (("--seconds", "-1"), "--seconds"),
    ],
)
def test_bad_values_are_named(kmemlab, tmp_path, small, options, words):
    done = kmemlab("import", *options, "-o", "out.kmt", small)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out.kmt").exists()


def test_options_of_a_series_are_refused_with_a_trace(kmemlab, tmp_path):
    fixture = SOURCE / "traces" / "import" / "fixtures" / "lost.txt"
    done = kmemlab("import", "--churn", "0", "-o", "out.kmt", fixture)
    assert done.returncode == 2
    assert "is no series of /proc/slabinfo" in done.stderr
    assert not (tmp_path / "out.kmt").exists()
