"""The client of the control socket, against a real one."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deora.cli.client import ControlClient, ControlError, control_directory
from deora.errors import NotRunningError
from tests.fakes.control import control_server


@contextmanager
def _raw_server(data: Path, answer: bytes) -> Iterator[None]:
    """Accepts one connection, reads once, sends `answer` as it is and closes."""
    data.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / "control.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_get_post_and_delete_carry_json_both_ways(tmp_path: Path) -> None:
    routes = {"GET /a": (200, {"b": [1, 1.5]}), "POST /c": (200, {"paused": True}), "DELETE /d": (204, None)}
    with control_server(tmp_path, routes) as server:
        client = ControlClient(tmp_path)
        assert client.get("/a") == {"b": [1, 1.5]}
        assert client.post("/c") == {"paused": True}
        assert client.post("/c", json={"force": True}) == {"paused": True}
        assert client.delete("/d") is None
    assert server.requests == [
        ("GET", "/a", None),
        ("POST", "/c", None),
        ("POST", "/c", {"force": True}),
        ("DELETE", "/d", None),
    ]


def test_a_large_answer_comes_whole(tmp_path: Path) -> None:
    with control_server(tmp_path, {"GET /a": (200, ["x" * 1000] * 2000)}):
        assert len(ControlClient(tmp_path).get("/a")) == 2000


def test_a_chunked_answer_comes_whole(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n3\r\n 2]\r\n0\r\n\r\n"
    with _raw_server(tmp_path / "data", answer):
        assert ControlClient(tmp_path / "data").get("/a") == [1, 2]


def test_a_data_directory_with_a_path_longer_than_a_socket_s(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 100) / ("e" * 100)
    with control_server(data, {"GET /a": (200, 1)}):
        assert ControlClient(data).get("/a") == 1
        assert ControlClient(data).peer_pid() == os.getpid()


def test_a_problem_becomes_an_error_with_its_hint(tmp_path: Path) -> None:
    problem = {"type": "urn:x", "title": "T", "status": 409, "detail": "it has later writes", "hint": "add --force"}
    with control_server(tmp_path, {"POST /a": (409, problem)}), pytest.raises(ControlError) as caught:
        ControlClient(tmp_path).post("/a")
    assert (caught.value.message, caught.value.hint, caught.value.status) == (
        "it has later writes",
        "add --force",
        409,
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"title": "Only a title"}, "Only a title"),
        (b"<html>", "the instance answered with status 500"),
        (None, "the instance answered with status 500"),
        ([1], "the instance answered with status 500"),
    ],
)
def test_a_refusal_without_a_detail(tmp_path: Path, answer: object, message: str) -> None:
    with control_server(tmp_path, {"GET /a": (500, answer)}), pytest.raises(ControlError, match=message):
        ControlClient(tmp_path).get("/a")


def test_an_answer_that_is_no_json(tmp_path: Path) -> None:
    with control_server(tmp_path, {"GET /a": (200, b"<html>")}), pytest.raises(ControlError, match="not JSON"):
        ControlClient(tmp_path).get("/a")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "before its answer was whole"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1,", "before its answer was whole"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is not HTTP"),
    ],
)
def test_an_answer_that_is_not_whole_or_no_http(tmp_path: Path, answer: bytes, message: str) -> None:
    with _raw_server(tmp_path / "data", answer), pytest.raises(ControlError, match=message) as caught:
        ControlClient(tmp_path / "data").get("/a")
    assert caught.value.status is None


def test_no_answer_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        with pytest.raises(ControlError, match=r"no answer within 0\.01 s"):
            ControlClient(tmp_path, timeout_s=0.01).get("/a")


def test_a_full_backlog_means_that_nobody_accepts(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen(0)
        waiting.connect(str(tmp_path / "control.sock"))
        with pytest.raises(ControlError, match="accepts no connections"):
            ControlClient(tmp_path).get("/a")


def test_nothing_runs_without_a_directory_or_a_socket(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "missing", Path(__file__)):
        with pytest.raises(NotRunningError, match="no instance runs on") as caught:
            ControlClient(data).get("/status")
        assert caught.value.hint is not None


def test_a_socket_file_that_outlived_its_instance(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
    with pytest.raises(NotRunningError):
        ControlClient(tmp_path).peer_pid()


def test_the_socket_is_in_the_runtime_directory_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control_directory(tmp_path) == tmp_path
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/run:/run/other")
    assert control_directory(tmp_path) == tmp_path / "run"
    with control_server(tmp_path / "run", {"GET /a": (200, 1)}):
        assert ControlClient(tmp_path / "data").get("/a") == 1


def test_the_lock_file_tells_those_who_have_no_runtime_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    told = {"pid": 1, "argv": ["--data", str(data)], "systemd": True, "control": str(tmp_path / "run")}
    (data / "deora.lock").write_text(json.dumps(told))
    with control_server(tmp_path / "run", {"GET /a": (200, 1)}):
        assert ControlClient(data).get("/a") == 1


def test_no_permission_is_not_the_same_as_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Patched, as tests may run as root, whom no mode stops.
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ControlError, match="this user may not use the control socket"):
        ControlClient(tmp_path).get("/a")
