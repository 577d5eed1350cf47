"""What the programs that draw have in common: same bytes each time, --format and --quiet, errors, exit status."""

import argparse
import os
import sys

import schema

FORMATS = ("png", "pdf", "svg")


def fix_hash_seed():
    """Start again with a fixed seed of hash(), by which matplotlib names the glyph subsets in a PDF. Before it is imported."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])


def words_of(choices, what):
    """The type of an option whose value is some of the choices, joined by commas."""
    def parse(text):
        parts = [part for part in text.split(",") if part]
        wrong = [part for part in parts if choices and part not in choices]
        if wrong or not parts:
            raise argparse.ArgumentTypeError(f"{what} '{wrong[0] if wrong else text}' is none of {', '.join(choices)}")
        return parts
    return parse


def parser_of(description, metavar, folder, **more):
    """A parser of the folder that is drawn, --format and --quiet."""
    parser = argparse.ArgumentParser(description=description, **more)
    parser.add_argument("directory", metavar=metavar, help=folder)
    parser.add_argument("--format", metavar="FORMAT", type=words_of(FORMATS, "format"), default=["png", "pdf"],
                        help="png, pdf or svg, joined by commas (default png,pdf)")
    parser.add_argument("--quiet", action="store_true", help="do not list the files written")
    return parser


def figures_folder(directory):
    """DIRECTORY/figures, made where it is missing."""
    folder = os.path.join(directory, "figures")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise schema.SchemaError(f"{folder}: cannot be made: {error.strerror}") from None
    return folder


def run(name, make_all, options, nothing=""):
    """Draw and list the files; the exit status. `nothing` is said where there are none."""
    try:
        paths = make_all(options)
    except (schema.SchemaError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if not options.quiet:
        print("\n".join(paths) if paths else nothing)
    return 0
