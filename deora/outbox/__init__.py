"""The outbox: every acknowledged commit that an upstream has not yet confirmed.

The guarantee. An entry is written in the transaction that writes its documents, so there is none without the other. It
leaves only by a settlement: applied upstream (kept for a while as done), or refused there (kept as dead until a person
retries or drops it). Reading never deletes.

Order. Entries of one document are claimed in the order of their ids, which is the order of acknowledgement. Priority
reorders only across documents; an entry that holds up a more urgent one is as urgent as that one.

What can fail, and what then holds:

* A crash before the transaction is durable: neither document nor entry exists, and no client was told otherwise.
* A crash with a batch in flight: the batch and its members are persisted before they are sent, so the next replayer
  finds the very same batch and asks upstream's cursor whether it has landed.
* A refused entry: its batch is split until it stands alone, then it is dead; the others go on.

Trade-offs. An entry is stored once for each upstream, payload included: two upstreams double the queue's size, and in
return neither can hold up, reorder or prune the other's.
"""
