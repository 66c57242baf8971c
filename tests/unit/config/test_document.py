"""docs/configuration.md is what the schema says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deora.config.document import document
from deora.config.named import NAMED
from deora.config.schema import FILES

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_page_is_up_to_date() -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text()
    assert page == document(), "run: python -m deora.config.document > docs/configuration.md"


def test_the_command_prints_the_page() -> None:
    command = [sys.executable, "-m", "deora.config.document"]
    printed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert printed.stdout == document()


def test_it_speaks_of_every_file_and_variable() -> None:
    page = document()
    assert all(f"\n## {name}.json\n" in page for name in FILES)
    assert all(f"| `{name}` | `" in page for name in NAMED)
    assert '### An upstream of type "postgres"' in page
    assert "| `max_memory` | A worker that uses more is replaced" in page


def test_each_row_has_its_columns() -> None:
    rows = [line for line in document().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4, 5}
