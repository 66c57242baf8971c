"""Prometheus' files and Grafana's dashboard: read by the tools that read them, and asking for what DEORA exports."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.instance import PROJECT, Instance
from bench.processes import NotMeasuredError, Process, answers, find_program, free_port
from deora.config.tokens import add_token
from tests.fakes.balancers import edited

PROMETHEUS = PROJECT / "packaging" / "prometheus"
DASHBOARD = PROJECT / "packaging" / "grafana" / "deora.json"
METRIC = re.compile(r"\bdeora_[a-z_]+")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, str]]:
    """An instance that has done something, and a token that may read its figures."""
    directory = tmp_path_factory.mktemp("box")
    (directory / "config").mkdir()
    writer = add_token(directory / "config", "till", "write")
    reader = add_token(directory / "config", "prometheus", "read")
    with Instance(directory) as one:
        one.wait_until_ready()
        headers = {"Authorization": f"Bearer {writer}"}
        assert one.request("PUT", "/v1/documents/menu/m1", {"n": 1}, headers).status == 201
        assert one.request("GET", "/v1/documents/menu/m1", headers=headers).status == 200
        yield one, reader


@pytest.fixture(scope="module")
def metrics(box: tuple[Instance, str]) -> str:
    """What /metrics says."""
    one, token = box
    answer = one.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200
    return answer.text


@pytest.fixture(scope="module")
def exported(metrics: str) -> set[str]:
    """Every name that a query may use: samples, and families that have none yet."""
    families = list(text_string_to_metric_families(metrics))
    declared = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE ")}
    return declared | {sample.name for family in families for sample in family.samples}


def promtool() -> str:
    try:
        return find_program("promtool")
    except NotMeasuredError:
        pytest.skip("NOT CHECKED BY promtool: it is not installed (Debian: apt-get install prometheus)")


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def expressions() -> list[str]:
    """What the panels ask for, as Grafana would send it."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [each.replace("$__rate_interval", "1m").replace("$instance", ".*") for each in found]


@pytest.mark.parametrize("file", [PROMETHEUS / "alerts.yml", PROMETHEUS / "alerts.test.yml", DASHBOARD])
def test_what_they_ask_for_is_exported(file: Path, exported: set[str]) -> None:
    asked = {*METRIC.findall(file.read_text(encoding="utf-8"))}
    assert len(asked) > 5
    assert not asked - exported


def test_promtool_reads_the_rules(tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts.test.yml"):
        shutil.copy(PROMETHEUS / name, tmp_path)
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run(
            [promtool(), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_reads_what_the_panels_ask_for(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions())]
    # JSON is YAML.
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        [promtool(), "check", "rules", str(tmp_path / "panels.yml")], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested() -> None:
    rules, tests = ((PROMETHEUS / name).read_text(encoding="utf-8") for name in ("alerts.yml", "alerts.test.yml"))
    alerts = set(re.findall(r"- alert: (\w+)", rules))
    assert alerts == set(re.findall(r"^ {8}alertname: (\w+)$", tests, re.MULTILINE))


def test_promtool_finds_no_fault_in_the_metrics(metrics: str) -> None:
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=metrics, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board = dashboard()
    assert isinstance(board["schemaVersion"], int)
    assert (board["uid"], board["title"], board.get("id")) == ("deora", "DEORA", None)
    variables = {variable["name"]: variable["type"] for variable in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
        # The data source is the reader's own.
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["expr"] and target["refId"] for target in panel["targets"])


def ask(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.mark.torture
def test_a_real_prometheus_scrapes_it_and_answers_each_panel(box: tuple[Instance, str], tmp_path: Path) -> None:
    try:
        program = find_program("prometheus")
    except NotMeasuredError as missing:
        pytest.skip(f"NOT TESTED WITH PROMETHEUS: {missing}")
    one, token = box
    (tmp_path / "deora.token").write_text(token)
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    changes = {
        "/etc/prometheus/deora.token": str(tmp_path / "deora.token"),
        "127.0.0.1:3000": urlsplit(one.url).netloc,
        "scrape_interval: 15s": "scrape_interval: 1s",
    }
    text = edited((PROMETHEUS / "scrape.yml").read_text(encoding="utf-8"), changes)
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    checked = subprocess.run(
        [promtool(), "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    command = [
        program,
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Process("prometheus", command, tmp_path) as running:
        running.wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"))

        def scraped() -> bool:
            found = ask(
                port, "/api/v1/query?query=" + quote('up{job="deora"} == 1 and on (instance) deora_uptime_seconds')
            )
            return bool(found["data"]["result"])

        running.wait_until(scraped)
        assert [group["name"] for group in ask(port, "/api/v1/rules")["data"]["groups"]] == ["deora"]
        for expression in expressions():
            answer = ask(port, "/api/v1/query?query=" + quote(expression))
            assert answer["status"] == "success", (expression, answer)
