"""The service's own certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from deora.errors import StartError


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with this certificate chain and key, PEM files. Raises StartError with the file's name."""
    for file in (cert, key):
        try:
            file.open("rb").close()
        except OSError as error:
            raise StartError(
                f"security.tls: {file} cannot be read: {error.strerror}",
                hint="the user that runs DEORA must be able to read it; a relative name is under the data directory",
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_refuse_password)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise StartError(
            f"security.tls: {cert} and {key} cannot be used: {reason}",
            hint="a PEM chain, the server's own certificate first, and the key that belongs to it, without a password",
        ) from error
    return context


def _refuse_password() -> str:
    # Without this OpenSSL would ask the terminal, and wait.
    return ""
