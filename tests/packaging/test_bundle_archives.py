"""The archives, as tar and dpkg-deb read them."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from bundle_archives import Member, folder_members, write_deb, write_tar

MOMENT_S = 1_700_000_000
MEMBERS = [
    Member("usr/lib/deora/deora", 0o755, b"#!/bin/sh\n"),
    Member("usr/lib/deora/now", 0o777, link="deora"),
    Member("usr/share/doc/deora/copyright", 0o644, b"MIT"),
]
CONTROL = """\
Package: deora
Version: 1.2.3
Architecture: amd64
Maintainer: nobody <nobody@example.org>
Description: a test
"""


def test_a_folder_as_it_is_with_modes_for_all(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for name, mode in (("deora", 0o700), ("lib/x.so", 0o700), ("lib/text", 0o600)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("lib/text")
    assert list(folder_members(tmp_path, "top")) == [
        Member("top/deora", 0o755, b"deora"),
        Member("top/lib/text", 0o644, b"lib/text"),
        Member("top/lib/x.so", 0o644, b"lib/x.so"),
        Member("top/link", 0o777, link="lib/text"),
    ]


def test_a_tar_is_the_same_bytes_and_roots(tmp_path: Path) -> None:
    first = write_tar(tmp_path / "a.tar.gz", MEMBERS, MOMENT_S)
    assert first.read_bytes() == write_tar(tmp_path / "b.tar.gz", MEMBERS, MOMENT_S).read_bytes()
    with tarfile.open(first) as archive:
        found = {member.name: member for member in archive}
        stream = archive.extractfile("usr/lib/deora/deora")
        assert stream is not None
        assert stream.read() == b"#!/bin/sh\n"
    assert [name for name, member in found.items() if member.isdir()] == [
        "usr",
        "usr/lib",
        "usr/lib/deora",
        "usr/share",
        "usr/share/doc",
        "usr/share/doc/deora",
    ]
    assert found["usr/lib/deora/now"].linkname == "deora"
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, MOMENT_S)}


def test_a_package_as_dpkg_reads_it(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed (Debian: apt-get install dpkg)")
    package = write_deb(tmp_path / "deora.deb", CONTROL, {"postinst": "#!/bin/sh\n"}, MEMBERS, MOMENT_S)

    def dpkg(*words: str | Path) -> str:
        return subprocess.run(["dpkg-deb", *words], capture_output=True, text=True, check=True).stdout

    assert dpkg("--field", package, "Version") == "1.2.3\n"
    listed = dpkg("--contents", package)
    assert "./usr/lib/deora/now -> deora" in listed
    dpkg("--raw-extract", package, tmp_path / "out")
    assert (tmp_path / "out/usr/share/doc/deora/copyright").read_text() == "MIT"
    assert (tmp_path / "out/DEBIAN/postinst").stat().st_mode & 0o777 == 0o755
    sums = (tmp_path / "out/DEBIAN/md5sums").read_text()
    checked = subprocess.run(["md5sum", "-c"], input=sums, cwd=tmp_path / "out", text=True, check=False)
    assert checked.returncode == 0
    assert len(sums.splitlines()) == 2
