"""The supervisor's process, from its options to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import uvloop

from deora import __version__
from deora.clock import wall_offset_s
from deora.errors import Problem, StartError
from deora.gateway.balancer import MODES
from deora.gateway.dispatch import Dispatch
from deora.gateway.door import Door
from deora.gateway.outflow import SNDBUF_BYTES
from deora.gateway.server import Server
from deora.gateway.streams import Streams
from deora.gateway.surplus import Entrance
from deora.observe.access import AccessLog
from deora.observe.logs import AUDIT, configure, release
from deora.observe.metrics import Metrics
from deora.supervisor import listeners
from deora.supervisor.alarm import Alarm
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.backups import Backups
from deora.supervisor.control import Control
from deora.supervisor.listeners import CONTROL_NAME, control_directory, listen_control, listen_tcp, listening
from deora.supervisor.lock import InstanceLock
from deora.supervisor.options import StartOptions
from deora.supervisor.orders import Orders
from deora.supervisor.process import become_subreaper, name_process
from deora.supervisor.reload import Reload, read_settings
from deora.supervisor.settings import Settings, differences
from deora.supervisor.snapshot import Gauges
from deora.supervisor.systemd import Notifier, passed_sockets
from deora.supervisor.upgrade import Handover, become_new, check, taken_over
from deora.supervisor.watch import LOOK_S, Watch

_log = logging.getLogger("deora.supervisor")
_audit = logging.getLogger(AUDIT)

SWEEP_INTERVAL_S: Final = 0.25
TICK_INTERVAL_S: Final = 1.0
STOP_S: Final = 9.0
FINISH_S: Final = 3.0
HALF_A_REQUEST_S: Final = 1.0
FIRST_REQUEST_S: Final = 0.3
# A TLS handshake, and a request.
LET_IN_S: Final = 2.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


class Supervisor:
    """One instance: its listeners, its dispatch, its children."""

    def __init__(
        self, options: StartOptions, settings: Settings, listener: socket.socket, control: socket.socket
    ) -> None:
        config = settings.config
        self._argv = options.argv
        self._now_s = time.monotonic
        self._data = options.data
        self._settings = settings
        self._listener = listener
        self._control_socket = control
        self._stop = asyncio.Event()
        self._failure: Exception | None = None
        self._metrics = Metrics()
        self._notifier = Notifier()
        self._dispatch = Dispatch(
            MODES[config.loadbalancer.mode](),
            settings.patience,
            self._metrics,
            time.monotonic,
            lambda request: self._control.answer(request),
            settings.sticky(),
            Streams(config.security.limits.streams, self._metrics, time.monotonic),
        )
        self._arbiter = Arbiter(config, str(options.data.absolute()), self._dispatch)
        self._keep_access_log()
        self._watch = Watch(config, self._arbiter)
        self._gauges = Gauges(config, self._arbiter, self._dispatch, self._metrics, time.monotonic())
        address = listener.getsockname()[0]
        self._reload = Reload(
            config, self._arbiter, lambda: read_settings(options, address), self._take_over, self._notifier
        )
        self._backups = Backups(config, str(options.data.absolute()), self._arbiter)
        self._gauges.backup = self._backups.state
        orders = Orders(self._arbiter, self._dispatch)
        self._alarm = Alarm(config, self._arbiter, self._gauges, time.monotonic)
        acts = {b"/admin/reload": self._reload.run, b"/admin/upgrade": self.upgrade}
        acts[b"/admin/alerts:test"] = self._alarm.test
        is_ready = self._arbiter.is_ready
        self._control = Control(self._gauges, self._metrics, time.monotonic, is_ready, orders, acts, self._backups)
        self._upgrades = False
        sticky, next_id = config.loadbalancer.sticky, self._dispatch.next_request_id
        self._clients = Server(self._dispatch, settings.limits, settings.door, next_id, sticky=sticky)
        # Whoever may open the control socket owns the instance: no token is asked for there.
        self._operators = Server(self._dispatch, settings.operator_limits, Door(), next_id)
        self._entrance: asyncio.Server | None = None

    async def upgrade(self) -> dict[str, Any]:
        """Has this process become the program that is installed now, if that says that it would start."""
        try:
            version = await asyncio.to_thread(check, self._argv)
        except StartError as error:
            _log.error("not upgraded: %s", error.message)
            raise Problem("wrong-configuration", f"{error.message}\nnothing was changed", hint=error.hint) from error
        if self._stop.is_set():
            raise Problem("unavailable", "the instance ends; it is not upgraded", hint="start it again")
        _log.info("upgrading to %s", version)
        self._upgrades = True
        self._stop.set()
        return {"upgrading": version}

    async def _on_upgrade_signal(self) -> None:
        with contextlib.suppress(Problem):
            await self.upgrade()

    async def serve(self, handed: list[socket.socket]) -> list[int] | None:
        """Serves until a signal asks it to stop, connections that were handed over first. Returns those of an upgrade,
        for the program that follows; None where it is to end. Raises StartError where it cannot start its children."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._arbiter.start_task(self._reload.on_signal()))
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._arbiter.start_task(self._on_upgrade_signal()))
        # An upgrade lets them wait until somebody listens to them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        control = await loop.create_unix_server(self._operators, sock=self._control_socket.dup())
        await self._listen()
        for sock in handed:
            await loop.connect_accepted_socket(Entrance(self._clients, self._settings.room), sock)
        sweeping = asyncio.create_task(self._sweep())
        watching = asyncio.create_task(self._look())
        starting = asyncio.create_task(self._start())
        clients: list[int] = []
        try:
            await self._stop.wait()
            _log.info("stopping")
        finally:
            if self._upgrades:
                self._notifier.reloading()
            else:
                self._notifier.stopping()
            if self._upgrades and self._settings.tls is not None:
                await self._take_leave()
            self._close_entrance()
            control.close()
            starting.cancel()
            await self._reload.stop()
            if self._upgrades:
                clients = await self._hold()
            else:
                tls = self._settings.tls is not None
                await listeners.shut(self._listener, None if tls else Entrance(self._clients, self._settings.room))
            deadline_s = self._now_s() + STOP_S
            await self._finish(self._now_s() + FINISH_S)
            sweeping.cancel()
            watching.cancel()
            await self._backups.stop()
            await self._arbiter.stop(deadline_s)
            if self._dispatch.records.access is not None:
                self._dispatch.records.access.close()
            _log.info("stopped")
        if self._failure is not None:
            raise self._failure
        # From here on signals wait for the next program; one that came before is acted on by this one.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        await asyncio.sleep(0.001)
        if self._upgrades:
            return clients
        for descriptor in clients:
            os.close(descriptor)
        return None

    def _end(self) -> None:
        """Ends the instance, also where it was about to become the next program."""
        self._upgrades = False
        self._stop.set()

    async def _listen(self) -> None:
        """Takes connections as the settings of now say; what has waited in the kernel's queue goes on waiting there.

        It listens by a copy of the socket: where the settings change, the next copy is open before this one closes.
        """
        settings, former = self._settings, self._entrance
        # What the kernel keeps for clients that do not read: megabytes for each otherwise, taken from all connections.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF_BYTES)
        self._entrance = await asyncio.get_running_loop().create_server(
            Entrance(self._clients, settings.room),
            sock=self._listener.dup(),
            # What waits here while the process is stopped or becomes another one is as much as was asked for first.
            backlog=listeners.BACKLOG,
            ssl=settings.tls,
            ssl_handshake_timeout=settings.handshake_s,
        )
        if former is not None:
            former.close()

    def _close_entrance(self) -> None:
        if self._entrance is not None:
            self._entrance.close()

    async def _take_over(self, settings: Settings) -> None:
        """Goes on with these settings, which a reload has read."""
        config, former = settings.config, self._settings.config
        self._settings = settings
        if config.logger != former.logger:
            # It waits for what the disk has not taken yet.
            await asyncio.to_thread(configure, "supervisor", config.logger, self._data)
            await self._change_access_log()
        _audit.info("the configuration was taken over", extra={"changed": differences(former, config)})
        self._clients.enter_by(settings.door)
        self._clients.sticky = config.loadbalancer.sticky
        self._clients.limits, self._operators.limits = settings.limits, settings.operator_limits
        self._dispatch.configure(MODES[config.loadbalancer.mode](), settings.patience, settings.sticky())
        self._dispatch.streams.configure(config.security.limits.streams)
        self._watch.configure(config)
        self._gauges.configure(config)
        self._alarm.configure(config)
        self._backups.configure(config)
        await self._listen()

    def _keep_access_log(self) -> None:
        logger = self._settings.config.logger
        log = AccessLog.of(logger, self._data, wall_offset_s) if logger.access else None
        self._dispatch.records.keep(log)

    async def _change_access_log(self) -> None:
        former = self._dispatch.records.access
        self._keep_access_log()
        if former is not None:
            await asyncio.to_thread(former.close)

    async def _start(self) -> None:
        try:
            await self._arbiter.start()
        except Exception as error:
            self._failure = error
            self._stop.set()
            return
        while not self._arbiter.is_ready():
            await self._arbiter.next_change()
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if self._settings.tls is None else "https"
        _log.info("ready on %s://%s:%d", scheme, shown, port, extra={"version": __version__})
        self._notifier.status(self._gauges.line(self._now_s()))
        self._notifier.ready()

    async def _take_leave(self) -> None:
        """What TLS keeps of a connection cannot be handed over: each gets one more answer, which says that it ends.

        Their clients connect again meanwhile, so the end of those that were there is waited for; and then, while nobody
        else is let in, the end of those that came later, whose clients are about to ask for something.
        """
        self._dispatch.take_leave()
        former = self._clients.in_turns()
        await self._gone(lambda: not former & self._clients.connections, self._settings.config.servers.drain_timeout_s)
        self._close_entrance()
        await self._gone(lambda: not self._clients.in_turns(), LET_IN_S)

    async def _gone(self, are_gone: Callable[[], bool], timeout_s: float) -> None:
        """Waits until connections have ended, as long as it is an upgrade that wants it."""
        until_s = self._now_s() + timeout_s
        while self._upgrades and self._now_s() < until_s and not are_gone():
            await asyncio.sleep(0.01)

    async def _hold(self) -> list[int]:
        """Finishes the requests at work while no other is read, and lets go of the connections: descriptors of them."""
        # Their clients connect again, which waits in the kernel, and go on behind the last event that they had.
        self._dispatch.streams.end()
        began_s = self._now_s()
        drained_s = began_s + self._settings.config.servers.drain_timeout_s
        while self._now_s() < drained_s:
            middle = self._clients.hold()
            self._dispatch.commits.end_waits()
            # Half a request of a client that is slow to send the rest must not keep all others waiting.
            if not self._dispatch.open_requests() and (not middle or self._now_s() >= began_s + HALF_A_REQUEST_S):
                break
            await asyncio.sleep(0.01)
        return self._clients.hand_over()

    async def _finish(self, deadline_s: float) -> None:
        """Lets what was accepted be answered, then ends the connections."""
        self._dispatch.stop()
        # A client that was let in a moment ago is about to ask for something.
        first_s = self._now_s() + FIRST_REQUEST_S
        while (self._dispatch.open_requests() and self._now_s() < deadline_s) or (
            self._clients.unserved() and self._now_s() < first_s
        ):
            self._dispatch.sweep()
            await asyncio.sleep(0.02)
        self._dispatch.give_up()
        self._clients.close()
        self._operators.close()
        await asyncio.sleep(0)

    async def _sweep(self) -> None:
        ticked_s = self._now_s()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self._dispatch.sweep()
            if self._dispatch.records.access is not None:
                self._dispatch.records.access.flush()
            now_s = self._now_s()
            if now_s - ticked_s >= TICK_INTERVAL_S:
                self._clients.sweep()
                self._operators.sweep()
                self._metrics.tick(now_s - ticked_s)
                self._gauges.tick(now_s)
                self._alarm.tick()
                self._backups.tick(now_s)
                self._notifier.status(self._gauges.line(now_s))
                self._notifier.alive(now_s)
                ticked_s = now_s

    async def _look(self) -> None:
        while True:
            self._watch.look(self._now_s())
            await asyncio.sleep(LOOK_S)


def run(options: StartOptions) -> int:
    """Runs an instance until it is asked to stop. Raises StartError where it cannot start."""
    config = options.config
    former = taken_over()
    handed = listening(passed_sockets())
    host = options.host if options.host is not None else config.servers.host
    port = options.port if options.port is not None else config.servers.port
    clients: list[socket.socket] = []
    opened: list[socket.socket] = []
    directory = control_directory(options.data)
    if former is not None:
        lock = InstanceLock.adopt(former.lock, options.data, options.argv)
        listener, control, clients = former.sockets()
        settings = Settings.of(config, options.data, listener.getsockname()[0])
    else:
        settings = Settings.of(config, options.data, handed.getsockname()[0] if handed is not None else host)
        lock = InstanceLock(options.data, options.argv)
    try:
        if former is None:
            listener = handed if handed is not None else listen_tcp(host, port)
            opened.append(listener)
            control = listen_control(directory)
        opened += [listener, control]
        configure("supervisor", config.logger, options.data)
        become_subreaper()
        name_process("deora")
        try:
            _run_and_upgrade(options, settings, lock, listener, control, clients)
        finally:
            with contextlib.suppress(FileNotFoundError):
                (directory / CONTROL_NAME).unlink()
    finally:
        for sock in opened:
            sock.close()
        lock.release()
        sys.stderr.flush()
    return 0


def _run_and_upgrade(
    options: StartOptions,
    settings: Settings,
    lock: InstanceLock,
    listener: socket.socket,
    control: socket.socket,
    clients: list[socket.socket],
) -> None:
    """Runs until it is asked to stop or becomes the next program; if that cannot be begun, it goes on as this one."""
    while True:

        async def serve(handed: list[socket.socket]) -> list[int] | None:
            supervisor = Supervisor(options, settings, listener, control)
            return await supervisor.serve(handed)

        found = uvloop.run(serve(clients))
        if found is None:
            return
        handover = Handover(os.getpid(), lock.descriptor, listener.fileno(), control.fileno(), found)
        release()
        try:
            become_new(handover, options.argv)
        except OSError as error:
            configure("supervisor", options.config.logger, options.data)
            _log.error("the new program cannot be started: %s; this one goes on", error)
        clients = [socket.socket(fileno=descriptor) for descriptor in found]
