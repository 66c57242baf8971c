"""The template of the AWS load balancer, beside what DEORA does."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from bench.instance import PROJECT
from deora.config.schema import Config
from deora.gateway.limits import Limits

TEMPLATE = PROJECT / "packaging" / "aws" / "load-balancer.json"
HEARTBEAT_S = 15


def properties(name: str) -> Any:
    return json.loads(TEMPLATE.read_text(encoding="utf-8"))["Resources"][name]["Properties"]


def attributes(name: str, key: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in properties(name)[key]}


@pytest.mark.torture
def test_cfn_lint_has_no_complaint() -> None:
    program = shutil.which("cfn-lint")
    if program is None:
        pytest.skip("NOT CHECKED BY cfn-lint: it is not installed (pip install cfn-lint)")
    done = subprocess.run([program, str(TEMPLATE)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_health_and_stickiness() -> None:
    boxes = properties("Boxes")
    assert (boxes["HealthCheckPath"], boxes["Matcher"]) == ("/health/ready", {"HttpCode": "200"})
    assert attributes("Boxes", "TargetGroupAttributes")["stickiness.enabled"] == "true"


def test_a_connection_is_let_go_of_before_deora_closes_it() -> None:
    idle_s = int(attributes("Balancer", "LoadBalancerAttributes")["idle_timeout.timeout_seconds"])
    kept_s = Limits(body_bytes=1, head_bytes=1, target_bytes=1, head_timeout_s=1).idle_timeout_s
    # And neither a request that waits for upstream nor a silent stream is cut off.
    assert max(2 * Config().servers.request_timeout_s, HEARTBEAT_S) < idle_s < kept_s


def test_the_client_can_be_told() -> None:
    said = attributes("Balancer", "LoadBalancerAttributes")
    assert said["routing.http.xff_header_processing.mode"] == "append"
    assert said["routing.http.preserve_host_header.enabled"] == "true"
