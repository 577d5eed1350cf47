"""The builds that a campaign runs, from the presets of CMakePresets.json: made when needed, brought up to date always.

They lie in build/ of the source, or in the folder that KML_FUZZ_BUILD names.
"""

import fcntl
import os
import pathlib
import shutil

from tools import CampaignError, run, tail

SOURCE = pathlib.Path(os.environ.get("KMEMLAB_SOURCE") or pathlib.Path(__file__).resolve().parents[2])

# What is missing, and the Debian package that brings it.
PACKAGES = {"cmake": "cmake", "ninja": "ninja-build", "clang": "clang libclang-rt-14-dev", "afl-fuzz": "afl++", "afl-clang-fast": "afl++"}
TARGETS = {"fuzz": ("kmemlab-fuzz", "kmemlab"), "fuzz-plain": ("kmemlab-fuzz", "kmemlab"), "afl": ("kmemlab-fuzz", "kmemlab-mutator"),
           "fuzz-coverage": ("kmemlab-fuzz",)}
NEEDS = {"fuzz": ("clang",), "fuzz-plain": (), "afl": ("clang", "afl-clang-fast", "afl-fuzz"), "fuzz-coverage": ("clang",)}


def check_tools(presets):
    needed = ["cmake", "ninja"] + [tool for preset in presets for tool in NEEDS[preset]]
    missing = [tool for tool in needed if not shutil.which(tool)]
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGES[tool] for tool in missing))
        without = "; or go on with --engine libfuzzer" if all(tool.startswith("afl") for tool in missing) else ""
        raise CampaignError(f"{', '.join(dict.fromkeys(missing))} cannot be found: apt-get install {packages}{without}")


class Build:
    """A preset's build folder. `plain`: of an engine, but without sanitizers."""

    def __init__(self, preset, plain=False):
        root = pathlib.Path(os.environ.get("KML_FUZZ_BUILD") or SOURCE / "build")
        self.preset = preset
        self.folder = root / (preset + ("-unsanitized" if plain else ""))
        self.log = root / f"log-{self.folder.name}.txt"
        self.options = ["-DKML_SANITIZE=OFF"] if plain else []
        # kmemlab itself is linked with no engine: what the compiler's coverage calls then comes from the sanitizers.
        self.targets = [name for name in TARGETS[preset] if not (plain and name == "kmemlab")]

    def path(self, name):
        return self.folder / name

    def _step(self, command):
        status, output, errors = run(command, cwd=SOURCE)
        self.log.write_text(output + errors)
        if status != 0:
            wrong = [line for line in (output + errors).splitlines() if "error" in line or "FAILED" in line]
            raise CampaignError(f"{' '.join(map(str, command))} failed:\n{tail(chr(10).join(wrong) or output + errors)}\nThe whole log is {self.log}")

    def make(self, terminal):
        self.folder.mkdir(parents=True, exist_ok=True)
        terminal.show(f"building {self.folder.name}")
        # One at a time: a second campaign waits for the first one's build.
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.path("build.ninja").exists():
                self._step(["cmake", "--preset", self.preset, "-B", self.folder, *self.options])
            self._step(["cmake", "--build", self.folder, "--target", *self.targets])
        terminal.clear()
        return self
