"""What the Debian package says and does."""

from __future__ import annotations

import gzip
import shutil
import subprocess

import pytest

from bundle_archives import Member
from bundle_debian import control, documents, scripts


def test_the_control_file() -> None:
    lines = control("1.2.3", "amd64", [Member("a", 0o644, b"x" * 4096), Member("b", 0o644)]).splitlines()
    fields = dict(line.split(": ", 1) for line in lines if not line.startswith(" "))
    assert (fields["Package"], fields["Version"], fields["Architecture"]) == ("deora", "1.2.3", "amd64")
    assert fields["Installed-Size"] == "4"
    assert "libc6 (>= 2." in fields["Depends"]
    assert lines[-1].startswith(" ")


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_the_scripts_are_clean(name: str) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    checked = subprocess.run([shellcheck, "-"], input=scripts()[name], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_documents() -> None:
    found = {member.path.rpartition("/")[2]: member.content for member in documents("1.2.3", "MIT", 1_700_000_000)}
    assert found["copyright"] == b"MIT"
    changes = gzip.decompress(found["changelog.gz"]).decode()
    assert changes.startswith("deora (1.2.3) unstable; urgency=medium\n")
    assert changes.endswith(">  Tue, 14 Nov 2023 22:13:20 -0000\n")
