"""The service's own certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from deora.errors import StartError
from deora.gateway.tls import server_context
from tests.fakes.certificate import write_certificate


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    context = server_context(*write_certificate(tmp_path))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    cert, _ = write_certificate(tmp_path)
    with pytest.raises(StartError, match=r"missing\.pem cannot be read: No such file") as refused:
        server_context(cert, tmp_path / "missing.pem")
    assert refused.value.hint


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    cert, _ = write_certificate(tmp_path / "a")
    _, key = write_certificate(tmp_path / "b")
    with pytest.raises(StartError, match="cannot be used: key values mismatch"):
        server_context(cert, key)


def test_what_is_no_certificate(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    cert.write_text("nonsense")
    with pytest.raises(StartError, match="cannot be used"):
        server_context(cert, key)
