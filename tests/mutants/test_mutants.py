"""The mutants themselves: each patch fits today's code and says what it breaks. `make mutants` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutant import PROJECT, Mutant, mutants, read


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_and_its_tests_exist(mutant: Mutant) -> None:
    mutant.apply(PROJECT, check_only=True)
    for argument in mutant.tests:
        if "/" in argument:
            assert (PROJECT / argument.partition("::")[0]).exists(), argument


@pytest.mark.parametrize("head", ["", "it breaks something\n", "tests: tests/unit\n"])
def test_a_patch_must_say_what_it_breaks_and_who_notices(tmp_path: Path, head: str) -> None:
    file = tmp_path / "one.patch"
    file.write_text(f"{head}diff --git a/x b/x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must begin with"):
        read(file)
