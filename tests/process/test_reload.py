"""Reloads of a real instance under load: nothing fails, nothing is left behind, and what is new is in force."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from bench.instance import Instance
from deora.config.tokens import add_token, remove_token
from tests.fakes.certificate import write_certificate
from tests.fakes.command import deora
from tests.fakes.killer import children, kill
from tests.fakes.meanwhile import meanwhile
from tests.fakes.subscribers import Subscribers, judge_streams, wait_until
from tests.fakes.tills import Tills, judge

Start = Callable[..., Instance]


def write(one: Instance, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (one.directory / "config" / f"{name}.json").write_text(text, encoding="utf-8")


def reload_under_streams(one: Instance, reloads: int) -> list[float]:
    """200 requests a second and 50 change streams, of which 10 break and follow on meanwhile; the seconds of each
    reload."""
    took_s = []
    with Subscribers(one.url) as streams:
        every = streams.open_many(50, followers=10)
        cut = itertools.cycle(every[:10])
        load = Tills(one.url, 20, rate=100, reads=1, patience_s=0)
        with load as tills, meanwhile(lambda: streams.cut(next(cut)), 0.05):
            for _ in range(reloads):
                written, before = len(tills.writes), children(one)
                one.wait_until(lambda: len(tills.writes) > written + 50)  # noqa: B023 - called at once
                began_s = time.monotonic()
                done = deora("reload", on=one)
                took_s.append(time.monotonic() - began_s)
                assert (done.returncode, done.stderr) == (0, "")
                assert done.stdout.startswith("reloaded in ")
                assert done.stdout.endswith(": 2 workers, store, replayer\n")
                after = children(one)
                assert not {*before.values()} & {*after.values()}
                assert before.keys() == after.keys()
            written = len(tills.writes)
            one.wait_until(lambda: len(tills.writes) > written + 50)
        judge(one, tills)
        judge_streams(every, sorted(sent.commit for sent in tills.history if sent.commit is not None))
        assert not any(stream.ended for stream in every)
        assert {len(stream.statuses) for stream in every[10:]} == {1}, "no stream ends by a reload"
    print(f"{reloads} reloads, the longest {max(took_s):.1f} s with the command's own start")
    return took_s


def test_a_reload_under_load_fails_no_request_and_no_stream(instance: Start) -> None:
    """F15."""
    assert max(reload_under_streams(instance(), 1)) < 10


@pytest.mark.torture
def test_reloads_under_load_for_long(instance: Start) -> None:
    """F15, again and again."""
    assert max(reload_under_streams(instance(), 30)) < 10


@pytest.mark.parametrize("count", [6, pytest.param(20, marks=pytest.mark.torture)])
def test_reloads_leave_nothing_behind(instance: Start, count: int) -> None:
    one = instance()
    assert deora("reload", on=one).returncode == 0
    supervisor = psutil.Process(one.pid)
    figures = []
    with Tills(one.url, 4, rate=50, reads=1, patience_s=0) as tills:
        for _ in range(count):
            one.post("/admin/reload")
            figures.append((supervisor.num_fds(), supervisor.num_threads(), len(one.tree())))
    print(figures)
    descriptors, threads, processes = zip(*figures, strict=True)
    assert len(set(threads)) == len(set(processes)) == 1
    # Give or take the connection of the last request.
    assert max(descriptors) - min(descriptors) <= 1
    judge(one, tills)


def test_a_worker_that_is_killed_meanwhile_is_of_no_account(instance: Start) -> None:
    one = instance()

    def kill_the_first() -> None:
        pid = one.status()["workers"][0]["pid"]
        kill(*[pid] if pid else [])

    with Tills(one.url, rate=100, reads=1, patience_s=0) as tills, meanwhile(kill_the_first, 0.25):
        reloads = [one.request("POST", "/admin/reload") for _ in range(3)]
    # One that could not be started anew, since it was killed at its start, is named; the others are new.
    assert all(done.status in (200, 503) for done in reloads)
    assert one.request("POST", "/admin/reload").status == 200
    judge(one, tills)


def test_two_at_once_are_both_told(instance: Start) -> None:
    one = instance()
    answers: list[int] = []
    asking = [
        threading.Thread(target=lambda: answers.append(one.request("POST", "/admin/reload").status)) for _ in range(4)
    ]
    before = one.status()["workers"][0]["pid"]
    for thread in asking:
        thread.start()
    os.kill(one.pid, signal.SIGHUP)
    for thread in asking:
        thread.join()
    assert answers == [200] * 4
    assert one.status()["workers"][0]["pid"] != before
    one.wait_until(lambda: one.printed().count('"message": "reloaded in') == 2, 10)


def test_a_wrong_configuration_changes_nothing(instance: Start) -> None:
    one = instance()
    before = children(one)
    write(one, "servers", {"port": 99999, "prot": 1})
    write(one, "queue", "{")
    done = deora("reload", on=one)
    assert done.returncode == 1
    for part in ("servers.json", "port", "prot", "queue.json", "nothing was changed"):
        assert part in done.stderr
    shown = json.loads(deora("reload", "--json", on=one).stdout)
    assert (shown["reloaded"], len(shown["problems"])) == ([], 3)
    os.kill(one.pid, signal.SIGHUP)
    one.wait_until(lambda: one.printed().count("not reloaded") == 3, 10)
    assert children(one) == before
    assert one.request("PUT", "/v1/documents/a/b", json={}).status == 201


def test_tokens_hosts_and_limits_are_in_force(instance: Start) -> None:
    one = instance()
    config = one.directory / "config"
    token = add_token(config, "till", "write")
    put = bearer(token)
    assert one.request("PUT", "/v1/documents/a/b", json={}).status == 201
    assert deora("reload", on=one).returncode == 0
    assert one.request("PUT", "/v1/documents/a/b", json={}).status == 401
    assert one.request("PUT", "/v1/documents/a/b", json={}, headers=put).status == 200
    security = json.loads((config / "security.json").read_text())
    write(one, "security", {**security, "limits": {"body": "1KiB"}, "cors": {"origins": ["https://shop.example"]}})
    assert deora("reload", on=one).returncode == 0
    origin = {**put, "Origin": "https://shop.example"}
    answer = one.request("PUT", "/v1/documents/a/b", json={"x": "y" * 2000}, headers=origin)
    assert answer.status == 413
    answer = one.request("PUT", "/v1/documents/a/b", json={}, headers=origin)
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://shop.example")
    remove_token(config, "till")
    add_token(config, "other", "read")
    assert deora("reload", on=one).returncode == 0
    assert one.request("PUT", "/v1/documents/a/b", json={}, headers=put).status == 401


def test_a_change_stream_ends_with_its_token(instance: Start) -> None:
    one = instance()
    config = one.directory / "config"
    with Subscribers(one.url) as streams:
        nobodys = streams.open()
        tokens = {name: add_token(config, name, "read") for name in ("till", "kitchen")}
        assert deora("reload", on=one).returncode == 0
        wait_until(lambda: nobodys.ended, "the stream of nobody has ended")
        till, kitchen = (streams.open(headers=bearer(tokens[name])) for name in ("till", "kitchen"))
        assert "deora_change_streams 2\n" in one.request("GET", "/metrics", headers=bearer(tokens["till"])).text
        # A new one by the same name does not keep the old one's stream.
        remove_token(config, "till")
        add_token(config, "till", "read")
        writer = add_token(config, "writer", "write")
        assert deora("reload", on=one).returncode == 0
        wait_until(lambda: till.ended, "the stream of the token that is gone has ended")
        assert nobodys.ended_cleanly
        assert till.ended_cleanly
        assert one.request("PUT", "/v1/documents/a/b", json={}, headers=bearer(writer)).status == 201
        wait_until(lambda: kitchen.events, "the other stream goes on")
        assert not kitchen.ended
        assert not till.events


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_workers_come_and_go_with_the_configuration(instance: Start) -> None:
    one = instance()
    two = {"id": "A", "workers": 2, "weight": 1, "priority": 1}
    with Tills(one.url, rate=60, reads=1, patience_s=0) as tills:
        write(one, "servers", {"primary": two, "port": 1234})
        write(one, "database", {"secondary": {"type": "sqlite", "file": "second.db"}})
        done = deora("reload", on=one)
        assert done.stdout.startswith("reloaded in ")
        assert "3 workers" in done.stdout
        assert "servers.port" in done.stdout
        assert [worker["slot"] for worker in one.status()["workers"]] == ["primary", "primary-2", "secondary"]
        one.wait_until_whole()
        assert [upstream["name"] for upstream in one.status()["upstreams"]] == ["primary", "secondary"]
        write(one, "servers", {"primary": {**two, "workers": 1}})
        assert "2 workers" in deora("reload", on=one).stdout
        one.wait_until(lambda: len(one.status()["workers"]) == 2, 10)
    judge(one, tills)


def test_a_new_certificate_is_served(tmp_path: Path, instance: Start) -> None:
    one = instance()
    address = urlsplit(one.url)

    def served() -> str:
        return ssl.get_server_certificate((str(address.hostname), int(address.port or 0)), timeout=10)

    def over_tls(path: Path) -> int:
        context = ssl.create_default_context(cafile=str(path))
        connection = http.client.HTTPSConnection("localhost", address.port, timeout=10, context=context)
        connection.request("GET", "/health/live")
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    for number in range(2):
        cert, key = write_certificate(tmp_path / f"certificate-{number}")
        write(one, "security", {"tls": {"cert": str(cert), "key": str(key)}})
        assert deora("reload", on=one).returncode == 0
        assert served() == cert.read_text()
        assert over_tls(cert) == 200
    (tmp_path / "certificate-1" / "cert.pem").write_text("no certificate")
    done = deora("reload", on=one)
    assert done.returncode == 1
    assert "cert.pem" in done.stderr
    write(one, "security", {})
    assert deora("reload", on=one).returncode == 0
    assert one.request("GET", "/health/live").status == 200


def test_the_level_of_the_log_changes(instance: Start) -> None:
    one = instance()
    write(one, "logger", {"level": "warning"})
    assert deora("reload", on=one).returncode == 0
    # The reload's own last words are said at the new level.
    assert "reloaded in" not in one.printed()
