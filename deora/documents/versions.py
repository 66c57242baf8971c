"""The version of a document that this box only read: made from its content, since no commit of this box made it.

It changes when the data does and only then, is the same on each box and after each restart, and is told from a commit's
version (`epoch-commit`) by its first character. So a client may guard a write by what a read from upstream showed.
"""

from __future__ import annotations

from hashlib import blake2b


def copy_version(data: bytes) -> str:
    """The version of canonical text: `~` and 24 hexadecimal digits."""
    return "~" + blake2b(data, digest_size=12).hexdigest()
