"""Large answers, gzipped for clients that ask for it. Pure.

A document keeps its ETag: it stands for the data, whichever way that travels.
"""

from __future__ import annotations

import gzip
from typing import Final

# Below this the answer fits a packet or two, and the work is not worth it.
FROM_BYTES: Final = 2048
# The fastest: on JSON the higher levels save a tenth more and take three times as long.
_LEVEL: Final = 1
_VARY: Final = b"Vary: Accept-Encoding\r\n"


def coded(content: bytes, headers: bytes, *, as_gzip: bool) -> tuple[bytes, bytes]:
    """The content as it travels, and the header lines with what that calls for."""
    if len(content) < FROM_BYTES:
        return content, headers
    if not as_gzip:
        return content, headers + _VARY
    # No time in it, so that the same answer is the same bytes.
    return gzip.compress(content, _LEVEL, mtime=0), headers + _VARY + b"Content-Encoding: gzip\r\n"
