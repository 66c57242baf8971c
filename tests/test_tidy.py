"""The house rules as tests. Each rule is a function from sources to complaints, and is itself shown to be able to fail.

What ruff, mypy and import-linter can see is theirs; here is the rest. The list of pure modules (★) is the `pure`
contract in pyproject.toml, so that import-linter and this page speak of the same modules.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES = 60
MODULE_LINES = 400

# What a pure module may import beside pure modules. None of these reads a clock, the environment,
# a file, a socket or a source of randomness when it is called.
# fmt: off
PURE_IMPORTS = frozenset({
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib",
    "copy", "dataclasses", "datetime", "decimal", "email.utils.parsedate_to_datetime", "enum", "fractions", "functools",
    "graphlib", "hashlib", "heapq", "hmac", "http.HTTPStatus", "httptools", "ipaddress", "itertools", "json", "keyword",
    "math", "msgpack", "numbers", "operator", "orjson", "re", "reprlib", "statistics", "string", "struct", "textwrap",
    "types", "typing", "unicodedata", "urllib.parse", "zlib",
})
# fmt: on
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"})
IMPURE_METHODS = frozenset({"now", "utcnow", "today"})  # datetime's three ways to read the clock
FORBIDDEN_IMPORTS = frozenset({"multiprocessing", "pickle", "cPickle", "_pickle"})
EMPTY_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "misc"})
OPEN_WORK = re.compile(r"\b(?:FIXME|XXX|TODO(?!\([a-z][\w.-]*\)))\b")
MACHINE_PATHS = re.compile(r"(?<![\w.~$}])/(?:root|home|work)/")
# Who may read the wall clock, and what for. A venue's box may have it wrong by years and put it right at any moment, so
# nothing is ordered, retried, expired or timed by it; whoever is added here says why that still holds.
WALL_CLOCK = {
    "deora/cli/checkup.py": "looks whether the clock can be right",
    "deora/cli/soundings.py": "compares the clock with an upstream's",
    "deora/backup/main.py": "names scheduled backups, and tells how old the last one is",
    "deora/cli/queue_transfer.py": "labels an exported file",
    "deora/clock.py": "defines it",
    "deora/observe/lines.py": "the time of a line, as the standard library stamped it",
    "deora/store/adoption.py": "labels documents; an age by it is bounded on both sides",
    "deora/store/commits.py": "labels documents and entries, and is the value of $serverTimestamp",
    "deora/store/housekeeping.py": "compares labels, once the clock has gone evenly for long enough",
    "deora/store/imports.py": "labels documents",
    "deora/store/main.py": "names the folder of a damaged store",
    "deora/store/restored.py": "labels documents",
    "deora/store/settlements.py": "labels documents",
    "deora/supervisor/snapshot.py": "shows the time in /health",
    "deora/upstream/firestore/credentials.py": "Google judges tokens by it; here they expire by the monotonic one",
    "deora/upstream/firestore/rest.py": "says by how much it differs from Google's, where Google refuses",
    "deora/upstream/sqlite.py": "labels rows",
    "deora/worker/main.py": "shows the age of copies of an earlier boot, and of documents",
}
CLOCK_READERS = {"time", "time_ns", "ctime", "asctime", "localtime", "gmtime", "strftime"}  # of the module time
CODE = (".py", ".sql", ".sh", ".toml", ".service", ".socket", "Makefile", ".ci/run", "Dockerfile")


class Source(NamedTuple):
    """A file of the project: its path from the root, with slashes, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The syntax tree of a Python file."""
        return _parse(self.text, self.path)

    @property
    def module(self) -> str:
        """The dotted name of a Python file: `deora.outbox` for `deora/outbox/__init__.py`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def _parse(text: str, path: str) -> ast.Module:
    return ast.parse(text, path)


def _project_paths() -> list[str]:
    """What git tracks or would track; without git (an unpacked archive) everything outside of hidden folders."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=False,
        capture_output=True,
    )
    paths = listing.stdout.decode().split("\0") if listing.returncode == 0 else []
    if not any(paths):
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        paths = [str(path) for path in found if not any(part[0] == "." or part == "build" for part in path.parts)]
    return sorted(path for path in paths if path and (ROOT / path).is_file())


@cache
def sources() -> list[Source]:
    """Every text file of the project; what is not UTF-8 text (a picture) is left out."""
    texts = []
    for path in _project_paths():
        try:
            texts.append(Source(path, (ROOT / path).read_text("utf-8")))
        except UnicodeDecodeError:
            continue
    return texts


@cache
def pyproject() -> dict[str, Any]:
    """The project's pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pure_patterns() -> list[str]:
    """The pure modules as import-linter is told them; `.**` stands for every module below."""
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    (modules,) = (contract["source_modules"] for contract in contracts if contract["id"] == "pure")
    return list(modules)


def is_pure(module: str) -> bool:
    """Whether the module is one of the pure ones (★)."""
    return any(fnmatch(module, pattern.replace("**", "*")) for pattern in pure_patterns())


def _imports(source: Source, nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str, str]]:
    """Each import as line, module and imported name (empty for `import module`); relative ones made absolute."""
    package = source.module.split(".")
    if not source.path.endswith("/__init__.py"):
        package = package[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def _walk_at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING:`, which name types only."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield from _walk_at_run_time(child)


# --- the rules ---------------------------------------------------------------------------------------------------


def long_functions(source: Source) -> Iterator[str]:
    """No function over 60 lines, decorators not counted."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES}"


def long_modules(source: Source) -> Iterator[str]:
    """No module over 400 lines; a test module, which mirrors one, may be longer."""
    lines = len(source.text.splitlines())
    if lines > MODULE_LINES and not source.path.startswith("tests/"):
        yield f"{source.path}: {lines} lines, at most {MODULE_LINES}"


def impure_modules(source: Source) -> Iterator[str]:
    """A pure module imports only what is known to be pure, and calls nothing that reads the world."""
    if not is_pure(source.module):
        return
    for line, module, name in _imports(source, _walk_at_run_time(source.tree)):
        full = f"{module}.{name}"
        if not {module, full} & PURE_IMPORTS and not is_pure(module) and not is_pure(full):
            yield f"{source.path}:{line}: a pure module imports {module}"
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield f"{source.path}:{node.lineno}: a pure module calls {node.func.id}()"
        if isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_METHODS:
            yield f"{source.path}:{node.lineno}: a pure module calls .{node.func.attr}(); time is an argument there"


def wall_clock_readers(source: Source) -> Iterator[str]:
    """Only the modules of WALL_CLOCK read the wall clock."""
    if not source.path.startswith("deora/") or source.path in WALL_CLOCK:
        return
    found: list[tuple[int, str]] = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [(node.lineno, alias.name) for alias in node.names if alias.name in CLOCK_READERS]
        elif isinstance(node, ast.Attribute):
            of_time = isinstance(node.value, ast.Name) and node.value.id == "time"
            found += [(node.lineno, node.attr)] if node.attr in (CLOCK_READERS if of_time else IMPURE_METHODS) else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "wall_us":
            found.append((node.lineno, "wall_us"))
    for line, name in found:
        yield f"{source.path}:{line}: {name} reads the wall clock; durations and order have others"


def forbidden_imports(source: Source) -> Iterator[str]:
    """No multiprocessing (the zygote forks) and no pickle (it runs code from data)."""
    for line, module, _ in _imports(source, ast.walk(source.tree)):
        if module.split(".")[0] in FORBIDDEN_IMPORTS:
            yield f"{source.path}:{line}: imports {module}"


def missing_docstrings(source: Source) -> Iterator[str]:
    """Every module says what it is."""
    if not (ast.get_docstring(source.tree) or "").strip():
        yield f"{source.path}: the module has no docstring"


def empty_names(source: Source) -> Iterator[str]:
    """A module or package is named after its concern."""
    for part in source.module.split("."):
        if part in EMPTY_NAMES:
            yield f"{source.path}: {part} names no concern"


def unmirrored_tests(source: Source) -> Iterator[str]:
    """tests/unit/x/test_y.py tests deora/x/y.py, or the package deora/x/y."""
    if not source.path.startswith("tests/unit/") or source.path.endswith("/conftest.py"):
        return
    folder, _, name = source.path.removeprefix("tests/unit/").removesuffix(".py").rpartition("/")
    target = ROOT / "deora" / folder / name.removeprefix("test_")
    if not name.startswith("test_") or not (target.with_suffix(".py").is_file() or target.is_dir()):
        yield f"{source.path}: there is no {target.relative_to(ROOT)}.py that it tests"


def unowned_work(source: Source) -> Iterator[str]:
    """Open work has an owner: `TODO(name)`."""
    if source.path.endswith(CODE) and source.path != "tests/test_tidy.py":
        for number, line in enumerate(source.text.splitlines(), 1):
            if OPEN_WORK.search(line):
                yield f"{source.path}:{number}: open work without an owner: {line.strip()}"


def machine_paths(source: Source) -> Iterator[str]:
    """No file names a folder of the machine that it was written on."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if MACHINE_PATHS.search(line) and source.path != "tests/test_tidy.py":
            yield f"{source.path}:{number}: a machine's path: {line.strip()}"


def packages_in_tests(source: Source) -> Iterator[str]:
    """Neither tests nor packaging holds an __init__.py: test modules of one name live side by side, and a package
    called packaging would hide the library of that name."""
    if source.path.startswith(("tests/", "packaging/")) and source.path.endswith("/__init__.py"):
        yield f"{source.path}: no package here"


PYTHON_RULES: list[Callable[[Source], Iterator[str]]] = [
    long_functions,
    long_modules,
    impure_modules,
    wall_clock_readers,
    forbidden_imports,
    missing_docstrings,
    empty_names,
    unmirrored_tests,
    packages_in_tests,
]
TEXT_RULES: list[Callable[[Source], Iterator[str]]] = [unowned_work, machine_paths]


@pytest.mark.parametrize("rule", PYTHON_RULES)
def test_python_rule(rule: Callable[[Source], Iterator[str]]) -> None:
    """The rule holds in every Python file of the project."""
    files = [source for source in sources() if source.path.endswith(".py")]
    assert files
    complaints = [complaint for source in files for complaint in rule(source)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("rule", TEXT_RULES)
def test_text_rule(rule: Callable[[Source], Iterator[str]]) -> None:
    """The rule holds in every text file of the project."""
    complaints = [complaint for source in sources() for complaint in rule(source)]
    assert not complaints, "\n".join(complaints)


def test_pure_modules_may_be_imported_by_pure_modules() -> None:
    """The contract that lists the pure modules lets each of them be imported, and nothing else."""
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    (ignored,) = (contract["ignore_imports"] for contract in contracts if contract["id"] == "pure")
    assert sorted(line.removeprefix("deora.** -> ") for line in ignored) == sorted(pure_patterns())


# --- each rule can fail --------------------------------------------------------------------------------------------

PURE = "deora/documents/apply.py"
LONG_BODY = "\n".join(f"    x = {number}" for number in range(FUNCTION_LINES))

BAD: list[tuple[Callable[[Source], Iterator[str]], str, str]] = [
    (long_functions, "deora/x.py", f"def f():\n{LONG_BODY}\n"),
    (long_functions, "tests/x.py", f"class C:\n    async def f(self):\n{LONG_BODY.replace('    ', '        ')}\n"),
    (long_modules, "deora/x.py", "x = 1\n" * (MODULE_LINES + 1)),
    (impure_modules, PURE, "import time\n"),
    (impure_modules, PURE, "import os.path\n"),
    (impure_modules, PURE, "from random import random\n"),
    (impure_modules, PURE, "from urllib import request\n"),
    (impure_modules, PURE, "from http import client\n"),
    (impure_modules, PURE, "def f():\n    import socket\n"),
    (impure_modules, PURE, "from deora.clock import SystemClock\n"),
    (impure_modules, PURE, "from deora import clock\n"),
    (impure_modules, PURE, "from .. import clock\n"),
    (impure_modules, PURE, "from ..wire.link import Link\n"),
    (impure_modules, PURE, "def f(name):\n    return open(name)\n"),
    (impure_modules, PURE, "from datetime import datetime\nx = datetime.now()\n"),
    (impure_modules, "deora/wire/frames.py", "import asyncio\n"),
    (wall_clock_readers, "deora/x.py", "import time\nstarted = time.time()\n"),
    (wall_clock_readers, "deora/x.py", "import time\ndef f(now=time.time_ns):\n    return now()\n"),
    (wall_clock_readers, "deora/x.py", "from time import time\n"),
    (wall_clock_readers, "deora/x.py", "from datetime import UTC, datetime\nx = datetime.now(UTC)\n"),
    (wall_clock_readers, "deora/x.py", "def f(clock):\n    return clock.wall_us()\n"),
    (forbidden_imports, "deora/x.py", "from multiprocessing.connection import Client\n"),
    (forbidden_imports, "tests/x.py", "def f():\n    import pickle\n"),
    (missing_docstrings, "deora/x.py", "x = 1\n"),
    (missing_docstrings, "deora/x.py", '""" """\n'),
    (empty_names, "deora/utils.py", ""),
    (empty_names, "tests/helpers/http.py", ""),
    (empty_names, "deora/misc/__init__.py", ""),
    (unmirrored_tests, "tests/unit/test_nothing_of_this_name.py", ""),
    (unmirrored_tests, "tests/unit/errors.py", ""),
    (packages_in_tests, "tests/unit/__init__.py", ""),
    (packages_in_tests, "packaging/__init__.py", ""),
    (unowned_work, "deora/x.py", "x = 1  # TODO: later\n"),
    (unowned_work, "deora/x.sql", "-- FIXME\n"),
    (unowned_work, "Makefile", "# XXX\n"),
    (machine_paths, "README.md", "see /root/notes\n"),
    (machine_paths, "deora/x.py", 'DATA = "/home/somebody/data"\n'),
]

GOOD: list[tuple[Callable[[Source], Iterator[str]], str, str]] = [
    (long_functions, "deora/x.py", f"@cache\n@cache\ndef f():\n{LONG_BODY[:-11]}\n"),
    (long_modules, "deora/x.py", "x = 1\n" * MODULE_LINES),
    (long_modules, "tests/unit/test_errors.py", "x = 1\n" * (MODULE_LINES + 1)),
    (impure_modules, "deora/clock.py", "import time\n"),
    (impure_modules, PURE, "from urllib.parse import unquote\nfrom urllib import parse\nimport re\n"),
    (impure_modules, PURE, "from deora.errors import Problem\nfrom deora import errors\nfrom . import paths\n"),
    (impure_modules, PURE, "from deora.wire.frames import Frame\nfrom ..replay.policy import next_retry\n"),
    (impure_modules, PURE, "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from random import Random\n"),
    (wall_clock_readers, "deora/clock.py", "import time\nx = time.time_ns()\n"),
    (wall_clock_readers, "deora/x.py", "import time\nx = time.monotonic()\ntime.sleep(moment.wall_us)\n"),
    (wall_clock_readers, "tests/x.py", "import time\nx = time.time()\n"),
    (forbidden_imports, "deora/x.py", "import pickletools_of_ours\n"),
    (missing_docstrings, "deora/x.py", '"""What it is."""\n'),
    (empty_names, "deora/store/commits.py", ""),
    (unmirrored_tests, "tests/unit/test_errors.py", ""),
    (unmirrored_tests, "tests/unit/conftest.py", ""),
    (unmirrored_tests, "tests/process/test_kill.py", ""),
    (unowned_work, "deora/x.py", "x = 1  # TODO(anna): when the cache has three tiers\n"),
    (machine_paths, "deora/x.py", 'PATH = "/var/lib/deora"\nURL = "deora.example/home/page"\n'),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_rule_refuses(rule: Callable[[Source], Iterator[str]], path: str, text: str) -> None:
    """A rule that cannot fail guards nothing."""
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_rule_allows(rule: Callable[[Source], Iterator[str]], path: str, text: str) -> None:
    """A rule that complains of good code is soon switched off."""
    assert not list(rule(Source(path, text)))


def test_every_rule_is_shown_to_fail() -> None:
    """No rule without a snippet that it refuses."""
    assert {rule for rule, _, _ in BAD} == {*PYTHON_RULES, *TEXT_RULES}
