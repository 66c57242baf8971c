-- Schema 3: entries that have not joined their queues, and one kept answer for each group.

-- joined: the youngest entry that was put into its queues or into a batch; those behind it are the tail. Up to here
-- every entry has joined.
ALTER TABLE upstreams ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;
UPDATE upstreams SET joined = coalesce((SELECT max(id) FROM entries WHERE upstream = upstreams.id), 0);

-- joined: 0 where the batch was taken from the tail, so that its members stand in no queue. members, and the queues of
-- an entry of several documents, are JSON lists from here on: statements look into them.
ALTER TABLE batches ADD COLUMN joined INTEGER NOT NULL DEFAULT 1;
UPDATE batches SET members = json_of_msgpack(members);
UPDATE entries SET heads = json_of_msgpack(heads) WHERE typeof(heads) = 'blob';

-- What requests without an Idempotency-Key were answered, for the last groups. id: the group. answers: msgpack list of
-- each request (the supervisor's run and the request's number) and its answer, in turns. Whoever upgrades begins a new
-- run, so no answer of before will be asked for.
DROP TABLE requests;
CREATE TABLE requests (
  id      INTEGER PRIMARY KEY,
  answers BLOB NOT NULL
);
