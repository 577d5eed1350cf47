"""kmemlab export: the CSV file, the NumPy arrays, and that they say the same."""

import csv
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy
import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]

# A course lab's trace: two blocks of 100 and 28 bytes alive at once, then one of 60.
LAB = "1000\n2\n5\n1\na 0 100\na 1 28\nf 0\nf 1\na 0 60\n"


@pytest.fixture
def lab(kmemlab, tmp_path):
    (tmp_path / "lab.txt").write_text(LAB)
    done = kmemlab("import", "-q", "-o", "lab.kmt", "lab.txt")
    assert done.returncode == 0, done.stderr
    return tmp_path / "lab.kmt"


def export(kmemlab, trace, out):
    done = kmemlab("export", trace, "-o", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def flag_words(names, flags):
    return "|".join(name.decode() for bit, name in enumerate(names) if flags >> bit & 1)


def blank(value, absent):
    return "" if value == absent else str(value)


def rows_of_arrays(z):
    """The CSV rows that the arrays stand for."""
    cache_names = [*(name.decode() for name in z["cache_name"])]
    columns = [z[name].tolist() for name in ("time_ns", "cpu", "op", "object", "size_bytes", "granted_bytes", "address", "order", "align_log2", "cache", "flags")]
    for number, (time_ns, cpu, op, object_id, size, granted, address, order, align, cache, flags) in enumerate(zip(*columns)):
        yield [
            str(number), str(time_ns), str(cpu), z["op_name"][op].decode(), blank(object_id, 2**32 - 1), str(size), str(granted),
            blank(address, 2**64 - 1), str(order), str(align), "" if cache == 65535 else cache_names[cache], flag_words(z["flag_name"], flags),
        ]


def test_arrays_and_csv_say_the_same(kmemlab, shipped, lab, tmp_path):
    for trace in (lab, shipped[0]):
        export(kmemlab, trace, "t.csv")
        export(kmemlab, trace, "t.npz")
        with open(tmp_path / "t.csv", newline="") as file, numpy.load(tmp_path / "t.npz") as archive:
            z = {name: archive[name] for name in archive}
            rows = csv.reader(file)
            assert next(rows) == "event,time_ns,cpu,op,object,size_bytes,granted_bytes,address,order,align_log2,cache,flags".split(",")
            count = 0
            for expected, row in zip(rows_of_arrays(z), rows, strict=True):
                assert row == expected
                count += 1
        assert count == len(z["time_ns"]) > 4


def test_csv_is_what_info_prints(kmemlab, shipped, tmp_path):
    export(kmemlab, shipped[0], "t.csv")
    printed = kmemlab("info", "--events", "--csv", shipped[0])
    assert (tmp_path / "t.csv").read_text() == printed.stdout
    assert kmemlab("export", shipped[0], "-o", "-").stdout == printed.stdout


def test_arrays_of_a_trace_typed_by_hand(kmemlab, lab, tmp_path):
    export(kmemlab, lab, "lab.npz")
    z = numpy.load(tmp_path / "lab.npz")
    assert z["time_ns"].tolist() == [0, 1000, 2000, 3000, 4000] and z["time_ns"].dtype == numpy.uint64
    assert [z["op_name"][op] for op in z["op"]] == [b"alloc", b"alloc", b"free", b"free", b"alloc"]
    assert z["size_bytes"].tolist() == [100, 28, 100, 28, 60]
    assert z["object"].tolist() == [0, 1, 0, 1, 1] and z["object"].dtype == numpy.uint32
    assert set(z["address"].tolist()) == {2**64 - 1} and set(z["cache"].tolist()) == {65535}
    assert z["page_bytes"].tolist() == [4096] and z["cpu_count"].tolist() == [1]
    assert z["cache_name"].shape == (0,)


def test_archive_is_sound_and_the_same_every_time(kmemlab, shipped, tmp_path):
    for name in ("a.npz", "b.npz"):
        export(kmemlab, shipped[0], name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


def test_the_example_reads_it(kmemlab, lab, tmp_path):
    export(kmemlab, lab, "lab.npz")
    example = SOURCE / "traces" / "examples" / "read_npz.py"
    done = subprocess.run([sys.executable, example, tmp_path / "lab.npz"], capture_output=True, text=True)
    assert done.stdout == "5 events, 0 caches; 128 bytes of objects alive at 0.000001 s\n", done.stderr


def test_what_cannot_be_done_is_said_and_leaves_nothing(kmemlab, shipped, tmp_path):
    (tmp_path / "damaged.kmt").write_bytes(shipped[0].read_bytes()[:-4000])
    for arguments, word in (
        ([shipped[0]], "-o OUT.csv"),
        ([shipped[0], "-o", "x.txt"], ".csv or .npz"),
        ([shipped[0], "-o", "no/x.npz"], "no/x.npz"),
        (["damaged.kmt", "-o", "x.npz"], "damaged.kmt"),
        (["no.kmt", "-o", "x.csv"], "no.kmt"),
    ):
        done = kmemlab("export", *arguments)
        assert done.returncode == 2 and word in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.kmt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system of 1 MiB")
def test_a_full_disk_is_named(kmemlab, shipped, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small]).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        for name in ("x.npz", "x.csv"):
            done = kmemlab("export", shipped[0], "-o", small / name)
            assert done.returncode == 2 and f"{name}: cannot write" in done.stderr and "space" in done.stderr
            assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
