"""A gRPC proxy for commits that lets each take effect and then loses some of the answers.

Google's own client speaks gRPC, so what `bench.peers.dropping` does to ours is done to it here. A lost answer is
UNAVAILABLE, as gRPC itself calls a connection that ends before its answer.
"""

from __future__ import annotations

import random
from concurrent import futures
from typing import Any, Final, Self

import grpc

COMMIT: Final = "/google.firestore.v1.Firestore/Commit"


class DroppingGrpcProxy:
    """In front of `host`: of the answers to commits, `share` is lost."""

    def __init__(self, host: str, share: float, seed: int) -> None:
        self.lost = 0
        self._share = share
        self._dice = random.Random(seed)
        self._channel = grpc.insecure_channel(host)
        self._commit = self._channel.unary_unary(COMMIT)
        # One thread: the order of the dice, and so of the losses, is that of the commits.
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def forward(self, request: bytes, context: Any) -> Any:
        """One commit."""
        metadata = [(key, value) for key, value in context.invocation_metadata() if key != "user-agent"]
        answer = self._commit(request, metadata=metadata, timeout=30)
        if self._dice.random() < self._share:
            self.lost += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection ended before the answer")
        return answer


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    def __init__(self, proxy: DroppingGrpcProxy) -> None:
        self._proxy = proxy

    def service(self, details: Any) -> Any:
        """Commits alone: nothing else is asked."""
        return grpc.unary_unary_rpc_method_handler(self._proxy.forward) if details.method == COMMIT else None
