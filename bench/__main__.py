"""`python -m bench [name ...] [--pairs N] [--seconds N] [--json FILE]`: measure, and print one table at the end.

The exit code is 0 when every figure that was asked for was measured or named as not measurable here, 1 when a
measurement failed. A missed bar is a line in the table, not an exit code: time on a busy machine is no test.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Final

from bench import claim, drain, drain_firestore, drain_postgres, failed_requests, get, increments, put
from bench.measure import PAIRS_OF_A_FIGURE, Row, Settings
from bench.processes import BenchError, NotMeasuredError
from bench.table import as_json, machine, render

FIGURES: Final[dict[str, ModuleType]] = {
    "get": get,
    "put": put,
    "claim": claim,
    "drain": drain,
    "drain-postgres": drain_postgres,
    "drain-firestore": drain_firestore,
    "increments": increments,
    "failed-requests": failed_requests,
}


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def arguments() -> argparse.Namespace:
    """The command line; wrong usage ends with a message and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure DEORA's figures beside their peers.")
    listed = ", ".join(FIGURES)
    parser.add_argument("names", nargs="*", metavar="name", help=f"figures to measure: {listed} (all)")
    parser.add_argument("--pairs", type=positive, default=PAIRS_OF_A_FIGURE, help="rounds of each row (%(default)s)")
    parser.add_argument("--seconds", type=positive, default=5, help="length of one load (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value of every round there, too")
    parser.add_argument(
        "--directory", type=Path, default=Path.cwd(), help="on the disk that is to be measured (the current directory)"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in FIGURES]
    if unknown:
        parser.error(f"there is no figure {', '.join(map(repr, unknown))}; there are {listed}")
    if not options.directory.is_dir():
        parser.error(f"{options.directory} is not a directory")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"the directory of {options.json} does not exist")
    return options


def measure(name: str, settings: Settings) -> tuple[list[Row], bool]:
    """The rows of one figure, and whether the measurement held."""
    figure = FIGURES[name]
    settings.say(f"{name}: {figure.TITLE}")
    try:
        rows: list[Row] = figure.measure(settings)
    except NotMeasuredError as reason:
        return [Row(figure.TITLE, "", missing=str(reason))], True
    except BenchError as error:
        print(f"{name} failed: {error}", file=sys.stderr, flush=True)
        return [Row(figure.TITLE, "", missing="it failed, see above")], False
    return rows, True


def main() -> int:
    """Measure what was asked for; 0 unless a measurement failed."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what runs is ended
    directory = Path(tempfile.mkdtemp(prefix=".bench-", dir=options.directory.resolve()))
    settings = Settings(
        options.pairs, options.seconds, directory, lambda line: print(line, file=sys.stderr, flush=True)
    )
    conditions = {"pairs": options.pairs, "seconds": options.seconds, **machine(directory)}
    rows, held = [], True
    try:
        for name in options.names or FIGURES:
            found, fine = measure(name, settings)
            rows += found
            held = held and fine
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print()
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    if options.pairs < PAIRS_OF_A_FIGURE:
        print(f"fewer than {PAIRS_OF_A_FIGURE} pairs: an impression, not a figure")
    print()
    print(render(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(rows, conditions), indent=2) + "\n", encoding="utf-8")
    return 0 if held else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: every process that was started has been ended")
