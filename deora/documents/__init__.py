"""Documents: what a path, a value, a write and a query are, and what a write does to a document. Pure.

Everything here is a function of its arguments: no I/O, no clock, no environment, no randomness. Workers, store,
replayer and upstreams share it, so a document means the same wherever it is looked at. Data flows one way:

* `wording`  how a refusal shows what was found
* `paths`    document and collection paths; ids made from a seed
* `fields`   field names and dotted field paths
* `values`   strict JSON, the rules for values, the canonical text, limits of size and depth
* `writes`   the four writes (set, create, update, delete), read from a request, packed for a frame and for the outbox
* `apply`    a write and a document give the next document; the update operators as Cloud Firestore defines them
* `query`    the parameters of a list call, compiled to one SQL statement with bound parameters

The vocabulary: a *document* is a JSON object and travels as its **canonical text**: UTF-8, no spaces, members sorted by
name. A *tagged value* (`{"$timestamp": ..}`, `{"$bytes": ..}`, `{"$geopoint": ..}`, `{"$reference": ..}`) is one leaf
value that JSON cannot express. An *operator* (`{"$increment": ..}` and others) is an instruction in an update.
Integers (64-bit signed) and doubles are different types and stay so: `3` and `3.0` are equal but not the same.

Bad input raises `deora.errors.Problem`, whose detail says what was found and what is allowed.
"""
