"""Loading: sources and their strength, every fault in one go, no secret in any of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deora.config.load import check_listen_address, load
from deora.config.named import NAMED
from deora.config.schema import Config
from deora.errors import ConfigError

CANARY = "canary7f3a"
HASH = "sha256:" + "0" * 64


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the files of a configuration directory: values as JSON, texts and bytes as they are."""

    def writer(**files: Any) -> Path:
        for name, value in files.items():
            content = value if isinstance(value, str | bytes) else json.dumps(value)
            (tmp_path / f"{name}.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return writer


def problems_of(directory: Path | None, environ: dict[str, str] | None = None, dotenv: Path | None = None) -> list[str]:
    """The faults of a load that must fail, with the directory's name taken out."""
    with pytest.raises(ConfigError) as caught:
        load(directory, environ=environ or {}, dotenv=dotenv)
    assert CANARY not in str(caught.value)
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


def test_without_any_source_the_defaults(tmp_path: Path) -> None:
    assert load(None, environ={}, dotenv=None) == Config()
    assert load(tmp_path, environ={}, dotenv=tmp_path / ".env") == Config()


def test_each_source_is_stronger_than_the_one_before(write: Callable[..., Path]) -> None:
    directory = write(servers={"port": 1}, queue={"max_entries": 5})
    dotenv = directory / ".env"
    environ: dict[str, str] = {}

    def port() -> int:
        config = load(directory, environ=environ, dotenv=dotenv)
        assert config.queue.max_entries == 5
        return config.servers.port

    ports = [port()]
    dotenv.write_text("PORT=2\n")
    ports.append(port())
    dotenv.write_text("DEORA_SERVERS__PORT=3\nPORT=2\n")
    ports.append(port())
    environ["PORT"] = "4"
    ports.append(port())
    environ["DEORA_SERVERS__PORT"] = "5"
    ports.append(port())
    assert ports == [1, 2, 3, 4, 5]


def test_a_whole_object_comes_before_what_is_inside_it() -> None:
    environ = {
        "DEORA_SERVERS__PRIMARY__WORKERS": "3",
        "DEORA_servers__PRIMARY": '{"workers": 2, "weight": 50}',
    }
    primary = load(None, environ=environ, dotenv=None).servers.primary
    assert (primary.workers, primary.weight, primary.id) == (3, 50, "A")


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("SOMETHING=else\nDEORA_CONFIG_DIR=x\n")
    environ = {"PATH": "/bin", "DEORA_DATA": "x", "DEORA_SERVERS_PORT": "abc", "port": "abc", "X__Y": "1"}
    assert load(None, environ=environ, dotenv=dotenv) == Config()


def test_secondary_from_the_environment_alone() -> None:
    environ = {"DEORA_DATABASE__SECONDARY__TYPE": "sqlite", "DEORA_DATABASE__SECONDARY__FILE": "/mnt/b.db"}
    assert (
        load(None, environ=environ, dotenv=None).database.secondary
        == Config.from_wire({"database": {"secondary": {"type": "sqlite", "file": "/mnt/b.db"}}}).database.secondary
    )


def test_the_emulator_alone_switches_nothing() -> None:
    environ = {"FIRESTORE_EMULATOR_HOST": "localhost:8080", "GOOGLE_APPLICATION_CREDENTIALS": "/k.json"}
    assert load(None, environ=environ, dotenv=None) == Config()


FILE_FAULTS: list[tuple[str, str | bytes, str]] = [
    ("servers", "", "servers.json: servers: not valid JSON, line 1 column 1: Expecting value"),
    ("servers", '{\n  "port" 3000\n}', "servers.json: servers: not valid JSON, line 2 column 10: "),
    ("servers", "[]", "servers.json: servers: found a list; allowed is an object with the keys id, host, port"),
    ("servers", "null", "servers.json: servers: found null; allowed is an object"),
    ("servers", '{"port": 1, "port": 2}', 'servers.json: servers: the key "port" stands twice in one object'),
    ("servers", '{"request_timeout_s": NaN}', "servers.json: servers: not valid JSON: NaN is no JSON number"),
    ("servers", b'{"host": "\xff"}', "servers.json: servers: is not UTF-8: byte 11"),
    (
        "servers",
        '{"port": 70000}',
        "servers.json: servers.port: found 70000; allowed is a whole number from 0",
    ),
    ("servers", '{"prot": 1}', 'servers.json: servers.prot: unknown key; did you mean "port"?; the keys here are'),
    ("server", "{}", 'server.json: no file of this name is read; did you mean "servers.json"?'),
    ("Database", "{}", 'Database.json: no file of this name is read; did you mean "database.json"?'),
    ("load_balancer", "{}", 'load_balancer.json: no file of this name is read; did you mean "loadbalancer.json"?'),
]


@pytest.mark.parametrize(("name", "content", "problem"), FILE_FAULTS)
def test_file_fault(write: Callable[..., Path], name: str, content: str | bytes, problem: str) -> None:
    problems = problems_of(write(**{name: content}))
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_a_byte_order_mark_is_no_fault(write: Callable[..., Path]) -> None:
    directory = write(servers=b'\xef\xbb\xbf{"port": 5}')
    assert load(directory, environ={}, dotenv=None).servers.port == 5


def test_other_files_may_lie_there(write: Callable[..., Path]) -> None:
    directory = write(key={"private_key": "x"}, package="not json")
    (directory / "servers.json.bak").write_text("x")
    assert load(directory, environ={}, dotenv=None) == Config()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "queue.json").mkdir()
    (tmp_path / "cache.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".env").mkdir()
    assert problems_of(tmp_path, dotenv=tmp_path / ".env") == [
        "cache.json: cache: cannot be read: No such file or directory",
        "queue.json: queue: cannot be read: Is a directory",
        ".env: cannot be read: Is a directory",
    ]
    assert problems_of(tmp_path / "missing") == [
        f"{tmp_path / 'missing'}: the configuration directory cannot be read: No such file or directory"
    ]


def test_dotenv_faults_name_the_line(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        f"# comment\nPORT=abc\nDEORA_SERVERS__PROT=1\n{CANARY}\nREDIS_PASSWORD='{CANARY}\nDEORA_QUEUE__ON_DEAD=stop\n"
    )
    assert [problem.replace(f"{tmp_path}/", "") for problem in problems_of(None, dotenv=dotenv)] == [
        ".env line 4: found a line that is no setting; allowed are NAME=value and # comments",
        ".env line 5: REDIS_PASSWORD: a value that begins with ' must end with ' on the same line",
        '.env line 3 (DEORA_SERVERS__PROT): there is no such key; did you mean "DEORA_SERVERS__PORT"?',
        '.env line 2 (PORT): servers.port: found "abc"; allowed is a whole number from 0 to 65535',
        '.env line 6 (DEORA_QUEUE__ON_DEAD): queue.on_dead: found "stop"; allowed is one of "continue", "hold"',
    ]


def test_the_last_of_two_lines_counts(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=1\nPORT=2\n")
    assert load(None, environ={}, dotenv=dotenv).servers.port == 2


def test_all_faults_in_one_go(write: Callable[..., Path]) -> None:
    directory = write(
        servers={"port": "x", "secondary": {"id": "A"}, "host": "0.0.0.0", "prot": 1},
        loadbalancer={"mode": "random"},
        database={"primary": {"type": "postgres", "pool": {"min": 5, "max": 4}}},
        cache='{"memory" 1}',
        security={"tokens": [], "tls": {"cert": "a.pem"}},
        queues={},
    )
    (directory / ".env").write_text("LOG_LEVEL=loud\n")
    problems = problems_of(
        directory, {"DEORA_QUEUE__PRIORITIES__orders": "11", "DEORA_LOGER__LEVEL": "x"}, directory / ".env"
    )
    starts = [
        "cache.json: cache: not valid JSON, line 1 column 11: Expecting ':' delimiter",
        'queues.json: no file of this name is read; did you mean "queue.json"?',
        'DEORA_LOGER__LEVEL (environment): there is no such key; did you mean "DEORA_LOGGER__LEVEL"?',
        'servers.json: servers.prot: unknown key; did you mean "port"?',
        'servers.json: servers.port: found "x"; allowed',
        'loadbalancer.json: loadbalancer.mode: found "random"; allowed',
        "database.json: database.primary.url: missing; it must be a postgresql://",
        "DEORA_QUEUE__PRIORITIES__orders (environment): queue.priorities.orders: found 11; allowed",
        '.env line 1 (LOG_LEVEL): logger.level: found "loud"; allowed',
        'servers.json: servers.primary.id and servers.secondary.id: both are "A"',
        'servers.json, security.json: servers.host and security.tokens: "0.0.0.0" can be reached',
        "database.json: database.primary.pool.min and database.primary.pool.max: min is 5, max is 4",
        "security.json: security.tls.cert and security.tls.key: cert is set and key is not",
    ]
    assert len(problems) == len(starts)
    assert all(problem.startswith(start) for problem, start in zip(problems, starts, strict=True)), problems


def test_a_check_is_left_out_where_its_keys_are_wrong_by_themselves(write: Callable[..., Path]) -> None:
    host = {"host": "0.0.0.0"}
    assert len(problems_of(write(servers=host, security={"tokens": [{"name": "a"}]}))) == 2
    assert len(problems_of(write(servers=host, security="{"))) == 1
    assert len(problems_of(write(servers={"primary": {"id": "a b"}, "secondary": {"id": "A"}}, security={}))) == 1


def test_loopback_rule(write: Callable[..., Path]) -> None:
    directory = write(servers={"host": "192.168.1.5"})
    problem = problems_of(directory)[0]
    assert "so anyone on the network could read and write everything" in problem
    assert "deora token add NAME --scope write" in problem
    token = json.dumps([{"name": "till", "hash": HASH, "scope": "write"}])
    config = load(directory, environ={"DEORA_SECURITY__TOKENS": token}, dotenv=None)
    assert check_listen_address(config, "0.0.0.0") is None


SECRETS: list[dict[str, str]] = [
    {"DATABASE_URL": f"postgresql://u:{CANARY}@h:port/n"},
    {"DATABASE_URL": f"mysql://u:{CANARY}@h/n"},
    {"DATABASE_URL": f"u:{CANARY}@h/n"},
    {"DATABASE_URL": f"postgresql://u:{CANARY}@h/n", "DB_POOL_MIN": "50"},
    {"DATABASE_URL": f"postgresql://u:{CANARY}@h/n", "DEORA_DATABASE__SECONDARY__TYPE": "postgres"},
    {
        "DATABASE_URL": f"postgresql://u:{CANARY}@h/n",
        "DEORA_DATABASE__SECONDARY": f'{{"type": "postgres", "url": "postgresql://u:{CANARY}@h/n"}}',
    },
    {"REDIS_STRING": f"http://:{CANARY}@h"},
    {"REDIS_STRING": "h h", "REDIS_PASSWORD": CANARY},
    {"REDIS_STRING": "h", "REDIS_PASSWORD": CANARY, "REDIS_PORT_NO": "0"},
    {"DEORA_SECURITY__TOKENS": f'[{{"name": "a", "hash": "{CANARY}", "scope": "read"}}]'},
    {"DEORA_SECURITY__TOKENS": CANARY},
    {"DEORA_SECURITY__TOKENS": f'"{CANARY}"'},
    {"DEORA_OPERATIONS__ALERTS__WEBHOOK": f"ftp://h/{CANARY}"},
    {"DEORA_OPERATIONS__ALERTS__SENTRY_DSN": CANARY},
    {"DEORA_DATABASE__PRIMARY__URL": f"postgresql://u:{CANARY}@h/n"},
    {"DEORA_CACHE__REDIS": f"redis://:{CANARY}@h"},
    {"DEORA_CACHE__REDIS": f'{{"url": "{CANARY}", "password": "{CANARY}"}}'},
    {"DEORA_SECURITY__TOKEN": CANARY},
]


@pytest.mark.parametrize("environ", SECRETS)
def test_no_fault_shows_a_secret(environ: dict[str, str], tmp_path: Path) -> None:
    problems_of(None, environ)
    dotenv = tmp_path / ".env"
    dotenv.write_text("".join(f"{name}='{text}'\n" for name, text in environ.items()))
    problems_of(None, dotenv=dotenv)


def test_a_loaded_configuration_shows_no_secret() -> None:
    environ = {
        "DATABASE_URL": f"postgresql://u:{CANARY}@h/n",
        "REDIS_STRING": "h",
        "REDIS_PASSWORD": CANARY,
        "DEORA_OPERATIONS__ALERTS__WEBHOOK": f"https://h/{CANARY}",
    }
    config = load(None, environ=environ, dotenv=None)
    assert str(config.to_wire()).count(CANARY) == 3
    assert CANARY not in f"{config!r} {config.to_display()}"


def test_the_example_is_valid_and_names_every_variable(tmp_path: Path) -> None:
    lines = (Path(__file__).resolve().parents[3] / ".env.example").read_text().splitlines()
    assert all(line == "" or line.startswith("# ") for line in lines)
    settings = [line.removeprefix("# ") for line in lines if re.match(r"# [A-Za-z_]+=", line)]
    dotenv = tmp_path / ".env"
    dotenv.write_text("\n".join(settings))
    config = load(None, environ={}, dotenv=dotenv)
    assert config.servers.id == "bar-1"
    assert {line.partition("=")[0] for line in settings} >= set(NAMED)
