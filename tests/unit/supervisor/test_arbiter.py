"""The arbiter with children that are mere processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import Problem
from deora.supervisor import arbiter as arbiter_module
from deora.supervisor import process
from deora.supervisor.roster import State
from deora.supervisor.watch import Watch
from deora.wire.answers import answer
from deora.wire.frames import Kind, Role, unpack
from tests.fakes.arbiter import FIGURES, PATIENCE_S, Arbitrate, Bench
from tests.fakes.star import incoming, received

# -- starting


def test_the_store_comes_first_and_the_others_once_it_is_up(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        starting = asyncio.ensure_future(bench.arbiter.start())
        await bench.until(lambda: bench.fakes and bench.last("store").heard(Kind.INIT))
        for _ in range(10):
            await asyncio.sleep(0)
        assert [fake.slot for fake in bench.fakes] == ["store"]
        await bench.up("store")
        await starting
        assert [fake.slot for fake in bench.fakes] == ["store", "primary", "secondary", "replayer"]
        assert not bench.arbiter.is_ready()
        await bench.up("secondary")
        assert bench.arbiter.is_ready()

    arbitrate(talk)


def test_a_store_that_cannot_boot_keeps_nobody_else_from_starting(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        starting = asyncio.ensure_future(bench.arbiter.start())
        await bench.until(lambda: bench.fakes and bench.last("store").heard(Kind.INIT))
        bench.last("store").kill()
        await starting
        await bench.up("primary")
        assert not bench.arbiter.is_ready()

    arbitrate(talk)


def test_a_child_is_told_who_it_is(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        inits = {fake.slot: fake.init for fake in bench.fakes}
        assert {slot: (init["role"], init["name"]) for slot, init in inits.items()} == {
            "store": ("store", "store"),
            "primary": ("worker", "primary"),
            "primary-2": ("worker", "primary"),
            "secondary": ("worker", "secondary"),
            "replayer": ("replayer", "replayer"),
        }
        for init in inits.values():
            assert (init["generation"], init["data"]) == (1, "/data")
            assert init["run"] == bench.dispatch.run.to_bytes(4, "big")
            assert Config.from_wire(init["config"]).servers.primary.workers == 2

    arbitrate(talk, {"servers": {"primary": {"workers": 2}}})


def test_a_worker_gets_requests_from_its_hello_on(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        requests = [incoming("GET", "/v1/documents/a/b") for _ in range(4)]
        for request in requests:
            bench.dispatch.accept(request)
            await asyncio.sleep(0)  # each in a turn of its own
        for slot in ("primary", "secondary"):
            fake = bench.last(slot)
            await bench.hears(fake, Kind.REQUEST, 2)
            for frame in fake.heard(Kind.REQUEST):
                content = answer(200, slot.encode(), server=slot.encode(), request_id=b"r")
                fake.say(Kind.ANSWER, content, ident=frame[4], aux=200)
        await bench.until(lambda: all(received(request) for request in requests))
        assert sorted(received(request)[0].content for request in requests) == [b"primary"] * 2 + [b"secondary"] * 2

    arbitrate(talk)


# -- ends


def test_a_killed_worker_is_started_again_at_once_and_what_it_held_goes_elsewhere(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.dispatch.accept(incoming("GET", "/v1/documents/a/b"))
        bench.dispatch.accept(incoming("GET", "/v1/documents/a/c"))
        bench.last("primary").kill()
        secondary = bench.last("secondary")
        for count in (1, 2):
            # What the dead one held comes when this one holds nothing else.
            [*_, frame] = await bench.hears(secondary, Kind.REQUEST, count)
            content = answer(200, b"", server=b"secondary", request_id=b"r")
            secondary.say(Kind.ANSWER, content, ident=frame[4], aux=200)
        member = bench.arbiter.children["primary"].member
        fake = await bench.up("primary")
        assert fake.init["generation"] == 2
        assert (member.restarts, member.reason, member.failures, member.crashes) == (1, None, 0, 1)
        assert bench.arbiter.children["primary"].pid == fake.process.pid

    arbitrate(talk)


def test_a_child_whose_tracer_learns_of_its_end_first_is_started_again(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_early = [True, True]

    def early(pidfd: int) -> str:
        if too_early:
            too_early.pop()
            raise BlockingIOError
        return process.exit_reason(pidfd)

    async def talk(bench: Bench) -> None:
        await bench.all_up()
        monkeypatch.setattr(arbiter_module, "exit_reason", early)
        bench.last("primary").kill()
        await bench.until(lambda: not too_early)
        await bench.up("primary")
        assert bench.arbiter.children["primary"].member.restarts == 1

    arbitrate(talk)


def test_a_child_that_cannot_be_watched_is_let_go_and_tried_again(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, failures = os.pidfd_open, [OSError(24, "Too many open files")]

    def pidfd_open(pid: int) -> int:
        if failures:
            raise failures.pop()
        return watch(pid)

    async def talk(bench: Bench) -> None:
        await bench.all_up()
        monkeypatch.setattr(os, "pidfd_open", pidfd_open)
        bench.last("primary").kill()
        await bench.until(lambda: bench.arbiter.children["primary"].member.failures == 1)
        assert "could not be watched" in (bench.arbiter.children["primary"].member.reason or "")
        [unwatched] = [fake for fake in bench.fakes if fake.slot == "primary"][1:2]
        await bench.up("primary")
        # Its socket has ended, and so does it.
        await bench.until(lambda: bench.last("primary") is not unwatched and unwatched.sock.recv(1) == b"")

    arbitrate(talk)


def test_what_a_child_said_last_is_heard(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        request = incoming("GET", "/v1/documents/a/b")
        bench.dispatch.accept(request)
        primary = bench.last("primary")
        await bench.until(lambda: primary.heard(Kind.REQUEST))
        [frame] = primary.heard(Kind.REQUEST)
        # Its answer and its end are there in the same turn of the loop.
        content = answer(200, b"last words", server=b"primary", request_id=b"r")
        primary.say(Kind.ANSWER, content, ident=frame[4], aux=200)
        primary.kill()
        os.waitid(os.P_PID, primary.process.pid, os.WEXITED | os.WNOWAIT)
        await bench.until(lambda: received(request))
        assert received(request)[0].content == b"last words"
        assert bench.last("secondary").heard(Kind.REQUEST) == []

    arbitrate(talk)


def test_why_it_cannot_boot_is_heard_though_it_ends_at_once(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        starting = asyncio.ensure_future(bench.arbiter.start())
        member = bench.arbiter.children["store"].member
        for failures in range(1, 21):
            await bench.until(lambda: member.state is State.STARTING and bench.last("store").heard(Kind.INIT))
            store = bench.last("store")
            store.say(Kind.EVENT, ["cannot-boot", "the file is of a newer version", "start the newer one"])
            store.kill()
            os.waitid(os.P_PID, store.process.pid, os.WEXITED | os.WNOWAIT)
            await bench.fails("store", failures)
            assert member.reason == "the file is of a newer version (start the newer one)"
        await bench.up("store")
        assert member.reason is None
        await starting

    arbitrate(talk)


def test_one_that_ends_before_it_is_ready_says_how_and_is_started_after_a_pause(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        pauses: list[int] = []

        def pause_s(failures: int, chance: float) -> float:
            assert 0 <= chance < 1
            pauses.append(failures)
            return 0.0

        monkeypatch.setattr(arbiter_module, "pause_s", pause_s)
        await bench.all_up()
        bench.last("primary").kill()
        member = bench.arbiter.children["primary"].member
        for failures in range(1, 4):
            await bench.until(lambda: member.state is State.STARTING and bench.last("primary").heard(Kind.INIT))
            bench.last("primary").kill()
            await bench.fails("primary", failures)
            assert member.reason == "ended before it was ready: killed by SIGKILL"
        assert pauses == [1, 2, 3]
        await bench.up("primary")
        assert (member.failures, member.reason, member.restarts) == (0, None, 4)

    arbitrate(talk)


def test_a_child_that_closes_its_socket_is_killed(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        primary = bench.last("primary")
        primary.sock.close()
        await bench.until(lambda: bench.last("primary") is not primary)
        assert primary.process.wait(PATIENCE_S) == -signal.SIGKILL or primary.process.returncode == 0
        await bench.up("primary")

    arbitrate(talk)


def test_a_start_that_fails_is_tried_again(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.zygotes[0].spawn_failures = 3
        primary = bench.last("primary")
        primary.kill()
        await bench.until(lambda: bench.arbiter.children["primary"].member.failures == 3)
        assert "could not be started: too much to do" in (bench.arbiter.children["primary"].member.reason or "")
        await bench.up("primary")
        assert bench.last("primary") is not primary

    arbitrate(talk)


# -- the store


def test_a_new_store_gets_the_commits_and_the_workers_forget(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        request = incoming("PUT", "/v1/documents/a/b")
        bench.dispatch.accept(request)
        [worker] = [bench.last(slot) for slot in ("primary", "secondary") if bench.dispatch.inflight(slot)]
        await bench.until(lambda: worker.heard(Kind.REQUEST))
        worker.say(Kind.COMMIT, b"writes", ident=worker.heard(Kind.REQUEST)[0][4])
        first = bench.last("store")
        await bench.until(lambda: first.heard(Kind.COMMIT))
        stores = len(worker.heard(Kind.STORE))
        first.kill()
        await bench.until(lambda: not bench.dispatch.commits.has_store)
        second = await bench.up("store")
        await bench.until(lambda: second.heard(Kind.COMMIT))
        await bench.until(lambda: len(worker.heard(Kind.STORE)) == stores + 1)
        # On a worker's link the STORE stands before whatever that store's answers lead to.
        second.say(Kind.RESULT, [200, 1, None, None, b'{"commit":1'], ident=second.heard(Kind.COMMIT)[0][4], aux=200)
        await bench.until(lambda: received(request))
        assert received(request)[0].status == 200
        assert len(worker.heard(Kind.REQUEST)) == 1

    arbitrate(talk)


def test_notices_go_to_every_worker_that_is_up(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.last("store").say(Kind.NOTICE, ["a/b"])
        for slot in ("primary", "secondary"):
            fake = bench.last(slot)
            await bench.hears(fake, Kind.NOTICE)
            assert unpack(fake.heard(Kind.NOTICE)[0][5]) == ["a/b"]
        assert bench.last("replayer").heard(Kind.NOTICE) == []

    arbitrate(talk)


def test_events_are_kept_for_status(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        assert bench.arbiter.queue == FIGURES
        bench.last("store").say(Kind.EVENT, ["queue", {"running_s": 7}])
        bench.last("replayer").say(Kind.EVENT, ["upstream", "primary", {"breaker": "OPEN"}])
        await bench.until(lambda: bench.arbiter.upstreams)
        await bench.until(lambda: bench.arbiter.queue == {"running_s": 7})
        assert bench.arbiter.upstreams == {"primary": {"breaker": "OPEN"}}

    arbitrate(talk)


# -- calls


def test_a_call_goes_to_the_store_and_its_reply_back(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        replayer, store = bench.last("replayer"), bench.last("store")
        for ident in (5, 6):
            replayer.say(Kind.CALL, ["open", "primary"], ident=ident, aux=Role.STORE)
        await bench.until(lambda: len(store.heard(Kind.CALL)) == 2)
        calls = store.heard(Kind.CALL)
        assert len({frame[4] for frame in calls}) == 2
        for frame in calls[::-1]:
            store.say(Kind.REPLY, [frame[4]], ident=frame[4])
            store.say(Kind.REPLY, ["again"], ident=frame[4])
        await bench.until(lambda: len(replayer.heard(Kind.REPLY)) == 2)
        assert {frame[4]: unpack(frame[5]) for frame in replayer.heard(Kind.REPLY)} == {
            ident: [frame[4]] for ident, frame in zip((5, 6), calls, strict=True)
        }

    arbitrate(talk)


def test_calls_fail_while_there_is_no_store(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        replayer = bench.last("replayer")
        replayer.say(Kind.CALL, ["next", "primary"], ident=5, aux=Role.STORE)
        await bench.until(lambda: bench.last("store").heard(Kind.CALL))
        bench.last("store").kill()
        await bench.until(lambda: replayer.heard(Kind.REPLY))
        replayer.say(Kind.CALL, ["next", "primary"], ident=6, aux=Role.STORE)
        replayer.say(Kind.CALL, ["next", "primary"], ident=7, aux=99)
        await bench.until(lambda: len(replayer.heard(Kind.REPLY)) == 3)
        for frame in replayer.heard(Kind.REPLY):
            assert frame[2] == 1
            assert Problem.from_wire(unpack(frame[5])).kind == "unavailable"

    arbitrate(talk)


# -- the zygote


def test_a_zygote_that_ends_is_replaced(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.zygote_failures = 2
        bench.zygotes[0].process.kill()
        await bench.until(lambda: len(bench.zygotes) == 2)
        await bench.until(lambda: bench.arbiter.zygotes.pid == bench.zygotes[1].pid)
        assert bench.arbiter.zygotes.restarts == 1
        # Nobody was disturbed, and whoever ends now is started by the new one.
        assert len(bench.fakes) == 4
        bench.last("primary").kill()
        await bench.up("primary")

    arbitrate(talk)


def test_who_ends_while_there_is_no_zygote_is_started_by_the_next(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.zygotes_may_start.clear()
        bench.zygotes[0].process.kill()
        await bench.until(lambda: bench.arbiter.zygotes.pid is None)
        for slot in ("primary", "secondary", "store", "replayer"):
            bench.last(slot).kill()
        await bench.until(lambda: {child.member.state for child in bench.arbiter.children.values()} == {State.DOWN})
        bench.zygotes_may_start.set()
        for slot in ("store", "primary", "secondary", "replayer"):
            await bench.up(slot)
            # One each: not one for the end and one for the new zygote.
            assert len([fake for fake in bench.fakes if fake.slot == slot]) == 2

    arbitrate(talk)


def test_a_zygote_that_ends_while_it_starts_a_child_costs_that_child_nothing(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        monkeypatch.setattr(arbiter_module, "pause_s", lambda *_: 1000.0)
        bench.zygotes[0].is_broken = True
        bench.last("primary").kill()
        await bench.until(lambda: bench.state("primary") is State.DOWN)
        bench.zygotes[0].process.kill()
        await bench.up("primary")
        member = bench.arbiter.children["primary"].member
        assert (member.failures, member.reason) == (0, None)

    arbitrate(talk)


# -- figures


def test_pings_bring_figures(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        watch = Watch(bench.config, bench.arbiter)
        watch.ping(time.monotonic())
        primary = bench.last("primary")
        await bench.until(lambda: primary.heard(Kind.PING))
        child = bench.arbiter.children["primary"]
        before_ms = child.latency_ms
        assert before_ms is None
        primary.say(Kind.PONG, {"hits": 3}, ident=primary.heard(Kind.PING)[0][4])
        await bench.until(lambda: child.figures)
        assert child.figures == {"hits": 3}
        assert child.latency_ms is not None
        assert 0 <= child.latency_ms < 5000
        primary.say(Kind.PONG, b"", ident=1)
        await asyncio.sleep(0.01)
        assert child.figures == {"hits": 3}

    arbitrate(talk)


def test_who_is_not_up_is_not_pinged(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        starting = asyncio.ensure_future(bench.arbiter.start())
        await bench.until(lambda: bench.fakes and bench.last("store").heard(Kind.INIT))
        Watch(bench.config, bench.arbiter).ping(time.monotonic())
        await asyncio.sleep(0.01)
        # Behind an INIT comes nothing until the HELLO.
        assert [frame[0] for frame in bench.last("store").heard()] == [Kind.INIT]
        await bench.up("store")
        await starting

    arbitrate(talk)


# -- stopping


def test_stop_ends_the_store_last(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        loop = asyncio.get_running_loop()
        stopping = asyncio.ensure_future(bench.arbiter.stop(loop.time() + 5))
        others = [bench.last(slot) for slot in ("primary", "secondary", "replayer")]
        for fake in others:
            await bench.hears(fake, Kind.STOP)
        assert not bench.last("store").heard(Kind.STOP)
        for fake in others:
            fake.kill()
        await bench.until(lambda: bench.last("store").heard(Kind.STOP))
        bench.last("store").kill()
        await stopping
        assert {child.member.state for child in bench.arbiter.children.values()} == {State.STOPPED}
        assert bench.arbiter.zygotes.pid is None
        assert len(bench.fakes) == 4

    arbitrate(talk)


def test_who_does_not_stop_is_killed(arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        monkeypatch.setattr(arbiter_module, "KILL_AFTER_S", 0.05)
        began_s = asyncio.get_running_loop().time()
        stopping = asyncio.ensure_future(bench.arbiter.stop(began_s + 10 * PATIENCE_S))
        # Processes that sleep on: their sockets go with them.
        for fake in bench.fakes:
            fake.sock.close()
        await stopping
        assert asyncio.get_running_loop().time() - began_s < PATIENCE_S
        assert {child.member.state for child in bench.arbiter.children.values()} == {State.STOPPED}

    arbitrate(talk)


def test_a_stop_before_the_hello_is_not_lost(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        starting = asyncio.ensure_future(bench.arbiter.start())
        await bench.until(lambda: bench.fakes and bench.last("store").heard(Kind.INIT))
        store = bench.last("store")
        starting.cancel()
        stopping = asyncio.ensure_future(bench.arbiter.stop(asyncio.get_running_loop().time() + 5))
        await bench.until(lambda: store.heard(Kind.STOP))
        store.hello()
        await bench.until(lambda: len(store.heard(Kind.STOP)) == 2)
        store.kill()
        await stopping
        assert not bench.dispatch.commits.has_store

    arbitrate(talk)


@pytest.mark.parametrize(
    ("servers", "slots"),
    [
        ({}, ["store", "primary", "secondary", "replayer"]),
        (
            {"primary": {"workers": 3}, "secondary": {"workers": 2}},
            ["store", "primary", "primary-2", "primary-3", "secondary", "secondary-2", "replayer"],
        ),
    ],
)
def test_slots(arbitrate: Arbitrate, servers: dict[str, Any], slots: list[str]) -> None:
    async def talk(bench: Bench) -> None:
        children = bench.arbiter.children
        assert list(children) == slots
        for slot, child in children.items():
            if child.member.role == "worker":
                assert child.server is not None
                assert child.name == slot.split("-")[0]
                assert (child.server.slot, child.server.weight, child.server.priority) == (
                    slot,
                    70 if child.name == "primary" else 30,
                    1 if child.name == "primary" else 2,
                )

    arbitrate(talk, {"servers": servers})
