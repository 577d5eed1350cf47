"""Fitted twins as a user meets them: a few kilobytes from a shipped trace, a twin that is near, refusals."""

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def traces(shipped):
    return {path.stem: path for path in shipped}


@pytest.fixture
def model(kmemlab, traces, tmp_path):
    def fit(stem, *options):
        path = tmp_path / f"{stem}.json"
        done = kmemlab("generate", "--fit", traces[stem], "-o", path, *options)
        assert done.returncode == 0, done.stderr
        return path
    return fit


def compared(kmemlab, *arguments):
    done = kmemlab("compare", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("stem", ["boot", "compile", "fork", "fs-scan", "reclaim", "sockets"])
def test_a_model_is_a_few_kilobytes(model, stem):
    path = model(stem)
    assert path.stat().st_size <= 16 << 10
    content = json.loads(path.read_text())
    assert content["format"] == "kmemlab-twin" and content["version"] == 1


def test_the_model_has_nothing_private(kmemlab, model, traces):
    origin = json.loads(kmemlab("info", "--json", traces["compile"]).stdout)["origin"]
    text = model("compile").read_text()
    for private in (origin["kernel"], origin["command"]):
        assert private and private not in text
    content = json.loads(text)
    names = {row[0] for row in content["caches"]}
    listed = kmemlab("info", "--caches", traces["compile"]).stdout
    assert all(name.startswith("pool-") or name in listed for name in names)
    fields = {"flags", "order", "until", "live", "born", "life", "warm_life", "together", "cross", "cpus", "sizes"}
    kinds = content["kinds"] + [kind for row in content["caches"] for kind in row[9:]]
    assert {field for kind in kinds for field in kind} <= fields


def test_counts_of_the_model_are_those_of_the_trace(kmemlab, model, traces):
    """Births over all kinds, against the trace's own count of allocations: the slab allocator's own pages left out."""
    content = json.loads(model("sockets").read_text())
    kinds = content["kinds"] + [kind for row in content["caches"] for kind in row[9:]]
    born = sum(sum(kind.get("born", [])) for kind in kinds)
    events = kmemlab("info", "--events", "--csv", traces["sockets"]).stdout.splitlines()
    header = events[0].split(",")
    op, flags = header.index("op"), header.index("flags")
    rows = [row.split(",") for row in events[1:]]
    allocations = [row for row in rows if row[op] in ("alloc", "page_alloc")]
    wanted = [row for row in allocations if "slab" not in row[flags] and "warm" not in row[flags]]
    assert born == len(wanted)


def test_a_twin_is_nearer_than_another_trace(kmemlab, model, traces):
    path = model("reclaim")
    for stack in ("slub", "slab", "binary"):
        twin = compared(kmemlab, traces["reclaim"], f"twin:model={path}", "-a", stack)
        other = compared(kmemlab, traces["reclaim"], traces["compile"], "-a", stack)
        for curve in ("requested", "held", "waste"):
            assert twin["curves"][curve]["wape"] < other["curves"][curve]["wape"]


def test_more_bytes_are_nearer_in_requested(kmemlab, model, traces):
    wapes = []
    for size in ("1", "32k"):
        path = model("fork", "--model-size", size)
        wapes.append(compared(kmemlab, traces["fork"], f"twin:model={path}", "-a", "binary")["curves"]["requested"]["wape"])
    assert wapes[1] < wapes[0]


def test_same_seed_same_bytes(kmemlab, model, tmp_path):
    path = model("fs-scan")
    for name in ("one", "two"):
        assert kmemlab("generate", f"twin:model={path}", "-o", tmp_path / f"{name}.kmt").returncode == 0
    assert kmemlab("generate", f"twin:model={path},seed=2", "-o", tmp_path / "other.kmt").returncode == 0
    one, two, other = ((tmp_path / f"{name}.kmt").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other
    shutil.copy(path, tmp_path / "first.json")
    assert (tmp_path / "first.json").read_bytes() == model("fs-scan").read_bytes()


@pytest.mark.parametrize("words, needle", [
    (("--fit", "x.kmt"), "-o OUT.json"),
    (("--fit", "x.kmt", "-o", "y.json"), "x.kmt"),
    (("--fit", "x.kmt", "twin", "-o", "y.json"), "one at a time"),
    (("--fit", "x.kmt", "-o", "y.json", "--model-size", "much"), "model-size 'much'"),
    (("twin", "-o", "y.kmt"), "model"),
    (("twin:model=nowhere.json", "-o", "y.kmt"), "nowhere.json"),
])
def test_bad_words_are_refused(kmemlab, words, needle):
    done = kmemlab("generate", *words)
    assert done.returncode == 2 and needle in done.stderr, done.stderr


@pytest.mark.parametrize("scale, needle", [("0", "scale"), ("-1", "scale"), ("1e9", "scale")])
def test_bad_scales_are_refused(kmemlab, model, scale, needle):
    done = kmemlab("generate", f"twin:model={model('fs-scan')},scale={scale}", "-o", "y.kmt")
    assert done.returncode == 2 and needle in done.stderr
