"""kmemlab validate as its users meet it: what is exact is equal, the rest within its limits, and a figure that is out is told."""

import csv
import os
import subprocess

FAST = ["--section", "rounding", "--section", "worst", "--section", "metrics"]


def test_what_needs_no_simulation_of_minutes_is_ok(kmemlab, tmp_path):
    done = kmemlab("validate", *FAST, "--out", str(tmp_path), "--no-figures")
    assert done.returncode == 0, done.stdout + done.stderr
    with open(tmp_path / "validate.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["section"] for row in rows} == {"rounding", "worst", "metrics"}
    assert all(row["status"] == "ok" for row in rows)
    assert sum(row["kind"] == "exact" for row in rows) >= 60
    assert f"{len(rows)} figures: {len(rows)} ok, 0 out, 0 not run" in done.stdout


def test_a_figure_that_is_out_is_told_and_is_the_exit_status(program, tmp_path):
    environment = dict(os.environ, KMEMLAB_SOURCE=str(tmp_path))
    done = subprocess.run([program, "validate", "--section", "metrics", "--quiet"], env=environment, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert done.stdout.count("OUT") == 3 and str(tmp_path) in done.stdout


def test_what_is_not_run_says_what_it_needs(kmemlab):
    done = kmemlab("validate", "--section", "table")
    assert done.returncode == 0
    assert "not run" in done.stdout and "--logs" in done.stdout


def test_wrong_words(kmemlab):
    for words, named in ((["--section", "rouding"], "rouding"), (["--seeds", "3"], "seeds"), (["rounding"], "--section")):
        done = kmemlab("validate", *words)
        assert done.returncode == 2 and named in done.stderr
