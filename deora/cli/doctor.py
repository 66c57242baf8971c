"""`deora doctor`: is this box fit to run DEORA, and if not, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from deora.cli.checkup import FAILED, FINE, WARNING, Finding, of_box
from deora.cli.client import ControlClient, ControlError
from deora.cli.lifecycle import load_config
from deora.cli.options import config_option, data_option, json_option
from deora.cli.terminal import show, show_json
from deora.errors import ConfigError, NotRunningError

if TYPE_CHECKING:
    from deora.cli.blocks import Tone

_TONES: Final[dict[str, Tone]] = {FINE: "good", WARNING: "warn", FAILED: "bad"}


@click.command()
@config_option
@data_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, config: Path | None, data: Path, as_json: bool) -> None:
    """Look at all that DEORA stands on.

    Disk, SQLite, store, clock, permissions, ports, limits, credentials, upstreams, backups; and a running instance.
    What is not fine comes with its remedy. Exits 1 where something has failed, 0 on mere warnings. Nothing is changed.

    \b
    Example:
      deora doctor
      deora doctor --json
    """
    examined = examine(config, data)
    failed = any(finding.level == FAILED for finding in examined["findings"])
    if as_json:
        show_json({**examined, "findings": [finding.to_json() for finding in examined["findings"]]})
    else:
        _show(examined)
    ctx.exit(1 if failed else 0)


def examine(config: Path | None, data: Path) -> dict[str, Any]:
    """All findings: `running`, `findings`, and how many are `failed` and `warnings`."""
    from deora.cli.soundings import of_upstreams

    running, findings = instance(data)
    try:
        loaded = load_config(config)
    except ConfigError as error:
        hint = "`deora config check` names file, key, and what is allowed"
        findings += [Finding("configuration", FAILED, problem, hint) for problem in error.problems]
    else:
        findings.append(Finding("configuration", FINE, "no faults"))
        findings += of_box(loaded, data, is_running=running)
        findings += of_upstreams(loaded, data)
    levels = [finding.level for finding in findings]
    return {
        "running": running,
        "failed": levels.count(FAILED),
        "warnings": levels.count(WARNING),
        "findings": findings,
    }


def instance(data: Path) -> tuple[bool, list[Finding]]:
    """Whether an instance runs, and what it says of itself."""
    try:
        status = ControlClient(data).get("/status")
    except NotRunningError:
        return False, [Finding("instance", FINE, f"none runs on {data.absolute()}: what it would find is looked at")]
    except ControlError as error:
        return True, [Finding("instance", FAILED, error.message, error.hint)]
    word = status["status"]
    level = {"healthy": FINE, "degraded": WARNING}.get(word, FAILED)
    hint = "its alerts below say why; `deora status` shows more" if level != FINE else None
    found = [Finding("instance", level, f"it runs (pid {status['supervisor']['pid']}) and is {word}", hint)]
    for alert in status["alerts"]:
        found.append(Finding(f"alert {alert['name']}", WARNING, alert["detail"], alert["hint"]))
    return True, found


def _show(examined: dict[str, Any]) -> None:
    from deora.cli.blocks import Cell, Flow, Gap, prose

    blocks: list[Any] = []
    for finding in examined["findings"]:
        level = Cell(finding.level, _TONES[finding.level])
        blocks.append(prose(level, Cell(f"{finding.name}:", "strong"), Cell(finding.detail), indent=2))
        if finding.hint:
            blocks.append(prose(Cell("  hint:", "faint"), Cell(finding.hint), indent=2))
    told = f"{examined['failed']} failed, {examined['warnings']} warnings, of {len(examined['findings'])} findings"
    with_it = "an instance runs" if examined["running"] else "no instance runs"
    show([*blocks, Gap(), Flow([[Cell(f"{told}; {with_it}")]])])
