"""The drill: a scratch instance of this very installation, load, a fault, and a judge.

* `judge`      what clients were told against what upstream did (pure)
* `promises`   what holds in each scenario, and what a run came to (pure)
* `tills`      the load, which keeps its history
* `upstreams`  where the scratch instance's writes go: the embedded upstream, or the drill's own `firestore`
* `scratch`    the scratch instance: its processes, its folder, its questions and answers
* `faults`     what is done to it in each scenario
* `run`        one scenario from start to verdict

Nothing of it is part of a running instance: no configuration leads here. The faults come from outside, as signals,
limits and an upstream that the drill itself serves.
"""
