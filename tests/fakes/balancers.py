"""Real nginx and HAProxy in front of boxes, with the very files of packaging/, changed only where a user edits them."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Final

import pytest

from bench.instance import PROJECT, Answer
from bench.processes import NotMeasuredError, Process, find_program, lasting_port, listens
from tests.fakes.certificate import write_certificate

KINDS: Final = ("nginx", "haproxy")
NGINX_FILE: Final = PROJECT / "packaging" / "nginx" / "deora.conf"
HAPROXY_FILE: Final = PROJECT / "packaging" / "haproxy" / "haproxy.cfg"
# What stands around deora.conf in a distribution's nginx.conf, as far as it matters here.
NGINX_CONF: Final = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/deora.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Balancer:
    """A running one: its ports for plain HTTP and for HTTPS, and the context that knows its certificate."""

    kind: str
    port: int
    tls_port: int
    context: ssl.SSLContext

    @property
    def url(self) -> str:
        """Where it takes plain HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        source: str = "127.0.0.1",
        tls: bool = False,
    ) -> Answer:
        """One request on a connection of its own, from the address `source`. `json` may be bytes."""
        connection: http.client.HTTPConnection
        if tls:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.tls_port, timeout=40, source_address=(source, 0), context=self.context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40, source_address=(source, 0))
        body = json if isinstance(json, bytes) or json is None else dumps(json).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, {**kind, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


def program(kind: str) -> str:
    """The path of nginx or haproxy; skips the test, loudly, where it is not installed."""
    try:
        return find_program(kind)
    except NotMeasuredError as missing:
        pytest.skip(f"NOT TESTED BEHIND {kind}: {missing}")


def edited(text: str, changes: Mapping[str, str]) -> str:
    """`text` with each of these parts, which stands in it once, changed."""
    for part, change in changes.items():
        assert text.count(part) == 1, f"{part!r} stands {text.count(part)} times in the file"
        text = text.replace(part, change)
    return text


def write_files(kind: str, directory: Path, boxes: Sequence[str], port: int, tls_port: int) -> list[str]:
    """Writes what it reads into `directory`, for these boxes (`127.0.0.1:3000`); returns the command that starts it."""
    cert, key = write_certificate(directory / "tls")
    if kind == "nginx":
        server = "    server 127.0.0.1:3000 max_fails=3 fail_timeout=5s;\n"
        changes = {
            server: "".join(server.replace("127.0.0.1:3000", box) for box in boxes),
            "listen 80;": f"listen 127.0.0.1:{port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{tls_port} ssl;",
            "/etc/nginx/deora/cert.pem": str(cert),
            "/etc/nginx/deora/key.pem": str(key),
        }
        (directory / "deora.conf").write_text(edited(NGINX_FILE.read_text(encoding="utf-8"), changes), encoding="utf-8")
        user = "user root;" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(NGINX_CONF.format(directory=directory, user=user), encoding="utf-8")
        return [program(kind), "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    pem = directory / "deora.pem"
    pem.write_bytes(cert.read_bytes() + key.read_bytes())
    server = "    server box1 127.0.0.1:3000 cookie box1\n"
    lines = (f"    server box{n} {box} cookie box{n}\n" for n, box in enumerate(boxes, 1))
    changes = {
        server: "".join(lines),
        "bind :80 ": f"bind 127.0.0.1:{port} ",
        "bind :443 ": f"bind 127.0.0.1:{tls_port} ",
        "/etc/haproxy/deora.pem": str(pem),
    }
    text = edited(HAPROXY_FILE.read_text(encoding="utf-8"), changes)
    if os.geteuid() != 0:
        # Only root can become the user that it names.
        text = edited(text, {"    user haproxy\n": "", "    group haproxy\n": ""})
    (directory / "haproxy.cfg").write_text(text, encoding="utf-8")
    return [program(kind), "-f", str(directory / "haproxy.cfg")]


@contextmanager
def balancer(kind: str, directory: Path, boxes: Sequence[str]) -> Iterator[Balancer]:
    """Runs nginx or HAProxy in front of these boxes, and ends it."""
    program(kind)
    directory.mkdir(parents=True)
    port, tls_port = lasting_port(), lasting_port()
    command = write_files(kind, directory, boxes, port, tls_port)
    context = ssl.create_default_context(cafile=str(directory / "tls" / "cert.pem"))
    with Process(kind, command, directory) as process:
        process.wait_until(lambda: listens(port) and listens(tls_port))
        yield Balancer(kind, port, tls_port, context)
    with suppress(FileNotFoundError):
        shutil.rmtree(directory / "tls")
