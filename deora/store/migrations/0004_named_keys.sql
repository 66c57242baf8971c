-- Schema 4: kept answers of requests without a key outlive the store that gave them.

-- What requests without an Idempotency-Key were answered: those of the last groups, and those of the last groups of
-- earlier stores for 24 hours of running time. id: the group. lowest, highest: the least and the greatest number of a
-- request in it. answers: msgpack list of each request's number (the supervisor's run and its count), its identity and
-- its answer, in turns. Whoever upgrades begins a new run, so no answer of before will be asked for.
DROP TABLE requests;
CREATE TABLE requests (
  id        INTEGER PRIMARY KEY,
  running_s INTEGER NOT NULL,
  lowest    INTEGER NOT NULL,
  highest   INTEGER NOT NULL,
  answers   BLOB    NOT NULL
);
