"""The table and the figures of a validation: theory as it is known, a CSV file in, files out."""

import pytest

import validate

HEADER = "section,subject,workload,quantity,kind,expected,measured,tolerance,standard_error,seeds,status,source,note\n"


def uniform(system, last):
    return validate.uniform_percent(validate.SYSTEMS[system][1], last)


@pytest.mark.parametrize("system,last,fraction", [
    # E[B]/E[X] as whole numbers: the exact table of uniform requests
    ("binary", 100, (7339, 5050)), ("fibonacci", 100, (648, 505)), ("weighted", 100, (2987, 2525)), ("kary:k=3", 100, (4769, 2525)),
    ("kary:k=4", 100, (12493, 5050)), ("binary", 4096, (11184811, 8390656)), ("fibonacci", 1000, (56621, 45500)),
    ("weighted", 1024, (61167, 52480)), ("kary:k=3", 64, (443, 260)), ("kary:k=4", 64, (3277, 2080))])
def test_uniform_requests(system, last, fraction):
    assert uniform(system, last) == pytest.approx(100 * (1 - fraction[1] / fraction[0]), rel=1e-12)


@pytest.mark.parametrize("system,percent", [("binary", 30.685), ("fibonacci", 22.138), ("weighted", 16.822)])
def test_exponential_requests_of_a_large_mean(system, percent):
    # Scale averages; the mean is large, so that rounding up to whole numbers is a half in 4000.
    assert validate.exponential_percent(validate.SYSTEMS[system][1], 4000) == pytest.approx(percent, abs=0.02)


def row(section, subject, workload, quantity, kind, expected, measured, **more):
    fields = {"tolerance": "", "standard_error": "", "seeds": "", "status": "ok", "source": "a source", "note": "", **more}
    return ",".join([section, subject, workload, quantity, kind, expected, measured, fields["tolerance"], fields["standard_error"],
                     fields["seeds"], fields["status"], fields["source"], fields["note"]]) + "\n"


ROWS = [
    row("rounding", "binary", "uniform 1..64", "OA", "exact", "2731/2080", "2731/2080"),
    row("curves", "binary", "uniform 1..64", "internal %", "simulated", "23.837", "23.9", tolerance="0.05", standard_error="0.04", seeds="10"),
    row("curves", "kary:k=4", '"exponential, mean 64"', "internal %", "simulated", "53.0", "53.1", tolerance="0.05", standard_error="0.04", seeds="10"),
    row("worst", "binary:policy=lowest", '"r = 1, n = 4"', '"units of n needed, knuth"', "exact", "6", "6"),
    row("worst", "binary", '"r = 1, n = 4"', '"smallest arena, units, knuth"', "at most", "8", "5"),
    row("worst", "first_fit", '"r = 1, M = 32"', '"units spanned, robson"', "at least", "47", "40", status="OUT"),
]


@pytest.fixture(name="folder")
def folder_of_rows(tmp_path):
    (tmp_path / "validate.csv").write_text(HEADER + "".join(ROWS))
    return tmp_path


def test_table_and_figures(folder):
    assert validate.main([str(folder), "--format", "png", "--quiet"]) == 0
    table = (folder / "tables" / "validate.tex").read_text()
    assert r"\texttt{binary} & uniform 1..64 & OA & 2731/2080 & 2731/2080 & exact & ok \\" in table
    assert r"& 3 x 0.040 & ok \\" in table and r"\textbf{OUT}" in table and r"internal \%" in table
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    assert figures == ["internal_fragmentation.png", "worst_cases.png"]
    assert all((folder / "figures" / name).stat().st_size > 10000 for name in figures)


def test_same_bytes(folder):
    def draw():
        assert validate.main([str(folder), "--format", "png,pdf", "--quiet"]) == 0
        return {path.name: path.read_bytes() for path in sorted((folder / "figures").iterdir())}
    assert draw() == draw()


def test_what_is_not_there_is_not_drawn(tmp_path):
    (tmp_path / "validate.csv").write_text(HEADER + ROWS[0])
    assert validate.main([str(tmp_path), "--quiet"]) == 0
    assert not list((tmp_path / "figures").iterdir())


@pytest.mark.parametrize("text,named", [("", "validate.csv"), ("a,b\n1,2\n", "section"), (HEADER + ROWS[1].replace("0.04", "NaN"), "standard_error")])
def test_a_file_out_of_contract_is_refused_by_name(tmp_path, capsys, text, named):
    (tmp_path / "validate.csv").write_text(text)
    assert validate.main([str(tmp_path), "--quiet"]) == 2
    assert named in capsys.readouterr().err
