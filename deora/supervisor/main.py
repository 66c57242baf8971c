"""The supervisor's process, from its options to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from typing import Final

import uvloop

from deora import __version__
from deora.gateway.balancer import MODES
from deora.gateway.dispatch import Dispatch
from deora.gateway.door import Door
from deora.gateway.server import Server
from deora.gateway.streams import Streams
from deora.gateway.surplus import Entrance
from deora.observe.logs import configure
from deora.observe.metrics import Metrics
from deora.supervisor.abilities import idle_settings
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.control import Control
from deora.supervisor.listeners import CONTROL_NAME, control_directory, listen_control, listen_tcp, listening
from deora.supervisor.lock import InstanceLock
from deora.supervisor.options import StartOptions
from deora.supervisor.orders import Orders
from deora.supervisor.process import become_subreaper, name_process
from deora.supervisor.reload import Reload, read_settings
from deora.supervisor.settings import Settings
from deora.supervisor.snapshot import Gauges
from deora.supervisor.systemd import Notifier, passed_sockets
from deora.supervisor.watch import LOOK_S, Watch

_log = logging.getLogger("deora.supervisor")

SWEEP_INTERVAL_S: Final = 0.25
TICK_INTERVAL_S: Final = 1.0
STOP_S: Final = 9.0
FINISH_S: Final = 3.0


class Supervisor:
    """One instance: its listeners, its dispatch, its children."""

    def __init__(
        self, options: StartOptions, settings: Settings, listener: socket.socket, control: socket.socket
    ) -> None:
        config = settings.config
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
        self._watch = Watch(config, self._arbiter)
        self._gauges = Gauges(config, self._arbiter, self._dispatch, self._metrics, time.monotonic())
        address = listener.getsockname()[0]
        self._reload = Reload(
            config, self._arbiter, lambda: read_settings(options, address), self._take_over, self._notifier
        )
        orders = Orders(self._arbiter, self._dispatch)
        self._control = Control(
            self._gauges, self._metrics, time.monotonic, self._arbiter.is_ready, orders, self._reload.run
        )
        sticky, next_id = config.loadbalancer.sticky, self._dispatch.next_request_id
        self._clients = Server(self._dispatch, settings.limits, settings.door, next_id, sticky=sticky)
        # Whoever may open the control socket owns the instance: no token is asked for there.
        self._operators = Server(self._dispatch, settings.operator_limits, Door(), next_id)
        self._entrance: asyncio.Server | None = None

    async def serve(self) -> None:
        """Serves until a signal asks it to stop. Raises StartError where it cannot start its children."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._arbiter.start_task(self._reload.on_signal()))
        control = await loop.create_unix_server(self._operators, sock=self._control_socket)
        await self._listen()
        sweeping = asyncio.create_task(self._sweep())
        watching = asyncio.create_task(self._look())
        starting = asyncio.create_task(self._start())
        try:
            await self._stop.wait()
            _log.info("stopping")
        finally:
            deadline_s = self._now_s() + STOP_S
            self._notifier.stopping()
            self._close_entrance()
            self._listener.close()
            control.close()
            starting.cancel()
            await self._reload.stop()
            await self._finish(self._now_s() + FINISH_S)
            sweeping.cancel()
            watching.cancel()
            await self._arbiter.stop(deadline_s)
            _log.info("stopped")
        if self._failure is not None:
            raise self._failure

    async def _listen(self) -> None:
        """Takes connections as the settings of now say; what has waited in the kernel's queue goes on waiting there.

        It listens by a copy of the socket: where the settings change, the next copy is open before this one closes.
        """
        settings, former = self._settings, self._entrance
        self._entrance = await asyncio.get_running_loop().create_server(
            Entrance(self._clients, settings.room),
            sock=self._listener.dup(),
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
        config = settings.config
        if config.logger != self._settings.config.logger:
            # It waits for what the disk has not taken yet.
            await asyncio.to_thread(configure, "supervisor", config.logger, self._data)
        self._settings = settings
        settings.door.remember(self._clients.door)
        self._clients.door, self._clients.sticky = settings.door, config.loadbalancer.sticky
        self._clients.limits, self._operators.limits = settings.limits, settings.operator_limits
        self._dispatch.configure(MODES[config.loadbalancer.mode](), settings.patience, settings.sticky())
        self._watch.configure(config)
        self._gauges.configure(config)
        await self._listen()

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
        self._notifier.ready()

    async def _finish(self, deadline_s: float) -> None:
        """Lets what was accepted be answered, then ends the connections."""
        self._dispatch.stop()
        while self._dispatch.open_requests() and self._now_s() < deadline_s:
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
            now_s = self._now_s()
            if now_s - ticked_s >= TICK_INTERVAL_S:
                self._clients.sweep()
                self._operators.sweep()
                self._metrics.tick(now_s - ticked_s)
                self._gauges.tick(now_s)
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
    host = options.host if options.host is not None else config.servers.host
    port = options.port if options.port is not None else config.servers.port
    handed = listening(passed_sockets())
    settings = Settings.of(config, options.data, handed.getsockname()[0] if handed is not None else host)
    lock = InstanceLock(options.data, options.argv)
    try:
        listener = handed if handed is not None else listen_tcp(host, port)
        directory = control_directory(options.data)
        control = listen_control(directory)
        configure("supervisor", config.logger, options.data)
        idle = idle_settings(config)
        if idle:
            _log.warning("these settings have no effect in DEORA %s: %s", __version__, ", ".join(idle))
        become_subreaper()
        name_process("deora")

        async def serve() -> None:
            await Supervisor(options, settings, listener, control).serve()

        try:
            uvloop.run(serve())
        finally:
            with contextlib.suppress(FileNotFoundError):
                (directory / CONTROL_NAME).unlink()
    finally:
        lock.release()
        sys.stderr.flush()
    return 0
