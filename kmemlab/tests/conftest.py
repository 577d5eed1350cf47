"""The program as a user meets it: run as a separate process, judged by exit status, words and files."""

import os
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program():
    path = pathlib.Path(os.environ.get("KMEMLAB", SOURCE / "build" / "kmemlab"))
    if not path.exists():
        pytest.fail(f"{path} is not built: run ./test.sh")
    return path


@pytest.fixture
def kmemlab(program, tmp_path):
    """kmemlab(ARGUMENT...) -> CompletedProcess, in an empty folder, without a terminal."""

    def run(*arguments, **options):
        options.setdefault("cwd", tmp_path)
        options.setdefault("text", True)
        return subprocess.run(
            [str(program), *map(str, arguments)],
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=300,
            **options,
        )

    return run


@pytest.fixture(scope="session")
def shipped():
    """The shipped traces, smallest file first."""
    traces = sorted((SOURCE / "traces").glob("*.kmt"), key=lambda path: path.stat().st_size)
    assert traces, "no trace is shipped in traces/"
    return traces
