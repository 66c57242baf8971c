"""Starting and ending an instance: `deora start`, `deora stop`, `deora restart`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from deora.cli.client import ControlClient
from deora.cli.instance import refuse_under_systemd, stop_instance
from deora.cli.lock import read_lock
from deora.cli.options import F, config_option, data_option, instance_options
from deora.errors import DeoraError, NotRunningError

if TYPE_CHECKING:
    from deora.config.schema import Config

_START_OPTIONS: Final = ("config", "data", "host", "port")


def listen_options(command: F) -> F:
    """Adds `--host` and `--port`; the command gets `host: str | None` and `port: int | None`."""
    host = click.option("--host", metavar="ADDRESS", help="Address to listen on; wins over the configuration.")
    port = click.option(
        "--port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Port to listen on, 0 for any free one; wins over the configuration.",
    )
    return host(port(command))


@click.command()
@config_option
@data_option
@listen_options
@click.option("--detach", is_flag=True, help="Start in the background and return once it serves.")
@click.option("--check", is_flag=True, help="Only say whether it would start: configuration, code, the store's file.")
@click.pass_context
def start(
    ctx: click.Context, config: Path | None, data: Path, host: str | None, port: int | None, detach: bool, check: bool
) -> None:
    """Start an instance, in the foreground; Ctrl-C ends it.

    With --detach it runs in the background; what it writes goes to logs/start.log in the data directory.

    \b
    Example:
      deora start
      deora start --data /srv/deora --port 8080 --detach
    """
    argv = arguments(config, data, host, port)
    if detach:
        start_detached(argv, data)
        return
    loaded = load_config(config)
    if check:
        _check(loaded, data, host)
        return
    from deora.supervisor.main import run
    from deora.supervisor.options import StartOptions

    directory = None if config is None else config.absolute()
    ctx.exit(run(StartOptions(loaded, directory, data.absolute(), host, port, argv)))


def _check(config: Config, data: Path, host: str | None) -> None:
    """Does what a start does before it touches anything: imports every process's code, and makes the settings."""
    import deora.supervisor.main
    import deora.supervisor.zygote
    from deora.store.database import check_version
    from deora.supervisor.settings import Settings
    from deora.supervisor.upgrade import WOULD_START

    Settings.of(config, data.absolute(), host if host is not None else config.servers.host)
    check_version(data / "store.db")
    click.echo(f"{WOULD_START}DEORA {deora.__version__}")


@click.command()
@instance_options
def stop(data: Path) -> None:
    """Stop the instance; return once all of it has gone.

    \b
    Example:
      deora stop
      deora stop --data /srv/deora
    """
    client = ControlClient(data)
    client.peer_pid()  # that none runs comes before what the lock file says, which may be stale
    refuse_under_systemd(data, "stop")
    pid = stop_instance(client)
    click.echo(f"stopped, pid {pid}")


@click.command()
@config_option
@data_option
@listen_options
@click.pass_context
def restart(ctx: click.Context, config: Path | None, data: Path, host: str | None, port: int | None) -> None:
    """Stop the instance, and start it in the background.

    It gets the options that it was started with; one given here takes the place of the recorded one. Where no instance
    runs, one is started.

    \b
    Example:
      deora restart
      deora restart --port 8080
    """
    given = arguments(config, data, host, port)
    try:
        pid = ControlClient(data).peer_pid()
    except NotRunningError:
        click.echo(f"no instance ran on {data.absolute()}; starting one")
        start_detached(given, data)
        return
    refuse_under_systemd(data, "restart")
    lock = read_lock(data)
    if lock is None or lock.pid != pid:
        raise DeoraError(
            f"the lock file of {data.absolute()} does not say how pid {pid} was started",
            hint="use `deora stop`, then `deora start --detach` with its options",
        )
    named = [name for name in _START_OPTIONS if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    argv = merge(lock.argv, given, named)
    from deora.cli.launch import working_directory

    directory = working_directory(pid)
    load_config(_config_of(argv), directory)  # a configuration that would not start ends nothing
    stop_instance(ControlClient(data))
    click.echo(f"stopped, pid {pid}")
    start_detached(argv, data, directory)


def arguments(config: Path | None, data: Path, host: str | None, port: int | None) -> list[str]:
    """The arguments after `deora start` that say all this from any working directory, in pairs."""
    pairs = {
        "--config": None if config is None else str(config.absolute()),
        "--data": str(data.absolute()),
        "--host": host,
        "--port": None if port is None else str(port),
    }
    return [word for option, value in pairs.items() if value is not None for word in (option, value)]


def merge(recorded: Sequence[str], given: Sequence[str], named: Sequence[str]) -> list[str]:
    """The recorded arguments, with those options of `given` that are `named` (without dashes) in their place."""
    pairs = _pairs(recorded)
    pairs.update({option: value for option, value in _pairs(given).items() if option.removeprefix("--") in named})
    return [word for pair in pairs.items() for word in pair]


def _pairs(argv: Sequence[str]) -> dict[str, str]:
    return dict(zip(argv[::2], argv[1::2], strict=True))


def _config_of(argv: Sequence[str]) -> Path | None:
    directory = _pairs(argv).get("--config")
    return None if directory is None else Path(directory)


def load_config(directory: Path | None, working_directory: Path | None = None) -> Config:
    """The checked configuration, with the environment and the `.env` of the working directory. Raises ConfigError."""
    from deora.config.load import load

    return load(directory, environ=os.environ, dotenv=(working_directory or Path.cwd()) / ".env")


def start_detached(argv: Sequence[str], data: Path, directory: Path | None = None) -> None:
    """Starts an instance in the background, waits until it serves, and says where. Errors: as `wait_ready`."""
    from deora.cli import launch

    launch.refuse_second(data)
    loaded = load_config(_config_of(argv), directory)
    process = launch.launch(argv, data, directory=directory)
    try:
        launch.wait_ready(process, data)
    except launch.EndedEarlyError as error:
        if error.output:
            click.echo(error.output, err=True)
        raise
    named = _pairs(argv)
    host, port = named.get("--host", loaded.servers.host), int(named.get("--port", loaded.servers.port))
    port = port or launch.listening_port(process.pid)
    click.echo(f"started, pid {process.pid}, {launch.url(host, port, tls=loaded.security.tls.cert is not None)}")
