"""The supervisor's process, from its options to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from deora import __version__
from deora.config.checks import check_listen_address
from deora.config.schema import Config
from deora.errors import StartError
from deora.gateway.access import Access
from deora.gateway.balancer import MODES
from deora.gateway.clients import Proxies
from deora.gateway.dispatch import Dispatch
from deora.gateway.door import Door
from deora.gateway.hosts import Names, own_names
from deora.gateway.limits import Budget, Limits
from deora.gateway.origins import Origins
from deora.gateway.requests import Patience
from deora.gateway.server import Server
from deora.gateway.sticky import STICKY, Sticky
from deora.gateway.streams import Streams
from deora.gateway.surplus import Entrance, room_for_clients
from deora.gateway.tls import server_context
from deora.observe.logs import configure
from deora.observe.metrics import Metrics
from deora.supervisor.abilities import check_abilities, idle_settings
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.control import Control
from deora.supervisor.listeners import CONTROL_NAME, control_directory, listen_control, listen_tcp
from deora.supervisor.lock import InstanceLock
from deora.supervisor.options import StartOptions
from deora.supervisor.orders import Orders
from deora.supervisor.process import become_subreaper, name_process
from deora.supervisor.snapshot import Gauges
from deora.supervisor.watch import LOOK_S, Watch

_log = logging.getLogger("deora.supervisor")

SWEEP_INTERVAL_S: Final = 0.25
TICK_INTERVAL_S: Final = 1.0
STOP_S: Final = 9.0
FINISH_S: Final = 3.0
LEAST_ROOM: Final = 8
# An entry that an import brings came in a body of the usual size, and its normal form may be several times as long.
OPERATOR_BODY_BYTES: Final = 32 * 1024 * 1024


class Supervisor:
    """One instance: its listeners, its dispatch, its children."""

    def __init__(self, options: StartOptions, listener: socket.socket, control: socket.socket) -> None:
        config = options.config
        self._now_s = time.monotonic
        self._listener = listener
        self._control_socket = control
        self._stop = asyncio.Event()
        self._failure: Exception | None = None
        self._metrics = Metrics()
        self._dispatch = Dispatch(
            MODES[config.loadbalancer.mode](),
            _patience(config),
            self._metrics,
            time.monotonic,
            lambda request: self._control.answer(request),
            _sticky(config),
            Streams(config.security.limits.streams, self._metrics, time.monotonic),
        )
        self._arbiter = Arbiter(config, str(options.data.absolute()), self._dispatch)
        self._watch = Watch(config, self._arbiter)
        self._gauges = Gauges(config, self._arbiter, self._dispatch, self._metrics, time.monotonic())
        orders = Orders(self._arbiter, self._dispatch)
        self._control = Control(self._gauges, self._metrics, time.monotonic, self._arbiter.is_ready, orders)
        limits = _limits(config)
        self._tls = _tls(config, options.data)
        door = _door(config, listener.getsockname()[0])
        sticky = config.loadbalancer.sticky
        self._clients = Server(self._dispatch, limits, door, self._dispatch.next_request_id, sticky=sticky)
        self._room = _room_for_clients(config)
        # Whoever may open the control socket owns the instance: no token is asked for there.
        larger = replace(limits, body_bytes=max(limits.body_bytes, OPERATOR_BODY_BYTES))
        self._operators = Server(self._dispatch, larger, Door(), self._dispatch.next_request_id)

    async def serve(self) -> None:
        """Serves until a signal asks it to stop. Raises StartError where it cannot start its children."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # A SIGHUP asks for a reload, which this version cannot do; it must not take the venue down.
        loop.add_signal_handler(signal.SIGHUP, _log.warning, "SIGHUP: this version cannot reload; use `deora restart`")
        control = await loop.create_unix_server(self._operators, sock=self._control_socket)
        handshake_s = self._clients.limits.head_timeout_s if self._tls is not None else None
        clients = await loop.create_server(
            Entrance(self._clients, self._room), sock=self._listener, ssl=self._tls, ssl_handshake_timeout=handshake_s
        )
        sweeping = asyncio.create_task(self._sweep())
        watching = asyncio.create_task(self._look())
        starting = asyncio.create_task(self._start())
        try:
            await self._stop.wait()
            _log.info("stopping")
        finally:
            deadline_s = self._now_s() + STOP_S
            clients.close()
            control.close()
            starting.cancel()
            await self._finish(self._now_s() + FINISH_S)
            sweeping.cancel()
            watching.cancel()
            await self._arbiter.stop(deadline_s)
            _log.info("stopped")
        if self._failure is not None:
            raise self._failure

    async def _start(self) -> None:
        try:
            await self._arbiter.start()
        except Exception as error:
            self._failure = error
            self._stop.set()
            return
        while not self._arbiter.is_ready():
            self._arbiter.changed.clear()
            await self._arbiter.changed.wait()
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if self._tls is None else "https"
        _log.info("ready on %s://%s:%d", scheme, shown, port, extra={"version": __version__})

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
                ticked_s = now_s

    async def _look(self) -> None:
        while True:
            self._watch.look(self._now_s())
            await asyncio.sleep(LOOK_S)


def _room_for_clients(config: Config) -> int:
    workers = config.servers.primary.workers + config.servers.secondary.workers
    room = room_for_clients(workers + len(("store", "replayer", "zygote")))
    if room < LEAST_ROOM:
        raise StartError(
            f"the limit of open files leaves {room} for connections; at least {LEAST_ROOM} are needed",
            hint=f"raise it by {LEAST_ROOM - room} or more: `ulimit -n`, or LimitNOFILE= of the service",
        )
    return room


def _patience(config: Config) -> Patience:
    balancing = config.loadbalancer
    # A suspect that hangs its worker is still on trial when that is noticed.
    trial_s = balancing.health_check.hang_timeout_s + 1.0
    return Patience(config.servers.request_timeout_s, balancing.max_retries, trial_s)


def _limits(config: Config) -> Limits:
    limits = config.security.limits
    return Limits(
        limits.body,
        limits.headers,
        limits.target,
        limits.header_timeout_s,
        connections=limits.connections_per_address,
    )


def _sticky(config: Config) -> Sticky | None:
    kind = STICKY[config.loadbalancer.sticky]
    return kind() if kind is not None else None


def _door(config: Config, address: str) -> Door:
    security = config.security
    rate = security.rate_limit
    return Door(
        Access(security.tokens),
        Names(security.allowed_hosts or {address, *own_names()}),
        Origins(security.cors.origins),
        Proxies(security.trusted_proxies),
        Budget(rate.requests, rate.window_s) if rate.requests else None,
        security.require_https,
    )


def _tls(config: Config, data: Path) -> ssl.SSLContext | None:
    tls = config.security.tls
    return server_context(data / tls.cert, data / tls.key) if tls.cert and tls.key else None


def run(options: StartOptions) -> int:
    """Runs an instance until it is asked to stop. Raises StartError where it cannot start."""
    config = options.config
    host = options.host if options.host is not None else config.servers.host
    port = options.port if options.port is not None else config.servers.port
    fault = check_listen_address(config, host)
    if fault is not None:
        raise StartError(fault)
    check_abilities(config)
    lock = InstanceLock(options.data, options.argv)
    try:
        listener = listen_tcp(host, port)
        directory = control_directory(options.data)
        control = listen_control(directory)
        configure("supervisor", config.logger, options.data)
        idle = idle_settings(config)
        if idle:
            _log.warning("these settings have no effect in DEORA %s: %s", __version__, ", ".join(idle))
        become_subreaper()
        name_process("deora")

        async def serve() -> None:
            await Supervisor(options, listener, control).serve()

        try:
            uvloop.run(serve())
        finally:
            with contextlib.suppress(FileNotFoundError):
                (directory / CONTROL_NAME).unlink()
    finally:
        lock.release()
        sys.stderr.flush()
    return 0
