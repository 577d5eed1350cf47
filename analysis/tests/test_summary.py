"""The summary table on hand-made runs, where best and worst are known beforehand."""

import os
import re
import subprocess
import sys

import fake_run
import pytest
import schema
import summary

MIB = 1 << 20


def cell(allocator, trace="t", least=2 * MIB, held=2 * MIB, internal=0.5, external=0, index="0.100", refused=0, work=100):
    return {"trace": trace, "allocator": allocator, "level": "all", "status": "ok", "reason": "", "arena_bytes": 8 * MIB,
            "min_arena_bytes": least, "events": 10, "allocations": 6, "frees": 4, "failed_no_memory": 0, "failed_no_run": refused,
            "failed_impossible": 0, "peak_requested_bytes": MIB, "peak_granted_bytes": MIB, "peak_held_bytes": held,
            "peak_metadata_bytes": 0, "mean_requested_bytes": 1, "mean_granted_bytes": 1, "mean_held_bytes": 1,
            "internal_fragmentation": internal, "slab_slack": 0, "jw1": 1, "jw2": 1, "jw3": 1, "jw4": 1,
            "unusable_index_order4_mean": index, **{column: 0 for column in schema.WASTE_COLUMNS}, "waste_external_bytes": external,
            "splits": work, "merges": 0, "steps": 0}


def invalid(allocator, trace="t", reason="no such size"):
    return {"trace": trace, "allocator": allocator, "level": "all", "status": "invalid", "reason": reason}


def write_run(directory, cells, times=()):
    os.makedirs(directory)
    fake_run.write(os.path.join(directory, "summary.csv"), schema.SUMMARY, cells)
    if times:
        rows = [{"trace": "t", "level": "all", "allocator": name, "events": 10, "elapsed_ns": 10 * ns, "ns_per_event": ns}
                for name, ns in times]
        fake_run.write(os.path.join(directory, "timing.csv"), schema.TIMING, rows)
    return str(directory)


def show(directory, *arguments):
    program = os.path.join(os.path.dirname(schema.__file__), "summary.py")
    # -S: no site packages, so the table is proved to need none.
    result = subprocess.run([sys.executable, "-S", program, directory, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "\033" not in result.stdout
    return result.stdout


def words_of(text, column):
    return re.search(rf"^  {re.escape(column)}: (.*)$", text, re.M).group(1)


def line_of(text, allocator):
    return re.search(rf"^{re.escape(allocator)} .*$", text, re.M).group(0)


def test_best_and_worst_are_named_per_column(tmp_path):
    text = show(write_run(tmp_path / "run", [
        cell("recorded", least="", held=MIB * 3 // 2, internal=0.3),
        cell("binary", least=3 * MIB, held=2 * MIB, internal=0.25, external=MIB, index="0.500", work=900),
        cell("fibonacci", least=2 * MIB, held=3 * MIB, internal=0.75, external=MIB // 2, index="0.200", work=300),
    ], times=[("binary", 40), ("fibonacci", 55)]))
    assert words_of(text, "smallest arena / peak requested") == "best fibonacci (2.000), worst binary (3.000)"
    assert words_of(text, "internal fragmentation") == "best binary (25.00), worst fibonacci (75.00)"
    assert words_of(text, "peak held / peak requested") == "best recorded (1.500), worst fibonacci (3.000)"
    assert words_of(text, "external waste at the peak") == "best recorded (0.00), worst binary (50.00)"
    assert words_of(text, "unusable index of order 4") == "best recorded (0.100), worst binary (0.500)"
    assert words_of(text, "refused requests") == "all alike (0)"
    assert words_of(text, "splits + merges") == "best fibonacci (300), worst binary (900)"
    assert words_of(text, "time per event") == "best binary (40.0), worst fibonacci (55.0)"
    assert line_of(text, "binary").split()[1:] == ["3.000!", "25.00*", "2.000", "50.00!", "0.500!", "0", "900!", "40.0*"]
    assert line_of(text, "recorded").startswith("recorded (kernel)")


def test_nop_never_wins(tmp_path):
    text = show(write_run(tmp_path / "run", [cell("nop", least=1, held=1, internal=0, work=0), cell("binary", held=2 * MIB),
                                             cell("dual", held=3 * MIB)],
                          times=[("nop", 1), ("binary", 40), ("dual", 50)]))
    assert "best nop" not in text and "worst nop" not in text
    assert line_of(text, "nop").split() == ["nop"] + ["-"] * 7 + ["1.0"]
    assert words_of(text, "peak held / peak requested") == "best binary (2.000), worst dual (3.000)"
    assert "nop keeps nothing" in text


def test_who_refuses_requests_does_not_win_by_holding_less(tmp_path):
    text = show(write_run(tmp_path / "run", [cell("lazy", held=MIB, refused=9), cell("binary", held=2 * MIB), cell("dual", held=3 * MIB)]))
    assert words_of(text, "peak held / peak requested") == "best binary (2.000), worst dual (3.000)"
    assert words_of(text, "refused requests") == "best binary, dual (0), worst lazy (9)"
    assert words_of(text, "time per event") == "not measured"


def test_no_arena_enough_is_worst(tmp_path):
    text = show(write_run(tmp_path / "run", [cell("kary:k=16", least=0), cell("binary"), cell("dual", least=4 * MIB)]))
    assert words_of(text, "smallest arena / peak requested") == "best binary (2.000), worst kary:k=16 (no arena found was enough)"
    assert line_of(text, "kary:k=16").split()[1] == "none!"


def test_several_traces_are_combined_and_a_lacking_one_is_shown(tmp_path):
    text = show(write_run(tmp_path / "run", [
        cell("binary", "a", least=2 * MIB, internal=0.2, refused=1), cell("binary", "b", least=8 * MIB, internal=0.4, refused=2),
        cell("dual", "a", least=MIB), invalid("dual", "b", "out of addresses"), cell("kary", "a"), cell("kary", "b")]), "--per-trace")
    first = text.split("a, level all")[0]
    assert line_of(first, "binary").split()[1:3] == ["4.000!", "30.00"]  # geometric mean of 2 and 8; mean of 20 % and 40 %
    assert line_of(first, "binary").split()[6] == "3!"
    assert "dual [1 of 2 traces]" in first
    assert "best dual" not in first  # one trace only: does not compete
    assert "dual on b, level all: out of addresses" in text
    assert "b, level all" in text


def test_ties_of_many_are_counted(tmp_path):
    text = show(write_run(tmp_path / "run", [cell(f"a{i}") for i in range(5)] + [cell("z", least=3 * MIB)]))
    assert words_of(text, "smallest arena / peak requested") == "best 5 allocators alike (2.000), worst z (3.000)"


def test_only_invalid_cells(tmp_path):
    text = show(write_run(tmp_path / "run", [invalid("binary"), invalid("dual", reason="")]))
    assert "binary on t, level all: no such size" in text and "dual on t, level all: no reason given" in text
    assert words_of(text, "internal fragmentation") == "not measured"


def test_latex_table(tmp_path):
    run = write_run(tmp_path / "run", [cell("recorded", least=""), cell("best_fit", least=2 * MIB), cell("kary:k=3", least=3 * MIB)])
    show(run)
    with open(os.path.join(run, "tables", "summary.tex"), encoding="utf-8") as stream:
        text = stream.read()
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {len(summary.COLUMNS)}
    assert r"\texttt{best\_fit} & \textbf{2.000}" in text and r"\texttt{kary:k=3} & \textit{3.000}" in text
    assert r"\textbf{\texttt{recorded} (kernel)} & --" in text
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}", r"\end{tabular}"):
        assert text.count(word) == 1
    assert not re.search(r"(?<!\\)[_#%&](?! )", re.sub(r"(?m)^%.*$", "", text))


@pytest.mark.parametrize("text", ["a_b", "50%", "x&y", "a\\b", "{}", "~^", "#$"])
def test_latex_special_letters_are_escaped(text):
    escaped = summary.latex(text)
    bare = re.sub(r"\\textbackslash\{\}|\\textasciitilde\{\}|\\textasciicircum\{\}|\\.", "", escaped)
    assert not re.search(r"[_%&\\{}~^#$]", bare)


def test_colour_only_on_a_terminal(monkeypatch):
    class Screen:
        def isatty(self):
            return True
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert summary.Terminal(Screen()).mark("x", "*") == "\033[1;32mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert summary.Terminal(Screen()).mark("x", "*") == "x"


def test_the_whole_made_up_run(run):
    text = show(run)
    assert words_of(text, "smallest arena / peak requested") == "best best_fit (1.090), worst kary:k=16 (no arena found was enough)"
    assert "weighted:sizes=64k+128k+256k on compile, level all: the largest request is 1 MiB" in text
    first = [line for line in text.splitlines() if line.startswith("-----")]
    assert text.split(first[0] + "\n")[1].startswith("recorded (kernel)")


def test_refusing_is_neither_fast_nor_frugal(tmp_path):
    text = show(write_run(tmp_path / "run", [cell("lazy", work=1, refused=9, least=MIB), cell("binary", work=50), cell("dual", work=70)],
                          times=[("lazy", 1), ("binary", 40), ("dual", 50)]))
    assert words_of(text, "splits + merges") == "best binary (50), worst dual (70)"
    assert words_of(text, "time per event") == "best binary (40.0), worst dual (50.0)"
    assert words_of(text, "smallest arena / peak requested") == "best lazy (1.000), worst binary, dual (2.000)"


def test_traces_with_other_allocators_have_a_table_of_their_own(tmp_path):
    """Means over different traces do not compare: the trace that slub alone ran on is not in the table with binary."""
    cells = [cell(name, trace) for trace in ("t", "u") for name in ("binary", "slub/binary")] + [cell("slub/binary", "boot", least=9 * MIB)]
    write_run(tmp_path / "run", cells)
    text = show(str(tmp_path / "run"))
    first, second = text.split("boot, level all")
    assert first.startswith("2 traces (t, u), level all: geometric mean")
    assert re.search(r"^slub/binary +2\.000", first, re.M) and re.search(r"^slub/binary +9\.000", second, re.M)
    assert not re.search(r"^binary ", second, re.M)
