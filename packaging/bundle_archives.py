"""A tar.gz and a Debian package, written with the standard library: the same bytes from the same files.

A Debian package is an ar archive of three members (deb(5)): its format's version, control.tar.gz, data.tar.gz. Owners
are root and all times are the one that is given, so nothing of the machine that it was built on is inside.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its path from the archive's root, its mode, its content; `link` is set for a symlink."""

    path: str
    mode: int
    content: bytes = b""
    link: str | None = None

    @classmethod
    def of_file(cls, file: Path, path: str, mode: int) -> Member:
        """A file of this machine as it is."""
        return cls(path, mode, file.read_bytes())


def folder_members(folder: Path, path: str) -> Iterator[Member]:
    """All that is in a folder, below `path`. A file that may be executed may be by all, and only root may change it."""
    for file in sorted(folder.rglob("*")):
        target = f"{path}/{file.relative_to(folder).as_posix()}"
        if file.is_symlink():
            yield Member(target, 0o777, link=os.readlink(file))
        elif file.is_file():
            is_program = file.stat().st_mode & 0o100 and ".so" not in file.name
            yield Member.of_file(file, target, 0o755 if is_program else 0o644)


def write_tar(path: Path, members: Iterable[Member], moment_s: int) -> Path:
    """Writes a tar.gz; returns its path."""
    path.write_bytes(_tar(members, moment_s))
    return path


def write_deb(path: Path, control: str, scripts: Mapping[str, str], members: Iterable[Member], moment_s: int) -> Path:
    """Writes a Debian package with this control file and these maintainer scripts; returns its path."""
    files = list(members)
    about = [Member("control", 0o644, control.encode())]
    about += [Member("md5sums", 0o644, _md5sums(files))]
    about += [Member(name, 0o755, text.encode()) for name, text in scripts.items()]
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar(about, moment_s, "./"),
        "data.tar.gz": _tar(files, moment_s, "./"),
    }
    with path.open("wb") as archive:
        archive.write(b"!<arch>\n")
        for name, content in parts.items():
            # ar(5): name, time, owner, group, mode, size, each padded with blanks; members begin at even offsets.
            header = f"{name:<16}{moment_s:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
            archive.write(header.encode("ascii") + content + b"\n" * (len(content) % 2))
    return path


def _md5sums(members: Iterable[Member]) -> bytes:
    sums = {each.path: hashlib.md5(each.content, usedforsecurity=False) for each in members if each.link is None}
    lines = [f"{content.hexdigest()}  {path}\n" for path, content in sums.items()]
    return "".join(lines).encode()


def _tar(members: Iterable[Member], moment_s: int, root: str = "") -> bytes:
    """A compressed tar with the folders of its members before them; dpkg wants their names to begin with `./`."""
    packed = io.BytesIO()
    seen: set[str] = set()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=moment_s) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for member in members:
            for parent in reversed(PurePosixPath(member.path).parents):
                name = root + ("" if str(parent) == "." else f"{parent}/")
                if name and name not in seen:
                    seen.add(name)
                    archive.addfile(_entry(name, 0o755, moment_s, tarfile.DIRTYPE))
            kind = tarfile.REGTYPE if member.link is None else tarfile.SYMTYPE
            entry = _entry(root + member.path, member.mode, moment_s, kind)
            entry.linkname = member.link or ""
            entry.size = len(member.content)
            archive.addfile(entry, io.BytesIO(member.content))
    return packed.getvalue()


def _entry(name: str, mode: int, moment_s: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type, entry.mtime, entry.uname, entry.gname = mode, kind, moment_s, "root", "root"
    return entry
