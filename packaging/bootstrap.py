"""Makes a virtual environment and installs into it, with nothing but the standard library at hand.

    python3 packaging/bootstrap.py .venv ARGUMENT...       (the arguments of `pip install`)

Debian's python3 comes without ensurepip (it is in python3-venv), so the environment is made without pip and pip's
newest wheel is fetched from the package index by the simple API (PEP 503, PEP 691). Its SHA-256 must be the one that
the index gives. The same way is taken everywhere, so there is one way to test. An environment that has pip is kept.

What pip itself would honour is honoured here: `index-url`, `cert`, `proxy`, `timeout` and `trusted-host`, from pip.conf
(global, user, site, PIP_CONFIG_FILE) and from the environment (PIP_INDEX_URL, ...).
"""

from __future__ import annotations

import base64
import configparser
import fcntl
import hashlib
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

DEFAULT_INDEX = "https://pypi.org/simple"
DEFAULT_TIMEOUT_S = 15.0  # pip's own
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
WHEEL_NAME = re.compile(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl")  # no pre-release matches


class BootstrapError(Exception):
    """The environment cannot be made; the message says why and what to do."""


class Wheel(NamedTuple):
    """One wheel of pip as the index names it; `requires_python` is a version specifier or empty."""

    name: str
    url: str
    sha256: str
    requires_python: str
    yanked: bool


def pip_settings(environ: Mapping[str, str], prefix: str, etc: str = "/etc") -> dict[str, str]:
    """pip's settings by their long names (`index-url`): the environment over the files, a later file over an earlier.

    Order and places of the files: "Configuration" in pip's documentation. `prefix` is the environment's folder.
    """
    home = environ.get("HOME", "/nonexistent")
    named = environ.get("PIP_CONFIG_FILE", "")
    places = [f"{folder}/pip/pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", f"{etc}/xdg").split(":")]
    places.append(f"{etc}/pip.conf")
    if not os.path.exists(named):  # as pip has it
        places.append(f"{home}/.pip/pip.conf")
        places.append(f"{environ.get('XDG_CONFIG_HOME', f'{home}/.config')}/pip/pip.conf")
    places += [f"{prefix}/pip.conf", named]
    if named == os.devnull:
        places = []
    files = configparser.RawConfigParser()
    try:
        files.read(places, encoding="utf-8")
    except configparser.Error as error:
        raise BootstrapError(f"a pip.conf cannot be read: {error}") from error
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if files.has_section(section):
            settings |= {key.replace("_", "-"): value for key, value in files.items(section)}
    settings |= {
        key.removeprefix("PIP_").replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("PIP_") and value
    }
    return settings


class Index:
    """Fetches from the package index, as pip's settings say."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        parts = urllib.parse.urlsplit(settings.get("index-url", DEFAULT_INDEX).strip().rstrip("/"))
        user, at, self.host = parts.netloc.rpartition("@")
        self.url = urllib.parse.urlunsplit(parts._replace(netloc=self.host))
        self._credentials = base64.b64encode(urllib.parse.unquote(user).encode()).decode() if at else None
        self._timeout_s = float(settings.get("timeout", settings.get("default-timeout", DEFAULT_TIMEOUT_S)))
        cert = settings.get("cert")
        is_folder = cert is not None and os.path.isdir(cert)
        try:
            context = ssl.create_default_context(cafile=None if is_folder else cert, capath=cert if is_folder else None)
        except OSError as error:
            raise BootstrapError(f"the certificates in {cert!r} cannot be read: {error}") from error
        if {self.host, parts.hostname} & set(settings.get("trusted-host", "").split()):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
        if "proxy" in settings:
            handlers.append(urllib.request.ProxyHandler(dict.fromkeys(("http", "https"), settings["proxy"])))
        self._opener = urllib.request.build_opener(*handlers)

    def fetch(self, url: str) -> tuple[bytes, str, str]:
        """The content at `url`, its content type and the address that it was found at in the end.

        The index's credentials go to the index's own host only, and not along a redirection.
        """
        request = urllib.request.Request(url, headers={"Accept": ACCEPT, "User-Agent": "deora-bootstrap"})
        if self._credentials and urllib.parse.urlsplit(url).netloc == self.host:
            request.add_unredirected_header("Authorization", f"Basic {self._credentials}")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return answer.read(), answer.headers.get_content_type(), answer.url
        except (OSError, ValueError, http.client.HTTPException) as error:  # a ValueError: this is no URL
            reason = getattr(error, "reason", None) or error
            raise BootstrapError(
                f"{url} cannot be fetched: {reason}\n"
                "Needed once: a way to the package index. Behind a proxy set HTTPS_PROXY; for an index of your own set "
                "PIP_INDEX_URL (and PIP_CERT); or put pip into .venv yourself and run this again."
            ) from error


class _Links(HTMLParser):
    """Collects the wheels of pip from an index page in HTML (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An anchor is a file: its name ends the path, its hash is the fragment."""
        given = dict(attrs)
        url, _, fragment = (given.get("href") or "").partition("#")
        if tag == "a" and url:
            self.files.append(
                {
                    "filename": urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2]),
                    "url": url,
                    "hashes": dict([fragment.split("=", 1)]) if "=" in fragment else {},
                    "requires-python": given.get("data-requires-python"),
                    "yanked": "data-yanked" in given,
                }
            )


def read_page(content: bytes, content_type: str, base_url: str) -> list[Wheel]:
    """The wheels of pip that an index page names, whether in JSON (PEP 691) or in HTML (PEP 503)."""
    if content_type.endswith("json"):
        files = json.loads(content)["files"]
    else:
        links = _Links()
        links.feed(content.decode("utf-8", "replace"))
        files = links.files
    return [
        Wheel(
            name=file["filename"],
            url=urllib.parse.urljoin(base_url, file["url"]),
            sha256=file.get("hashes", {}).get("sha256", ""),
            requires_python=file.get("requires-python") or "",
            yanked=bool(file.get("yanked")),
        )
        for file in files
        if WHEEL_NAME.fullmatch(file["filename"])
    ]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def allows(specifier: str, python: tuple[int, ...]) -> bool:
    """Whether this Python fits a `Requires-Python` such as `>=3.9, !=3.10.*`; what is not understood does not fit."""
    for clause in filter(None, specifier.replace(" ", "").split(",")):
        match = re.fullmatch(r"(>=|<=|!=|==|>|<)(\d+(?:\.\d+)*)(\.\*)?", clause)
        if match is None:
            return False
        operator, bound = match[1], _numbers(match[2])
        width = len(bound) if match[3] else max(len(bound), len(python))
        left = (python + (0,) * width)[:width]
        right = bound + (0,) * (width - len(bound))
        fits = {
            ">=": left >= right,
            "<=": left <= right,
            "!=": left != right,
            "==": left == right,
            ">": left > right,
            "<": left < right,
        }
        if not fits[operator]:
            return False
    return True


def newest(wheels: list[Wheel], python: tuple[int, ...]) -> Wheel:
    """The newest final, not yanked wheel that runs on this Python."""
    usable = [wheel for wheel in wheels if not wheel.yanked and allows(wheel.requires_python, python)]
    if not usable:
        raise BootstrapError(f"the package index has no pip for Python {'.'.join(map(str, python))}")
    return max(usable, key=lambda wheel: _numbers(wheel.name.split("-")[1]))


def fetch_pip(index: Index, folder: Path) -> Path:
    """Fetches pip's newest wheel into `folder`, checks its SHA-256 and gives its path."""
    wheel = newest(read_page(*index.fetch(f"{index.url}/pip/")), sys.version_info[:3])
    print(f"fetching {wheel.name} from {index.host}", flush=True)
    content = index.fetch(wheel.url)[0]
    found = hashlib.sha256(content).hexdigest()
    if found != wheel.sha256:
        raise BootstrapError(f"{wheel.name} has the SHA-256 {found}, but the index names {wheel.sha256 or 'none'}")
    path = folder / wheel.name
    path.write_bytes(content)
    return path


def _works(python: Path, code: str) -> bool:
    try:
        return subprocess.run([python, "-c", code], check=False, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other bootstrap is at work in the folder, and keeps others out."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def bootstrap(folder: Path, arguments: list[str]) -> int:
    """Makes the environment where it is missing, pip in it where that is missing, and runs `pip install arguments`.

    Returns pip's exit code. A second one at the same time waits for the first.
    """
    python = folder.absolute() / "bin" / "python"
    with _alone_in(folder):
        if not _works(python, "import sys; sys.exit(sys.version_info < (3, 11))"):
            print(f"making {folder}", flush=True)
            venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(folder)
        if not _works(python, "import pip"):
            index = Index(pip_settings(os.environ, str(folder)))
            with tempfile.TemporaryDirectory() as temporary:
                wheel = fetch_pip(index, Path(temporary))
                subprocess.run([python, wheel / "pip", "install", "--quiet", "--no-index", wheel], check=True)
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
        return subprocess.run(command, check=False).returncode


def main() -> int:
    """The command line; returns the exit code."""
    if len(sys.argv) < 3:
        print(f"usage: {sys.argv[0]} FOLDER ARGUMENT...", file=sys.stderr)
        return 2
    try:
        code = bootstrap(Path(sys.argv[1]), sys.argv[2:])
    except (BootstrapError, OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    if code:
        print(
            "bootstrap: pip could not install all. Where it found no wheel for this machine, a C compiler and "
            "`make PIP_FLAGS= ...` let it compile.",
            file=sys.stderr,
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
