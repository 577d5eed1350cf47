"""Imports of what other tools really write: babeltrace2 of a CTF trace, perf's CTF, glibc's mtrace, this kernel's ring buffer."""

import csv
import io
import json
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = SOURCE / "traces" / "import" / "fixtures"
TRACEFS = pathlib.Path("/sys/kernel/tracing")


def events_of(kmemlab, path, stdin=None, options=()):
    """What the import of a file (or of text on standard input) holds: one dictionary an event."""
    source = "-" if stdin is not None else path
    done = kmemlab("import", "-q", "-o", "out.kmt", *options, source, **({"input": stdin, "stdin": None} if stdin is not None else {}))
    assert done.returncode == 0, done.stderr
    printed = kmemlab("info", "--events", "--csv", "out.kmt").stdout
    return list(csv.DictReader(io.StringIO(printed)))


def told(events, *columns):
    return [tuple(event[column] for column in columns) for event in events]


def need(*programs):
    for name in programs:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def test_every_kind_of_stack_replays_a_trace_of_malloc(kmemlab, tmp_path):
    """Sizes from nothing to many pages, alignments, threads that come and go; every block is freed."""
    lines, live = [], []
    for number in range(2000):
        thread, pointer = 100 + number // 300 + number % 3, 0x7F0000000000 + number * 0x100000
        size = (number * 7919) % (40, 600, 9000, 70000)[number % 4]
        if number % 10 == 9:
            lines.append(f"{thread}: memalign {pointer:#x} {1 << number // 10 % 13} {size}")
        elif number % 10 == 8:
            lines.append(f"{thread}: realloc {pointer:#x} {live.pop(number % len(live)):#x} {size + 1}")
        else:
            lines.append(f"{thread}: malloc {pointer:#x} {size}")
        live.append(pointer)
        if number % 3:
            lines.append(f"{thread}: free {live.pop(number * 31 % len(live)):#x}")
        if number % 300 == 299:
            lines.append(f"{thread}: thread_done 0x0")
    lines += [f"1: free {pointer:#x}" for pointer in live]
    (tmp_path / "malloc.txt").write_text("\n".join(lines) + "\n")
    done = kmemlab("import", "--strict", "-q", "-o", "malloc.kmt", "malloc.txt")
    assert done.returncode == 0, done.stderr
    for stack in ("slub/binary", "slab/fibonacci", "slob/weighted", "solaris/kary", "binary", "dual", "tertiary", "first_fit", "best_fit"):
        done = kmemlab("replay", "malloc.kmt", "--allocator", stack, "--check", "--json")
        assert done.returncode == 0, (stack, done.stderr)
        figures = json.loads(done.stdout)
        assert (figures["allocations"], figures["frees"], figures["failures"], figures["check"]) == (2000, 2000, {}, "ok"), stack


# ------------------------------------------------------------------------------------------------ CTF

METADATA = """/* CTF 1.8 */
typealias integer { size = 8; align = 8; signed = false; } := u8;
typealias integer { size = 16; align = 8; signed = false; } := u16;
typealias integer { size = 32; align = 8; signed = false; } := u32;
typealias integer { size = 64; align = 8; signed = false; } := u64;
typealias integer { size = 64; align = 8; signed = false; base = 16; } := x64;
typealias integer { size = 32; align = 8; signed = true; } := s32;
typealias integer { size = 64; align = 8; signed = false; map = clock.monotonic.value; } := time;
trace { major = 1; minor = 8; byte_order = le; packet.header := struct { u32 magic; u32 stream_id; }; };
env { hostname = "vm"; domain = "kernel"; };
clock { name = "monotonic"; freq = 1000000000; offset = 0; };
stream { id = 0;
 packet.context := struct { time timestamp_begin; time timestamp_end; u64 content_size; u64 packet_size; u64 events_discarded; u32 cpu_id; };
 event.header := struct { u16 id; time timestamp; }; };
"""

# Fields as lttng-modules (instrumentation/events/kmem.h) and lttng-ust (ust_libc.h) have them.
KMALLOC = ("kmem_kmalloc", "x64 call_site; x64 ptr; u64 bytes_req; u64 bytes_alloc; u32 gfp_flags; s32 node;", "<QQQQIi")
KFREE = ("kmem_kfree", "x64 call_site; x64 ptr;", "<QQ")
CACHE_ALLOC = ("kmem_cache_alloc", "x64 call_site; x64 ptr; u64 bytes_req; u64 bytes_alloc; u32 gfp_flags; s32 node;", "<QQQQIi")
CACHE_FREE = ("kmem_cache_free", "x64 call_site; x64 ptr; string name;", "<QQ5s")
MALLOC = ("lttng_ust_libc:malloc", "u64 size; x64 ptr;", "<QQ")
REALLOC = ("lttng_ust_libc:realloc", "x64 in_ptr; u64 size; x64 ptr;", "<QQQ")
FREE = ("lttng_ust_libc:free", "x64 ptr;", "<Q")


def write_ctf(folder, events):
    """A CTF trace of one stream and packet on cpu 1: events are (time_ns, kind, value...)."""
    kinds = list(dict.fromkeys(kind for _, kind, *_ in events))
    classes = "".join(f'event {{ id = {i}; name = "{name}"; stream_id = 0; fields := struct {{ {fields} }}; }};\n' for i, (name, fields, _) in enumerate(kinds))
    folder.mkdir()
    (folder / "metadata").write_text(METADATA + classes)
    body = b"".join(struct.pack("<HQ", kinds.index(kind), time_ns) + struct.pack(kind[2], *values) for time_ns, kind, *values in events)
    bits = (8 + 44 + len(body)) * 8
    head = struct.pack("<II", 0xC1FC1FC1, 0) + struct.pack("<QQQQQI", events[0][0], events[-1][0], bits, bits, 0, 1)
    (folder / "stream").write_bytes(head + body)


def babeltrace2(folder, *options):
    done = subprocess.run(["babeltrace2", *options, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


LTTNG = [
    (5_000, CACHE_ALLOC, 1, 0xFFFF888001000000, 184, 192, 0xCC0, -1),
    (6_000, KMALLOC, 2, 0xFFFF888001001000, 100, 128, 0xCC0, -1),
    (7_500, CACHE_FREE, 3, 0xFFFF888001000000, b"filp\0"),
    (9_000, KFREE, 4, 0xFFFF888001001000),
]


@pytest.mark.parametrize("options", [(), ("--clock-seconds",), ("--clock-date", "--clock-gmt"), ("--clock-cycles",), ("--no-delta",)])
def test_lttng_kernel_events_through_babeltrace2(kmemlab, tmp_path, options):
    need("babeltrace2")
    write_ctf(tmp_path / "ctf", LTTNG)
    found = events_of(kmemlab, None, babeltrace2(tmp_path / "ctf", *options))
    assert told(found, "time_ns", "cpu", "op", "size_bytes", "granted_bytes", "cache") == [
        ("0", "1", "alloc", "184", "192", "filp"),
        ("1000", "1", "alloc", "100", "128", "kmalloc-128"),
        ("2500", "1", "free", "184", "192", "filp"),
        ("4000", "1", "free", "100", "128", "kmalloc-128"),
    ]


def test_calls_of_a_c_library_through_babeltrace2(kmemlab, tmp_path):
    need("babeltrace2")
    write_ctf(tmp_path / "ctf", [(100, MALLOC, 40, 0x1000), (200, REALLOC, 0x1000, 80, 0x1000), (300, FREE, 0x1000), (400, FREE, 0)])
    found = events_of(kmemlab, None, babeltrace2(tmp_path / "ctf"))
    assert told(found, "time_ns", "op", "object", "size_bytes") == [
        ("0", "alloc", "0", "40"), ("100", "alloc", "1", "80"), ("100", "free", "0", "40"), ("200", "free", "1", "80"),
    ]


def test_two_heaps_in_one_text_are_refused(kmemlab, tmp_path):
    need("babeltrace2")
    write_ctf(tmp_path / "ctf", [(100, MALLOC, 40, 0x1000), (200, KFREE, 1, 0xFFFF888001001000)])
    done = kmemlab("import", "-q", "-o", "out.kmt", "-", input=babeltrace2(tmp_path / "ctf"), stdin=None)
    assert done.returncode == 2 and "two heaps" in done.stderr


def test_perfs_ctf_says_what_its_perf_data_says(kmemlab, tmp_path):
    need("babeltrace2", "perf", "zstd")
    subprocess.run(["zstd", "-dq", FIXTURES / "perf-file.data.zst", "-o", tmp_path / "perf.data"], check=True)
    converted = subprocess.run(["perf", "data", "convert", "-i", "perf.data", "--to-ctf", "ctf"], cwd=tmp_path, capture_output=True, text=True)
    if converted.returncode != 0:
        pytest.skip("this perf cannot convert to CTF: " + converted.stderr.strip().splitlines()[-1])
    columns = ("time_ns", "cpu", "op", "object", "size_bytes", "granted_bytes", "address", "order", "cache")
    native = events_of(kmemlab, tmp_path / "perf.data")
    through_ctf = events_of(kmemlab, None, babeltrace2(tmp_path / "ctf"))
    assert len(native) > 100 and told(through_ctf, *columns) == told(native, *columns)


# ------------------------------------------------------------------------------------------------ mtrace

MTRACED = """#include <mcheck.h>
#include <stdlib.h>
int main(void)
{
	mtrace();
	char *a = malloc(1000), *b = calloc(3, 50);
	a = realloc(a, 100000);
	free(b);
	void *c = NULL;
	if (posix_memalign(&c, 64, 70) != 0)
		return 1;
	b = malloc((size_t)-100);
	free(c);
	free(a);
	muntrace();
	return b != NULL;
}
"""


def test_what_glibcs_mtrace_writes(kmemlab, tmp_path):
    need("cc")
    (tmp_path / "traced.c").write_text(MTRACED)
    subprocess.run(["cc", "-O0", "-fno-builtin", "-w", "-o", "traced", "traced.c"], cwd=tmp_path, check=True)
    environment = {**os.environ, "MALLOC_TRACE": "mtrace.txt", "LD_PRELOAD": "libc_malloc_debug.so.0"}
    ran = subprocess.run(["./traced"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    if ran.returncode != 0 or not (tmp_path / "mtrace.txt").exists():
        pytest.skip("glibc's libc_malloc_debug traces nothing here: " + ran.stderr)
    found = events_of(kmemlab, "mtrace.txt")
    assert told(found, "op", "size_bytes") == [
        ("alloc", "1000"), ("alloc", "150"), ("alloc", "100000"), ("free", "1000"), ("free", "150"), ("alloc", "70"), ("free", "70"), ("free", "100000"),
    ]


# ------------------------------------------------------------------------------------------------ trace.dat

NAMES = ("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free", "mm_page_alloc", "mm_page_free")


def sized(data):
    return struct.pack("<Q", len(data)) + data


def write_trace_dat(path, buffers):
    """As trace-cmd.dat.v6(5) describes it: heading, formats, no symbols, then each cpu's pages."""
    formats = [(TRACEFS / "events" / "kmem" / name / "format").read_bytes() for name in NAMES]
    head = b"\x17\x08\x44tracing6\0" + struct.pack("<BBI", 0, struct.calcsize("P"), 4096)
    for name in ("header_page", "header_event"):
        head += name.encode() + b"\0" + sized((TRACEFS / "events" / name).read_bytes())
    head += struct.pack("<I", 0) + struct.pack("<I", 1) + b"kmem\0" + struct.pack("<I", len(formats)) + b"".join(map(sized, formats))
    head += struct.pack("<I", 0) + struct.pack("<I", 0) + struct.pack("<Q", 0)  # kallsyms, printk formats, command lines
    head += struct.pack("<I", len(buffers)) + b"flyrecord\0"
    offset = (len(head) + 16 * len(buffers) + 4095) // 4096 * 4096
    places = b""
    for pages in buffers:
        places += struct.pack("<QQ", offset, len(pages))
        offset += len(pages)
    with open(path, "wb") as file:
        file.write((head + places).ljust((len(head + places) + 4095) // 4096 * 4096, b"\0"))
        for pages in buffers:
            file.write(pages)


def drain(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    pages = b""
    try:
        while page := os.read(descriptor, 4096):
            pages += page.ljust(4096, b"\0")
    except BlockingIOError:
        pass
    os.close(descriptor)
    return pages


@pytest.fixture
def instance():
    """An ftrace instance of our own with the kmem events, not yet recording."""
    folder = TRACEFS / "instances" / f"kmemlab-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as reason:
        pytest.skip(f"no ftrace instance can be made: {reason}")
    try:
        (folder / "tracing_on").write_text("0")
        (folder / "trace_clock").write_text("mono")
        (folder / "buffer_size_kb").write_text("256")
        if (folder / "options" / "hash-ptr").exists():
            (folder / "options" / "hash-ptr").write_text("0")
        for name in NAMES:
            (folder / "events" / "kmem" / name / "enable").write_text("1")
        yield folder
    finally:
        (folder / "tracing_on").write_text("0")
        folder.rmdir()


def test_a_trace_dat_of_this_kernel_says_what_its_trace_file_says(kmemlab, tmp_path, instance):
    """Read as text first, which leaves the buffer as it is, then raw."""
    (instance / "set_event_pid").write_text(str(os.getpid()))
    (instance / "tracing_on").write_text("1")
    for number in range(20):
        (tmp_path / f"file{number}").write_text("x")
    (instance / "tracing_on").write_text("0")
    (tmp_path / "trace.txt").write_text((instance / "trace").read_text())
    cpus = sorted((instance / "per_cpu").iterdir(), key=lambda path: int(path.name[3:]))
    write_trace_dat(tmp_path / "trace.dat", [drain(cpu / "trace_pipe_raw") for cpu in cpus])
    columns = ("cpu", "op", "object", "size_bytes", "granted_bytes", "address", "order", "cache", "flags")
    text = events_of(kmemlab, "trace.txt")
    assert len(text) > 100
    assert told(events_of(kmemlab, "trace.dat"), *columns) == told(text, *columns)
