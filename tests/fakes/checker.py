"""The judge of every fault test is the one of `deora drill`."""

from __future__ import annotations

from deora.drill.judge import Findings, Outcome, Sent, check, logged, logs_of, outcome_of

__all__ = ["Findings", "Outcome", "Sent", "check", "logged", "logs_of", "outcome_of"]
