"""One POST: what arrives, and how each way of not arriving is told, without the URL's secrets."""

from __future__ import annotations

import base64
import socket
import ssl
from pathlib import Path

import pytest

from deora.observe.posting import DeliveryError, place, post
from tests.fakes.certificate import write_certificate
from tests.fakes.receiver import Receiver

SECRET = "s3cret"


def failure(url: str, timeout_s: float = 10) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        post(url, b"{}", {}, timeout_s)
    assert SECRET not in caught.value.message
    return caught.value


def test_what_is_posted_arrives() -> None:
    with Receiver() as receiver:
        posted = post(f"{receiver.url}/hook/{SECRET}?a=b", b'{"n":1}', {"X-More": "x"})
        assert posted == (200, "ok")
        [found] = receiver.posts
    assert (found.target, found.json) == (f"/hook/{SECRET}?a=b", {"n": 1})
    assert (found.headers["content-type"], found.headers["x-more"]) == ("application/json", "x")
    assert found.headers["user-agent"].startswith("deora/")


def test_a_user_in_the_url_is_sent_as_authorization() -> None:
    with Receiver() as receiver:
        post(receiver.url.replace("//", "//anna:p%40ss@"), b"{}", {})
        [found] = receiver.posts
    assert found.headers["authorization"] == "Basic " + base64.b64encode(b"anna:p@ss").decode()


@pytest.mark.parametrize(("status", "is_final"), [(400, True), (422, True), (404, False), (429, False), (503, False)])
def test_an_answer_that_is_no_success(status: int, is_final: bool) -> None:
    with Receiver() as receiver:
        receiver.answers, receiver.headers = [status], {"Retry-After": "7"}
        found = failure(f"{receiver.url}/{SECRET}")
    assert (found.status, found.retry_after_s, found.is_final, found.retryable) == (status, 7, is_final, not is_final)
    assert str(status) in found.message


def test_a_redirect_is_not_followed() -> None:
    with Receiver() as receiver, Receiver() as elsewhere:
        receiver.answers, receiver.headers = [307], {"Location": elsewhere.url}
        assert failure(receiver.url).status == 307
        assert elsewhere.posts == []


def test_nobody_there_and_a_name_that_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = failure(f"http://127.0.0.1:{port}/{SECRET}")
    assert (found.status, found.is_final) == (None, False)
    assert "Connection refused" in found.message
    assert f"http://127.0.0.1:{port}/***" in found.message
    assert failure(f"http://nowhere.invalid/{SECRET}").status is None


def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    with Receiver() as receiver:
        receiver.silent = True
        assert failure(receiver.url, timeout_s=0.2).status is None


def test_a_server_that_speaks_byte_by_byte_is_not_waited_for_either() -> None:
    """Each byte comes in time, the answer never does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        done = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                while not done.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert failure(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.5).status is None
        finally:
            done.set()
            thread.join()


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = write_certificate(tmp_path)
    with Receiver(tls=(cert, key)) as receiver:
        assert "certificate" in failure(receiver.url).message.lower()
        assert receiver.posts == []
        monkeypatch.setattr(ssl, "_create_default_https_context", lambda: ssl.create_default_context(cafile=str(cert)))
        assert post(receiver.url, b"{}", {}).status == 200


def test_where_a_url_leads_without_its_secrets() -> None:
    assert place("https://u:p@hooks.example:8443/services/T0/B1?token=x") == "https://hooks.example:8443/***"
