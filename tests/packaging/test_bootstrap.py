"""The bootstrap against an index on loopback, whose pip is a small program that notes how it was called."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / "packaging" / "bootstrap.py"

# Called as `python WHEEL/pip install ...` it installs itself; called as `python -m pip install ...` it notes how.
STAND_IN = """
import pathlib, shutil, sys, sysconfig, zipfile
site = pathlib.Path(sysconfig.get_path("purelib"))
if "--no-index" in sys.argv:
    zipfile.ZipFile(sys.argv[-1]).extractall(site)
else:
    (site / "called").write_text(" ".join(sys.argv[1:]))
    sys.exit("fail" in sys.argv)
"""


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deora_bootstrap", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = _load()


def _stand_in_wheel() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr("pip/__init__.py", "")
        wheel.writestr("pip/__main__.py", STAND_IN)
    return content.getvalue()


class Index(ThreadingHTTPServer):
    """A package index with pip 1.5 and 20.1; `page` may be replaced, `seen` holds path and Authorization."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wheel = _stand_in_wheel()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: list[tuple[str, str | None]] = []
        self.content_type = "application/vnd.pypi.simple.v1+json"
        self.page = json.dumps({"files": [self.file("1.5"), self.file("20.1")]})

    def file(self, version: str, **changes: Any) -> dict[str, Any]:
        """The index's entry of one wheel."""
        name = f"pip-{version}-py3-none-any.whl"
        hashes = {"sha256": hashlib.sha256(self.wheel).hexdigest()}
        return {"filename": name, "url": f"../../files/{name}", "hashes": hashes, "yanked": False, **changes}


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Authorization"]))
        is_page = self.path == "/simple/pip/"
        content = self.server.page.encode() if is_page else self.server.wheel
        self.send_response(200 if is_page or self.path.startswith("/files/") else 404)
        self.send_header("Content-Type", self.server.content_type if is_page else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name that the base class gave it)
        """Silent."""


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def environ(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which pip's settings name the index on loopback and nothing else."""
    for name in [name for name in os.environ if name.upper().startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple/")


def _called(folder: Path) -> str:
    (note,) = folder.glob("lib/python*/site-packages/called")
    return note.read_text()


@pytest.mark.usefixtures("environ")
def test_makes_an_environment_and_installs(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    assert bootstrap.bootstrap(folder, ["--editable", "."]) == 0
    assert _called(folder) == "install --disable-pip-version-check --editable ."
    assert [path for path, _ in index.seen] == ["/simple/pip/", "/files/pip-20.1-py3-none-any.whl"]

    index.seen.clear()
    assert bootstrap.bootstrap(folder, ["another"]) == 0
    assert _called(folder).endswith("another")
    assert not index.seen, "an environment that has pip is kept"


@pytest.mark.usefixtures("environ")
def test_an_environment_without_a_working_python_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/nonexistent/python3")
    assert bootstrap.bootstrap(folder, ["x"]) == 0
    assert (folder / "bin" / "python").exists()


@pytest.mark.usefixtures("environ")
def test_pips_failure_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", str(tmp_path / "venv"), "fail"])
    assert bootstrap.main() == 1
    assert "PIP_FLAGS=" in capfd.readouterr().err


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("hashes", [{"sha256": "0" * 64}, {}])
def test_a_wheel_of_another_hash_is_not_run(index: Index, tmp_path: Path, hashes: dict[str, str]) -> None:
    index.page = json.dumps({"files": [index.file("20.1", hashes=hashes)]})
    with pytest.raises(bootstrap.BootstrapError, match="has the SHA-256"):
        bootstrap.bootstrap(tmp_path / "venv", ["x"])
    assert not list((tmp_path / "venv").glob("lib/python*/site-packages/*"))


@pytest.mark.usefixtures("environ")
def test_an_html_index(index: Index, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(index.wheel).hexdigest()
    index.content_type = "text/html"
    index.page = f"""<!DOCTYPE html><html><body>
        <a href="../../files/pip-20.1-py3-none-any.whl#sha256={sha256}" data-requires-python="&gt;=3.9">pip</a>
        <a href="../../files/pip-20.2-py3-none-any.whl#sha256={sha256}" data-requires-python="&gt;=9.9">pip</a>
        <a href="../../files/pip-20.3-py3-none-any.whl#sha256={sha256}" data-yanked="broken">pip</a>
        <a href="../../files/pip-20.4.tar.gz#sha256={sha256}">pip</a><a name="nothing">pip</a></body></html>"""
    assert bootstrap.bootstrap(tmp_path / "venv", ["x"]) == 0
    assert index.seen[-1][0] == "/files/pip-20.1-py3-none-any.whl"


@pytest.mark.usefixtures("environ")
def test_credentials_go_to_the_index_only(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url.replace('//', '//anna:s%40lt@')}/simple")
    # the same server under another name
    elsewhere = f"{index.url.replace('127.0.0.1', '127.1')}/files/pip-20.1-py3-none-any.whl"
    index.page = json.dumps({"files": [index.file("20.1", url=elsewhere)]})
    assert bootstrap.bootstrap(tmp_path / "venv", ["x"]) == 0
    expected = "Basic " + base64.b64encode(b"anna:s@lt").decode()
    assert [authorization for _, authorization in index.seen] == [expected, None]


@pytest.mark.usefixtures("environ")
def test_no_way_to_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", str(tmp_path / "venv"), "x"])
    assert bootstrap.main() == 1
    assert "http://127.0.0.1:1/simple/pip/ cannot be fetched: " in capsys.readouterr().err


def test_settings_follow_pips_order(tmp_path: Path) -> None:
    for place, text in {
        "etc/xdg/pip/pip.conf": "[global]\ntimeout = 0\ncert = a\n",
        "etc/pip.conf": "[global]\nindex-url = a\nproxy = a\ntimeout = 1\n",
        "home/.config/pip/pip.conf": "[global]\nindex_url = b\nproxy = b\ntimeout = 2\n",
        "prefix/pip.conf": "[global]\nindex-url = c\n[install]\nproxy = c\n",
        "named.conf": "[global]\nproxy = d\ncert = d\n",
    }.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environ = {"HOME": str(tmp_path / "home"), "PIP_INDEX_URL": "e", "PIP_DEFAULT_TIMEOUT": ""}

    def settings(**changes: str) -> dict[str, str]:
        found = bootstrap.pip_settings({**environ, **changes}, str(tmp_path / "prefix"), str(tmp_path / "etc"))
        assert isinstance(found, dict)
        return found

    assert settings() == {"index-url": "e", "timeout": "2", "cert": "a", "proxy": "c"}
    named = settings(PIP_CONFIG_FILE=str(tmp_path / "named.conf"))
    assert (named["cert"], named["timeout"]) == ("d", "1"), "a named file counts most, and the user's is not read"
    assert named["proxy"] == "c", "a command's own section counts more than [global]"
    assert settings(PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL="") == {"config-file": os.devnull}


@pytest.mark.parametrize(
    ("specifier", "fits"),
    [
        ("", True),
        (">=3.9", True),
        (">=3.11.4", True),
        (">=3.12", False),
        (">3.11.4", False),
        ("<=3.11.4", True),
        ("<4", True),
        ("<3.11", False),
        (">=2.6,!=3.0.*, !=3.1.*", True),
        (">=2.6, !=3.11.*", False),
        ("!=3.11.4", False),
        ("==3.11.*", True),
        ("==3.11", False),
        ("~=3.11", False),
    ],
)
def test_requires_python(specifier: str, fits: bool) -> None:
    assert bootstrap.allows(specifier, (3, 11, 4)) is fits
