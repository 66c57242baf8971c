"""What an operator sees of a real instance: its logs, a request through them, its alerts, its metrics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.instance import PROJECT, Instance
from tests.fakes.receiver import Receiver


def log(one: Instance, name: str) -> list[dict[str, Any]]:
    """The lines of a log; each must be whole."""
    path = one.data / "logs" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def deora(one: Instance, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deora", *arguments, "--data", str(one.data)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, env=environment, cwd=one.directory, capture_output=True, text=True, timeout=60)


def test_a_request_is_followed_from_its_till_to_the_queue(instance: Callable[..., Instance]) -> None:
    one = instance(logger={"access": True})
    written = one.request("PUT", "/v1/documents/orders/o1", {"n": 1}, headers={"X-Request-Id": "till-3/order-7"})
    refused = one.request("GET", "/v1/documents/orders/none")
    drained = one.request("POST", "/admin/workers/primary:drain")
    assert (written.status, written.headers["X-Request-Id"], drained.status) == (201, "till-3/order-7", 200)
    assert refused.json["requestId"] == refused.headers["X-Request-Id"]
    one.wait_until(lambda: len([each for each in log(one, "access.log") if "/health" not in each["path"]]) >= 3)
    lines = {each["id"]: each for each in log(one, "access.log")}
    assert lines["till-3/order-7"]["commit"] == written.json["commit"]
    assert (lines["till-3/order-7"]["method"], lines["till-3/order-7"]["status"]) == ("PUT", 201)
    assert lines[refused.headers["X-Request-Id"]]["slot"] in ("primary", "secondary")
    [audited] = log(one, "audit.log")
    assert (audited["message"], audited["status"]) == ("POST /admin/workers/primary:drain", 200)
    assert (audited["client"], audited["requestId"]) == ("127.0.0.1", drained.headers["X-Request-Id"])
    deora(one, "worker", "ready", "primary")
    assert log(one, "audit.log")[1]["client"] == f"control socket, user {os.getuid()}"
    shown = deora(one, "logs", "--log", "access", "--log", "audit", "-n", "1000")
    assert "PUT /v1/documents/orders/o1 201" in shown.stdout
    assert "POST /admin/workers/primary:ready" in shown.stdout

    def synced() -> list[float]:
        families = text_string_to_metric_families(one.request("GET", "/metrics").text)
        [found] = [family for family in families if family.name == "deora_store_sync_duration_seconds"]
        return [sample.value for sample in found.samples if sample.name.endswith("_count")]

    one.wait_until(lambda: synced() == [1])


def test_a_full_disk_under_the_logs_stops_nothing(instance: Callable[..., Instance], tmp_path: Path) -> None:
    logs = tmp_path / "full" / "data" / "logs"
    logs.mkdir(parents=True)
    for name in ("app.log", "error.log", "audit.log", "access.log"):
        (logs / name).symlink_to("/dev/full")
    one = instance(on=tmp_path / "full", logger={"access": True})
    assert one.request("PUT", "/v1/documents/orders/o1", {"n": 1}).status == 201
    assert one.request("POST", "/admin/workers/primary:restart").status == 200
    one.wait_until_drained()
    assert one.request("GET", "/v1/documents/orders/o1").status == 200


def test_an_alert_arrives_once_though_the_link_and_the_replayer_are_out(
    instance: Callable[..., Instance],
) -> None:
    secret = "hook-s3cret"
    with Receiver() as receiver:
        receiver.answers = [503] * 3
        one = instance(operations={"alerts": {"webhook": f"{receiver.url}/{secret}"}})
        os.kill(one.status()["workers"][0]["pid"], signal.SIGKILL)
        one.wait_until(lambda: bool(receiver.posts))
        assert receiver.posts[0].target == f"/{secret}"
        [replayer] = [each for each in one.status()["processes"] if each["name"] == "replayer"]
        os.kill(replayer["pid"], signal.SIGKILL)

        def arrived() -> list[str]:
            return [post.json["subject"] for post in receiver.posts[3:] if post.json["event"] == "raised"]

        one.wait_until(lambda: {"primary", "replayer"} <= set(arrived()))
        assert sorted(arrived()) == ["primary", "replayer"]
        assert len({post.json["id"] for post in receiver.posts if post.json["event"] == "raised"}) == 2
        assert {alert["name"] for alert in one.status()["alerts"]} >= {"process-down"}
        tested = deora(one, "alerts", "test")
        assert (tested.returncode, secret in tested.stdout) == (0, False)
        assert receiver.posts[-1].json["event"] == "test"
    failed = deora(one, "alerts", "test")
    assert failed.returncode == 1
    assert "Connection refused" in failed.stdout
    one.terminate()
    shown = failed.stdout + one.printed() + "".join(path.read_text() for path in (one.data / "logs").iterdir())
    assert secret not in shown
