"""fidelity and view as a user meets them: ratios that can be worked out from the files, gates, the real slabtop."""

import csv
import json
import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def reclaim(shipped):
    return next(path for path in shipped if path.stem == "reclaim")


@pytest.fixture(scope="module")
def sockets(shipped):
    return next(path for path in shipped if path.stem == "sockets")


def judged(kmemlab, *arguments):
    done = kmemlab("fidelity", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- ratios ---------------------------------------------------------------------------------------------------------


def test_ratios_follow_from_the_csv(kmemlab, reclaim, tmp_path):
    out = tmp_path / "out"
    report = judged(kmemlab, reclaim, "--allocator", "recorded", "--out", out, "--no-figures")
    rows = list(csv.DictReader((out / "fidelity.csv").open()))
    first = {row["cache"]: int(row["actual_pages"]) for row in rows if row["judged"] == "0"}
    used = [row for row in rows if row["judged"] == "1" and row["left_out"] == "0"]
    error = sum(abs(int(row["predicted_pages"]) - int(row["actual_pages"])) for row in used)
    actual = sum(int(row["actual_pages"]) for row in used)
    moved = sum(abs(int(row["actual_pages"]) - first.get(row["cache"], 0)) for row in used)
    assert (report["error_pages"], report["actual_pages"], report["moved_pages"]) == (error, actual, moved)
    assert report["wmape"] == pytest.approx(error / actual, rel=1e-12)
    assert report["skill"] == pytest.approx(1 - error / moved, rel=1e-12)
    for name in [cache["name"] for cache in report["caches"]]:
        mine = [row for row in used if row["cache"] == name]
        entry = next(cache for cache in report["caches"] if cache["name"] == name)
        assert entry["error_pages"] == sum(abs(int(row["predicted_pages"]) - int(row["actual_pages"])) for row in mine)


def test_actual_pages_are_the_kernels_own(kmemlab, reclaim, tmp_path):
    """num_slabs * pagesperslab of every cache, read here from what `info` prints."""
    out = tmp_path / "out"
    judged(kmemlab, reclaim, "--allocator", "recorded", "--out", out, "--no-figures")
    ours = {(row["snapshot"], row["cache"]): int(row["actual_pages"]) for row in csv.DictReader((out / "fidelity.csv").open())}
    label, kernels = None, {}
    for line in kmemlab("info", "--snapshots=slabinfo", reclaim).stdout.splitlines():
        if line.startswith("### "):
            label = line.split("slabinfo ")[1]
        elif " : slabdata " in line and not line.startswith("#"):
            head, _, slabdata = line.split(" : ")
            kernels[label, head.split()[0]] = int(head.split()[5]) * int(slabdata.split()[2])
    assert kernels and {key: ours[key] for key in kernels} == kernels


def test_slab_of_meminfo_is_near_for_recorded(kmemlab, reclaim):
    for snapshot in judged(kmemlab, reclaim, "--allocator", "recorded")["snapshots"]:
        meminfo = snapshot["meminfo"]
        assert abs(meminfo["predicted_slab_kb"] - meminfo["slab_kb"]) <= 0.01 * meminfo["slab_kb"]
        assert meminfo["predicted_sreclaimable_kb"] + meminfo["predicted_sunreclaim_kb"] == meminfo["predicted_slab_kb"]


def test_several_traces_are_pooled(kmemlab, reclaim, sockets):
    both = judged(kmemlab, reclaim, sockets, "--allocator", "recorded")
    parts = both["traces"]
    assert [part["trace"] for part in parts] == [str(reclaim), str(sockets)]
    assert both["wmape"] == pytest.approx(sum(p["error_pages"] for p in parts) / sum(p["actual_pages"] for p in parts))


def test_the_kernels_profile_is_the_default(kmemlab, reclaim):
    kernel = json.loads(kmemlab("info", "--json", reclaim).stdout)["origin"]["kernel"]
    if "6.18" not in kernel:
        pytest.skip(f"the shipped trace is of {kernel}")
    assert judged(kmemlab, reclaim)["allocator"] == "slub:profile=linux-6.18"


def test_same_inputs_same_bytes(kmemlab, sockets, tmp_path):
    texts = []
    for name in ["a", "b"]:
        out = tmp_path / name
        done = kmemlab("fidelity", sockets, "--allocator", "slub", "--seed", 7, "--json", "--out", out, "--no-figures")
        assert done.returncode == 0, done.stderr
        texts.append([done.stdout] + [path.read_bytes() for path in sorted(out.iterdir())])
    assert texts[0] == texts[1]


# --- gates and errors -----------------------------------------------------------------------------------------------


def test_gates_decide_the_exit_status(kmemlab, reclaim):
    assert kmemlab("fidelity", reclaim, "--allocator", "recorded", "--max-wmape", "5%", "--min-skill", "0.5").returncode == 0
    done = kmemlab("fidelity", reclaim, "--allocator", "recorded", "--max-wmape", "-0.5")
    assert done.returncode == 1 and "WMAPE" in done.stderr and "WMAPE" in done.stdout
    done = kmemlab("fidelity", reclaim, "--allocator", "recorded", "--min-skill", "1.5")
    assert done.returncode == 1 and "skill" in done.stderr
    assert kmemlab("fidelity", reclaim, "--allocator", "recorded", "--max-wmape", "much").returncode == 2


def import_text(kmemlab, tmp_path, *more):
    text = tmp_path / "trace.txt"
    text.write_text(
        "a-1 [000] ..... 1.000000: kmem_cache_alloc: call_site=a+0x1/0x2 ptr=ffff888000000100 name=filp bytes_req=184 "
        "bytes_alloc=192 gfp_flags=GFP_KERNEL node=-1 accounted=false\n"
    )
    trace = tmp_path / "plain.kmt"
    assert kmemlab("import", "-o", trace, text, *more).returncode == 0
    return trace


def test_a_trace_without_snapshots_is_refused(kmemlab, tmp_path):
    done = kmemlab("fidelity", import_text(kmemlab, tmp_path), "--allocator", "recorded")
    assert done.returncode == 2
    assert "--snapshots" in done.stderr and done.stdout == ""


def test_an_unknown_kernel_wants_an_allocator(kmemlab, tmp_path):
    done = kmemlab("fidelity", import_text(kmemlab, tmp_path))
    assert done.returncode == 2 and "--allocator" in done.stderr


def test_a_kernel_with_slab_is_told_by_its_tunables(kmemlab, tmp_path):
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (folder / "0001-1000000000.slabinfo").write_text(
        "slabinfo - version: 2.1\n# name\n"
        "filp  16  32  192  21  1 : tunables  120   60    8 : slabdata      1      1      0\n"
    )
    done = kmemlab("fidelity", import_text(kmemlab, tmp_path, "--snapshots", folder))
    assert done.returncode == 2 and "--allocator slab" in done.stderr


def test_stacks_without_slabs_are_refused(kmemlab, reclaim):
    for words in [("--allocator", "binary"), ("--allocator", "slub", "--level", "pages")]:
        done = kmemlab("fidelity", reclaim, *words)
        assert done.returncode == 2 and done.stdout == "" and "slabs" in done.stderr


def test_damaged_traces_are_refused(kmemlab, reclaim, tmp_path):
    data = bytearray(reclaim.read_bytes())
    data[len(data) // 2] ^= 0x10
    broken = tmp_path / "broken.kmt"
    broken.write_bytes(data)
    done = kmemlab("fidelity", broken, "--allocator", "recorded", "--json", "--out", tmp_path / "out")
    assert done.returncode == 2 and "broken.kmt" in done.stderr and done.stdout == ""
    assert not any((tmp_path / "out").glob("*")), "half a file was left behind"


def test_figures_are_drawn(kmemlab, sockets, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    done = kmemlab("fidelity", sockets, "--allocator", "recorded", "--out", out)
    assert done.returncode == 0, done.stderr
    figures = sorted(path.name for path in (out / "figures").iterdir())
    assert figures == ["fidelity-sockets.pdf", "fidelity-sockets.png"]
    first = {name: (out / "figures" / name).read_bytes() for name in figures}
    kmemlab("fidelity", sockets, "--allocator", "recorded", "--out", out)
    assert first == {name: (out / "figures" / name).read_bytes() for name in figures}


# --- views ----------------------------------------------------------------------------------------------------------


def test_recorded_views_are_the_kernels_files(kmemlab, reclaim):
    for view in ["slabinfo", "buddyinfo", "meminfo"]:
        shown = kmemlab("view", view, reclaim, "--allocator", "recorded")
        assert shown.returncode == 0, shown.stderr
        kernels = kmemlab("info", f"--snapshots={view}", reclaim).stdout
        assert kernels.endswith(shown.stdout) or kernels.rstrip("\n").endswith(shown.stdout.rstrip("\n"))


def labels_of(kmemlab, trace):
    lines = kmemlab("info", "--snapshots=slabinfo", trace).stdout.splitlines()
    return [line.split("slabinfo ")[1] for line in lines if line.startswith("### ")]


def test_a_label_a_time_and_the_end_are_moments(kmemlab, reclaim):
    label = labels_of(kmemlab, reclaim)[1]
    shown = {at: kmemlab("view", "slabinfo", reclaim, "--allocator", "slub", "--at", at) for at in [label, "0.5s", "end"]}
    assert all(done.returncode == 0 for done in shown.values())
    assert len({done.stdout for done in shown.values()}) == 3
    report = judged(kmemlab, reclaim, "--allocator", "slub", "--level", "all")
    actual = next(snapshot for snapshot in report["snapshots"] if snapshot["label"] == label)
    total = 0
    for line in shown[label].stdout.splitlines()[2:]:
        head, _, slabdata = line.split(" : ")
        total += int(head.split()[5]) * int(slabdata.split()[2])
    # Untouched caches are shown as the stack has them, and kept as the kernel's in the forecast.
    assert abs(total - actual["all_predicted_pages"]) <= 0.1 * total


def test_true_active_objects_are_at_most_the_kernels(kmemlab, reclaim):
    def active(which):
        lines = kmemlab("view", "slabinfo", reclaim, "--allocator", "slub", "--active", which).stdout.splitlines()[2:]
        return {line.split()[0]: int(line.split()[1]) for line in lines}

    kernel, true = active("kernel"), active("true")
    assert kernel.keys() == true.keys()
    assert all(true[name] <= kernel[name] for name in kernel)
    assert sum(true.values()) < sum(kernel.values())


@pytest.mark.parametrize("words", [
    ("nothing", "no view"), ("slabinfo --at nowhere", "labelled 'nowhere'"), ("slabinfo --at 0", "--at"),
    ("slabinfo --active some", "kernel or true"),
])
def test_bad_views_are_refused(kmemlab, reclaim, words):
    view, *more = words[0].split()
    done = kmemlab("view", view, reclaim, "--allocator", "slub", *more)
    assert done.returncode == 2 and words[1] in done.stderr and done.stdout == ""


def test_a_page_allocator_has_no_slabinfo(kmemlab, reclaim):
    done = kmemlab("view", "slabinfo", reclaim, "--allocator", "binary")
    assert done.returncode == 2 and "no caches" in done.stderr


@pytest.mark.parametrize("stack", ["slub", "slab"])
def test_slabtop_reads_our_slabinfo(kmemlab, reclaim, tmp_path, stack):
    if os.geteuid() != 0:
        pytest.skip("mounting over /proc/slabinfo needs root")
    if not shutil.which("slabtop") or not shutil.which("unshare"):
        pytest.skip("slabtop (Debian package procps) or unshare (util-linux) is not installed")
    ours = tmp_path / "slabinfo"
    ours.write_text(kmemlab("view", "slabinfo", reclaim, "--allocator", stack).stdout)
    probe = subprocess.run(["unshare", "-m", "mount", "--bind", ours, "/proc/slabinfo"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace here: {probe.stderr.strip()}")
    script = 'mount --bind "$1" /proc/slabinfo && exec slabtop -o -s c'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", ours], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in ours.read_text().splitlines()[2:]}
    shown = done.stdout.splitlines()
    start = next(i for i, line in enumerate(shown) if "OBJ SIZE" in line) + 1
    assert len(shown) > start + 10
    for line in shown[start:]:
        objects, active, _, _, slabs, per_slab, _, name = line.split(None, 7)
        ours_of = rows[name.strip()].split()
        assert [objects, active, per_slab] == [ours_of[2], ours_of[1], ours_of[4]]
        assert slabs == rows[name.strip()].split(" : slabdata ")[1].split()[1]
