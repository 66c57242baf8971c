"""A service account that nobody has, and its key file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@cache
def private_key() -> rsa.RSAPrivateKey:
    """One key for all tests: making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_key(file: Path, **members: Any) -> Path:
    """Writes a key file as Google hands them out, with other `members` where a test wants them; returns `file`."""
    pem = private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    whole = {
        "type": "service_account",
        "client_email": "deora@p.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "private_key_id": "k1",
        "token_uri": "https://token.example/token",
    }
    file.write_text(json.dumps({**whole, **members}))
    return file
