"""Replay: the outbox's entries reach upstream exactly once, in order, whatever gets lost on the way.

`lane` delivers one batch after the other to one upstream; `batches` decides what an outcome and a cursor mean, `policy`
when to try again, `breaker` whether to try at all, `coverage` what the cursor remembers. Those four are pure.
"""
