"""`deora worker`, `deora failover`, `deora recover`: which workers serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from deora.cli.client import ControlClient
from deora.cli.options import instance_options, json_option
from deora.cli.terminal import show_json

# servers.drain_timeout_s is 600 at most; the instance's own answer is better than a time-out on this side.
TIMEOUT_S: Final = 660.0


@click.group()
def worker() -> None:
    """Drain workers, keep out, bring back, start anew.

    No request fails by any of these. NAME is as `deora status` lists it.

    \b
    Example:
      deora worker restart primary
    """


@worker.command()
@click.argument("name")
@instance_options
@json_option
def drain(name: str, data: Path, as_json: bool) -> None:
    """Give the worker NAME no new request; returns once it holds none.

    What it has not finished within servers.drain_timeout_s goes to another worker. It stays drained, restarts of its
    process included, until `deora worker ready` or a restart of DEORA. Refused where no other worker would serve.

    \b
    Example:
      deora worker drain primary
    """
    answer = _order(data, f"workers/{quote(name, safe='')}:drain", as_json)
    _say(as_json, f"{name} is drained{_moved(answer)}; `deora worker ready {name}` has it serve again")


@worker.command()
@click.argument("name")
@instance_options
@json_option
def maint(name: str, data: Path, as_json: bool) -> None:
    """Drain the worker NAME and leave its process alone.

    Nobody judges its health meanwhile, so it may be stopped, traced or debugged.

    \b
    Example:
      deora worker maint primary
    """
    answer = _order(data, f"workers/{quote(name, safe='')}:maint", as_json)
    _say(as_json, f"{name} is in maintenance{_moved(answer)}; `deora worker ready {name}` has it serve again")


@worker.command()
@click.argument("name")
@instance_options
@json_option
def ready(name: str, data: Path, as_json: bool) -> None:
    """Have the worker NAME serve again.

    \b
    Example:
      deora worker ready primary
    """
    answer = _order(data, f"workers/{quote(name, safe='')}:ready", as_json)
    _say(as_json, f"{name} is ready to serve; its state is {answer.get('state')}")


@worker.command()
@click.argument("name")
@instance_options
@json_option
def restart(name: str, data: Path, as_json: bool) -> None:
    """Start the worker NAME anew: the new process first, then the old one is drained and ended.

    Where the new one cannot start, the old one goes on. A worker that is drained stays so.

    \b
    Example:
      deora worker restart secondary
    """
    answer = _order(data, f"workers/{quote(name, safe='')}:restart", as_json)
    _say(as_json, f"{name} was started anew, as process {answer.get('pid')}")


@click.command()
@instance_options
@json_option
def failover(data: Path, as_json: bool) -> None:
    """Serve from the secondary workers only.

    Returns once the primary ones hold no request.

    It holds, restarts of workers included, until `deora recover` or a restart of DEORA.

    \b
    Example:
      deora failover
    """
    answer = _order(data, "failover", as_json)
    _say(as_json, f"failed over: only the secondary serves{_moved(answer)}; `deora recover` ends it")


@click.command()
@instance_options
@json_option
def recover(data: Path, as_json: bool) -> None:
    """End a failover: primary and secondary serve again.

    \b
    Example:
      deora recover
    """
    _order(data, "recover", as_json)
    _say(as_json, "recovered: primary and secondary serve")


def _order(data: Path, order: str, as_json: bool) -> dict[str, Any]:
    answer: dict[str, Any] = ControlClient(data, timeout_s=TIMEOUT_S).post(f"/admin/{order}")
    if as_json:
        show_json(answer)
    return answer


def _moved(answer: dict[str, Any]) -> str:
    count = answer.get("redispatched", 0)
    return f", and what it had not finished in time went to others ({count})" if count else ""


def _say(as_json: bool, text: str) -> None:
    if not as_json:
        click.echo(text)
