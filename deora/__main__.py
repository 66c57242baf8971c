"""`python -m deora` is the command line `deora`."""

from __future__ import annotations

from deora.cli.main import main

if __name__ == "__main__":
    main()
