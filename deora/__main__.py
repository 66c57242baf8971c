"""`python -m deora`, and the bundle's own program: the command line `deora`, and the processes that it executes.

A bundle has no `-m`, so whatever DEORA executes of itself is `program()` with a word behind it (`supervisor.options`).
The zygote is not among the commands: it would import click and rich, and every child would hold them.
"""

from __future__ import annotations

import sys

from deora.supervisor.options import ZYGOTE


def main() -> None:
    """Becomes what the first word says."""
    if sys.argv[1:2] == [ZYGOTE]:
        from deora.supervisor.zygote import main as zygote

        sys.exit(zygote(int(sys.argv[2])))
    from deora.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
