"""A till and an upstream in one, which speak with the store itself and keep what the checker judges.

Both follow the rules of the real ones: the till sends a write again under its key while its end is unknown, or gives it
up as unknown; the upstream applies a batch only where its cursor stands, and after each new store the cursor is asked.
"""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import orjson

from deora.documents.apply import apply
from deora.documents.writes import decode_writes
from tests.fakes.checker import Findings, Outcome, Sent, check, logged, logs_of, outcome_of
from tests.fakes.forked_store import StoreGone, StoreProcess
from tests.fakes.store import Answer, Claimed, encode_call, encode_commit, update

BATCH_BYTES = 1 << 20


class WentBackError(AssertionError):
    """The store knows less than it has told upstream: something that it had made durable is gone."""


class VenueOfOne:
    """Survives any number of stores. `seed` decides what is written where, and what is given up."""

    def __init__(self, seed: int, documents: int = 5, padding: str = "") -> None:
        self._dice = random.Random(seed)
        self._documents = documents
        self._padding = padding
        self._tokens = map("t{}".format, count(1))
        self._idents = count(1)
        self._unclear: list[tuple[str, str]] = []
        self.history: list[Sent] = []
        self.refused: list[Answer] = []
        self._held: dict[str, bytes | None] = {}
        self._cursor = (0, "")

    # -- the till

    def write(self, store: StoreProcess, writes: int = 3) -> None:
        """What is unclear from before, then a group of new writes. Raises StoreGone."""
        self.write_again(store)
        new = [(next(self._tokens), f"tills/d{self._dice.randrange(self._documents)}") for _ in range(writes)]
        self._send(store, new, resent=False)

    def write_again(self, store: StoreProcess) -> None:
        """What is unclear from before. Raises StoreGone."""
        again, self._unclear = self._unclear, []
        for token, path in again:
            if self._dice.random() < 0.3:
                # This client gave up: it never learns what became of its write.
                self.history.append(Sent(token, path, Outcome.UNKNOWN))
            else:
                self._send(store, [(token, path)], resent=True)

    def _send(self, store: StoreProcess, group: list[tuple[str, str]], *, resent: bool) -> None:
        idents = {next(self._idents): sent for sent in group}
        frames = [self._frame(ident, token, path, resent=resent) for ident, (token, path) in idents.items()]
        try:
            answers = store.handle(*frames)
        except StoreGone as gone:
            self._note(idents, gone.answers)
            raise
        self._note(idents, answers)

    def _frame(self, ident: int, token: str, path: str, *, resent: bool) -> bytes:
        fields = {**logged(token), "padding": self._padding} if self._padding else logged(token)
        return encode_commit(ident, [update(path, fields, upsert=True)], key=token.encode(), resent=resent)

    def _note(self, idents: dict[int, tuple[str, str]], answers: dict[int, Answer]) -> None:
        for ident, (token, path) in idents.items():
            answer = answers.get(ident)
            outcome = outcome_of(answer.status if answer is not None else None)
            if answer is None or outcome is Outcome.UNKNOWN:
                self._unclear.append((token, path))
                continue
            self.history.append(Sent(token, path, outcome, answer.commit if outcome is Outcome.OK else None))
            if outcome is Outcome.FAIL:
                self.refused.append(answer)

    # -- the upstream

    def deliver(self, store: StoreProcess, batches: int | None = None, per_batch: int = 10) -> int:
        """Applies and settles what waits, at most so many batches; how many that were. Raises StoreGone."""
        number = 0
        while number != batches and store.waiting():
            # As after a reconnection: a batch that this store has lent out already is handed over once more.
            claimed = Claimed(*self._call(store, "next", "primary", per_batch, BATCH_BYTES, 0.8).value)
            self._apply(claimed)
            self._call(store, "settle", "primary", claimed.id, None, claimed.seq + 1, claimed.id)
            number += 1
        return number

    def _call(self, store: StoreProcess, *parts: Any) -> Answer:
        ident = next(self._idents)
        return store.handle(encode_call(ident, *parts))[ident]

    def _apply(self, batch: Claimed) -> None:
        if self._cursor == (batch.seq + 1, batch.id):
            return
        if self._cursor != (batch.seq, batch.cursor_id):
            raise WentBackError(f"upstream's cursor is {self._cursor}, the store's {batch.seq, batch.cursor_id}")
        for _, payload in batch.entries:
            for write in decode_writes(payload):
                self._held[write.path] = apply(self._held.get(write.path), write)
        self._cursor = (batch.seq + 1, batch.id)

    # -- the judge

    def judge(self) -> Findings:
        """Everything has been delivered: what is wrong with it."""
        given_up = [Sent(token, path, Outcome.UNKNOWN) for token, path in self._unclear]
        documents = {path: orjson.loads(data) for path, data in self._held.items() if data is not None}
        return check([*self.history, *given_up], logs_of(documents))
