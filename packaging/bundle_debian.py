"""What a Debian package says of itself, and what it does when it is installed, upgraded and removed."""

from __future__ import annotations

import gzip
import platform
from collections.abc import Iterator, Sequence
from email.utils import formatdate

from bundle_archives import Member

# Debian's names of what `uname -m` says.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}
MAINTAINER = "DEORA contributors <deora@packages.example>"

# A running instance becomes the new program within --package, or the old one stays and the configuration fails.
POSTINST = """\
#!/bin/sh
set -e
case "$1" in
    configure | abort-upgrade | abort-remove | abort-deconfigure) ;;
    *) exit 0 ;;
esac
/usr/share/deora/install-service.sh --package >/dev/null
deb-systemd-helper unmask deora-backend.service >/dev/null || true
if deb-systemd-helper --quiet was-enabled deora-backend.service; then
    deb-systemd-helper enable deora-backend.service >/dev/null || true
else
    deb-systemd-helper update-state deora-backend.service >/dev/null || true
fi
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
    deb-systemd-invoke start deora-backend.service >/dev/null || true
fi
"""

PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop deora-backend.socket deora-backend.service >/dev/null || true
fi
if [ "$1" = remove ]; then
    rm -rf /usr/lib/deora/program /usr/lib/deora/[0-9]*
fi
"""

# The data of a venue is never removed by a program.
POSTRM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && command -v deb-systemd-helper >/dev/null; then
    deb-systemd-helper mask deora-backend.service >/dev/null || true
fi
if [ "$1" = purge ]; then
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper purge deora-backend.service deora-backend.socket >/dev/null || true
        deb-systemd-helper unmask deora-backend.service >/dev/null || true
    fi
    rm -rf /etc/deora /var/log/deora
    [ ! -d /var/lib/deora ] || echo "deora: /var/lib/deora, the data, is kept" >&2
fi
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
"""

# A bundle brings its libraries along, and PyInstaller's loader is as PyInstaller builds it.
OVERRIDES = """\
deora: embedded-library *
deora: hardening-no-pie *
deora: shared-library-lacks-prerequisites *
"""


def control(version: str, architecture: str, members: Sequence[Member]) -> str:
    """The control file (deb-control(5)). It needs the C library of the machine that built it, or a newer one."""
    size_kib = sum(len(each.content) for each in members) // 1024
    return f"""\
Package: deora
Version: {version}
Architecture: {architecture}
Maintainer: {MAINTAINER}
Installed-Size: {size_kib}
Depends: libc6 (>= {platform.libc_ver()[1]}), systemd (>= 252)
Section: database
Priority: optional
Description: redundant, offline-first backend of a venue
 Tills, tablets and kitchen screens talk HTTP to it; it talks to Cloud
 Firestore or PostgreSQL. The venue goes on taking orders while the internet
 is out, and every write reaches the cloud exactly once.
"""


def scripts() -> dict[str, str]:
    """The maintainer scripts by their names."""
    return {"postinst": POSTINST, "prerm": PRERM, "postrm": POSTRM}


def documents(version: str, licence: str, moment_s: int) -> Iterator[Member]:
    """What Debian wants of each package in /usr/share/doc."""
    folder = "usr/share/doc/deora"
    entry = f"deora ({version}) unstable; urgency=medium\n\n  * Release {version}.\n\n -- {MAINTAINER}  "
    changes = entry + formatdate(moment_s) + "\n"
    yield Member(f"{folder}/copyright", 0o644, licence.encode())
    yield Member(f"{folder}/changelog.gz", 0o644, gzip.compress(changes.encode(), mtime=0))
    yield Member("usr/share/lintian/overrides/deora", 0o644, OVERRIDES.encode())
