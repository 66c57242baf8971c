"""Who gets which reload, and what becomes of its faults; the children are the process tests' to renew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import ConfigError, DeoraError, Problem, StartError
from deora.supervisor import reload as module
from deora.supervisor.options import StartOptions
from deora.supervisor.reload import Reload, read_settings
from deora.supervisor.renewal import RenewalError
from deora.supervisor.settings import Settings
from deora.supervisor.systemd import Notifier

OLD = Config.from_wire({})
NEW = Config.from_wire({"servers": {"port": 4000, "request_timeout_s": 7}})


class Bench:
    """A Reload whose renewal is steered by the test."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.applied: list[Config] = []
        self.renewed: list[tuple[Config, Config]] = []
        self.fault: Exception | None = None
        self.settings: Settings | Exception = Settings.of(NEW, tmp_path, "127.0.0.1")
        self.gate = asyncio.Event()
        self.gate.set()
        monkeypatch.setattr(module, "renew", self.renew)
        notifier = Notifier({})
        monkeypatch.setattr(notifier, "_tell", lambda text: self.told.append(text.partition("\n")[0]))
        self.reload = Reload(OLD, None, self.read, self.apply, notifier)  # type: ignore[arg-type]

    def read(self) -> Settings:
        if isinstance(self.settings, Exception):
            raise self.settings
        return self.settings

    async def apply(self, settings: Settings) -> None:
        self.applied.append(settings.config)

    async def renew(self, _: object, old: Config, new: Config) -> list[str]:
        await self.gate.wait()
        self.renewed.append((old, new))
        if self.fault is not None:
            raise self.fault
        return ["primary", "store"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_all_is_taken_over_and_systemd_told(bench: Bench) -> None:
    done = asyncio.run(bench.reload.run())
    assert (done["reloaded"], done["restart_needed"]) == (["primary", "store"], ["servers.port"])
    assert (bench.renewed, bench.applied) == ([(OLD, NEW)], [NEW])
    assert bench.told == ["RELOADING=1", "READY=1"]
    # The next one starts from what is in force now, and the port still waits for a restart.
    assert asyncio.run(bench.reload.run())["restart_needed"] == ["servers.port"]
    assert bench.renewed[1:] == [(NEW, NEW)]


@pytest.mark.parametrize(
    ("fault", "problems"),
    [(ConfigError(["one", "two"]), ["one", "two"]), (StartError("no room", hint="make some"), ["no room"])],
)
def test_a_wrong_configuration_names_every_fault_and_changes_nothing(
    bench: Bench, fault: DeoraError, problems: list[str]
) -> None:
    bench.settings = fault
    with pytest.raises(Problem) as refused:
        asyncio.run(bench.reload.run())
    assert refused.value.status == 409
    assert refused.value.fields == {"problems": problems}
    assert "nothing was changed" in refused.value.detail
    assert (bench.renewed, bench.applied) == ([], [])
    assert bench.told == ["RELOADING=1", "READY=1"]
    asyncio.run(bench.reload.on_signal())


@pytest.mark.parametrize(
    ("fault", "said", "is_applied"),
    [
        (StartError("no zygote"), "everything is as it was", False),
        (RenewalError("no primary", is_reverted=True), "everything is as it was", False),
        (RenewalError("no store", is_reverted=False), "goes on as it was", True),
    ],
)
def test_a_child_that_cannot_start(bench: Bench, fault: Exception, said: str, is_applied: bool) -> None:
    bench.fault = fault
    with pytest.raises(Problem, match=said) as refused:
        asyncio.run(bench.reload.run())
    assert refused.value.status == 503
    assert bool(bench.applied) is is_applied


def test_who_asks_meanwhile_shares_the_next(bench: Bench) -> None:
    async def ask() -> list[dict[str, Any]]:
        bench.gate.clear()
        first = asyncio.create_task(bench.reload.run())
        while not bench.told:
            await asyncio.sleep(0)
        later = [asyncio.create_task(bench.reload.run()) for _ in range(5)]
        await asyncio.sleep(0)
        bench.gate.set()
        return await asyncio.gather(first, *later)

    answers = asyncio.run(ask())
    assert len(answers) == 6
    assert len(bench.renewed) == 2


def test_the_end_of_the_instance_gives_it_up(bench: Bench) -> None:
    async def stop() -> None:
        bench.gate.clear()
        asking = asyncio.create_task(bench.reload.run())
        while not bench.told:
            await asyncio.sleep(0)
        await bench.reload.stop()
        with pytest.raises(Problem, match="the instance ends"):
            await asking

    asyncio.run(stop())
    assert bench.renewed == []


def test_the_configuration_is_looked_for_where_start_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = StartOptions(OLD, None, tmp_path, None, None, [])
    assert read_settings(options, "127.0.0.1").config == OLD
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "servers.json").write_text('{"port": 4001}')
    (tmp_path / ".env").write_text("DEORA_QUEUE__MAX_ENTRIES=17\n")
    config = read_settings(options, "127.0.0.1").config
    assert (config.servers.port, config.queue.max_entries) == (4001, 17)
    elsewhere = StartOptions(OLD, tmp_path / "none", tmp_path, None, None, [])
    with pytest.raises(ConfigError):
        read_settings(elsewhere, "127.0.0.1")
