"""`python -m tests.simulation SEED [--trace]`: the world of one seed; `--count N`: the worlds of N seeds from there."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.simulation import command, simulate


def main() -> int:
    """Prints how the worlds went; 1 where one broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1, help="how many seeds, from SEED on")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--first", action="store_true", help="stop at the first violation")
    options = parser.parse_args()
    began_s = time.perf_counter()
    failed = []
    for seed in range(options.seed, options.seed + options.count):
        report = simulate(seed, traced=options.trace)
        for line in report.trace:
            print(line)
        if report.violation is not None:
            failed.append(seed)
            print(f"seed {seed}: {report.violation}\n  {command(seed)}", flush=True)
            if options.first:
                break
        elif options.count == 1:
            print(f"{report}: all promises held")
    took_s = time.perf_counter() - began_s
    ran = seed - options.seed + 1
    print(f"{ran} seeds, {len(failed)} with a violation, {1000 * took_s / ran:.1f} ms each")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
