"""The tills of `deora drill` as the load of tests: what a real instance made of what they wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.instance import Instance
from deora.drill.judge import Findings, Outcome, check, logs_of
from deora.drill.tills import Tills, Timed, p99_ms
from deora.drill.upstreams import embedded_documents

__all__ = ["Tills", "Timed", "audit", "embedded_documents", "judge", "p99_ms", "queued_tokens"]


def judge(one: Instance, tills: Tills) -> None:
    """No request failed, none was stale, each write was acknowledged, zeros. Prints the figures."""
    print(
        f"{len(tills.errors)} of {len(tills.writes) + len(tills.reads)} requests failed, "
        f"p99 {p99_ms(tills.writes):.0f} ms of writes, {p99_ms(tills.reads):.0f} ms of reads"
    )
    assert not tills.errors, tills.errors[:5]
    assert not tills.stale, tills.stale[:5]
    assert all(sent.outcome is Outcome.OK for sent in tills.history)
    one.wait_until_drained()
    findings = audit(one, tills)
    assert not findings, str(findings)


def queued_tokens(one: Instance) -> dict[str, list[str]]:
    """Path -> tokens of the writes that the instance's queue still holds, waiting or dead, in order."""
    found: dict[str, list[str]] = {}
    cursor = ""
    while True:
        page = one.get(f"/v1/queue/entries?upstream=primary&limit=1000{cursor}")
        for entry in sorted(page["entries"], key=lambda entry: int(entry["id"])):
            for write in entry["writes"]:
                [token] = write["update"]["data"]["log"]["$arrayUnion"]
                found.setdefault(write["update"]["path"], []).append(token)
        if page["cursor"] is None:
            return found
        cursor = f"&cursor={page['cursor']}"


def audit(one: Instance, *tills: Tills, documents: Mapping[str, Any] | None = None) -> Findings:
    """Judges all tills by upstream and the instance's queue. Nothing may be moving: drained, or paused.

    `documents`: path -> data of what upstream holds; without it, the embedded upstream is read.
    """
    history = [sent for some in tills for sent in some.history]
    if documents is None:
        documents = embedded_documents(one.data / "upstream.db")
    return check(history, logs_of(documents), queued_tokens(one))
