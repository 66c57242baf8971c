-- The outbox's statements, by name. Parameters are bound by name where there are several of a kind.

-- name: upstream_rows
SELECT id, name, paused, seq, batch_id, number, pending, dead, done, live_bytes, done_bytes, by_priority, joined
FROM upstreams;

-- name: add_upstream
INSERT INTO upstreams (id, name) VALUES (?, ?);

-- name: save_upstream
UPDATE upstreams SET paused = ?, seq = ?, batch_id = ?, number = ?, pending = ?, dead = ?, done = ?,
  live_bytes = ?, done_bytes = ?, by_priority = ?, joined = ? WHERE id = ?;

-- name: insert_entry
INSERT INTO entries (id, upstream, number, state, priority, commit_no, created_us, running_s, writes, attempts, heads, payload)
VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, 0, ?, ?);

-- name: head
SELECT id, upstream, first, first_priority, priority, urgent, waiting, shared FROM heads WHERE id = ?;

-- name: heads_of
SELECT id, upstream, first, first_priority, priority, urgent, waiting, shared FROM heads
WHERE id IN (SELECT value FROM json_each(?));

-- name: save_head
INSERT INTO heads (id, upstream, first, first_priority, priority, urgent, waiting, shared)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_head
UPDATE heads SET upstream = ?2, first = ?3, first_priority = ?4, priority = ?5, urgent = ?6, waiting = ?7, shared = ?8
WHERE id = ?1;

-- name: delete_head
DELETE FROM heads WHERE id = ?;

-- name: insert_follower
INSERT INTO followers (head, entry, priority, shared) VALUES (?, ?, ?, ?);

-- name: delete_follower
DELETE FROM followers WHERE head = ? AND entry = ? RETURNING priority, shared;

-- name: next_follower
SELECT entry, priority, shared FROM followers WHERE head = ? ORDER BY entry LIMIT 1;

-- name: follower_levels
SELECT priority, count(*) FROM followers WHERE head = ? GROUP BY priority ORDER BY priority DESC LIMIT 1;

-- name: shared_below
SELECT entry FROM followers INDEXED BY followers_shared
WHERE head = :head AND shared = 1 AND priority < :priority AND entry < :before;

-- name: raise_follower
UPDATE followers SET priority = :priority WHERE head = :head AND entry = :entry AND priority < :priority;

-- name: fronts
SELECT h.id, h.priority, h.urgent, h.waiting, (SELECT min(entry) FROM followers WHERE head = h.id),
  e.id, e.number, e.commit_no, h.first_priority, e.writes, e.heads, e.payload
FROM heads AS h CROSS JOIN entries AS e ON e.id = h.first
WHERE h.upstream = ? ORDER BY h.priority DESC, h.first;

-- name: followers
SELECT e.id, e.number, e.commit_no, f.priority, e.writes, e.heads, e.payload
FROM followers AS f CROSS JOIN entries AS e ON e.id = f.entry
WHERE f.head = ? AND f.entry > ? ORDER BY f.entry LIMIT ?;

-- name: count_tail
SELECT count(*) FROM entries INDEXED BY entries_live WHERE upstream = ? AND state = 0 AND id > ?;

-- name: tail
SELECT id, priority, heads FROM entries INDEXED BY entries_live
WHERE upstream = ? AND state = 0 AND id > ? ORDER BY id LIMIT ?;

-- name: tail_entries
SELECT id, number, commit_no, priority, writes, heads, payload FROM entries INDEXED BY entries_live
WHERE upstream = ? AND state = 0 AND id > ? ORDER BY id;

-- name: oldest
SELECT id, number, commit_no, priority, writes, heads, payload FROM entries INDEXED BY entries_live
WHERE upstream = ? AND state = 0 ORDER BY id;

-- name: held
SELECT head, min(entry) FROM dead_letters WHERE holds = 1 GROUP BY head;

-- name: members
SELECT id, number, commit_no, priority, writes, heads, payload FROM entries
WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id;

-- name: insert_batch
INSERT INTO batches (id, upstream, position, attempts, joined, members) VALUES (?, ?, ?, ?, ?, ?);

-- name: batches
SELECT id, upstream, position, attempts, joined, members FROM batches ORDER BY upstream, position;

-- name: delete_batch
DELETE FROM batches WHERE id = ?;

-- name: batch_attempted
UPDATE batches SET attempts = attempts + 1 WHERE id = ?;

-- name: entries_attempted
UPDATE entries SET attempts = attempts + 1, error = ? WHERE id IN (SELECT value FROM json_each(?));

-- name: settle_done
UPDATE entries SET state = 1, running_s = ? WHERE id = ? AND state = 0;

-- name: settle_dead
UPDATE entries SET state = 2, running_s = ?, attempts = attempts + 1, error = ? WHERE id = ? AND state = 0;

-- name: insert_dead_letter
INSERT INTO dead_letters (head, entry, holds) VALUES (?, ?, ?);

-- name: delete_dead_letters
DELETE FROM dead_letters WHERE entry = ?;

-- name: entry
SELECT upstream, state, commit_no, priority, writes, heads, origin, payload FROM entries WHERE id = ?;

-- name: entries_from
SELECT id, upstream, state, commit_no FROM entries WHERE id >= ? ORDER BY id LIMIT 4;

-- name: dead_ids
SELECT id FROM entries INDEXED BY entries_dead WHERE upstream = ? AND state = 2 AND id > ?
ORDER BY id LIMIT ?;

-- name: revive
UPDATE entries SET state = 0, number = coalesce(?, number), attempts = 0, error = NULL WHERE id = ? AND state = 2;

-- name: requeue
UPDATE entries SET state = 0, attempts = 0, error = NULL, heads = ? WHERE id = ? AND state = 1;

-- name: found
UPDATE entries SET state = 1, running_s = ?, error = NULL WHERE id = ? AND state <> 1;

-- name: entries_between
SELECT id, upstream, origin, number, state, writes, created_us FROM entries
  WHERE id > ? AND id <= ? ORDER BY id LIMIT ?;

-- name: give_up_numbers
INSERT INTO given_up (upstream, origin, first, last) VALUES (?, ?, ?, ?);

-- name: give_up_number_of
INSERT OR IGNORE INTO given_up (upstream, origin, first, last)
  SELECT upstream, coalesce(origin, 0), number, number FROM entries WHERE id = ?;

-- name: given_up
SELECT origin, first, last FROM given_up WHERE upstream = ? ORDER BY origin, first;

-- name: delete_entry
DELETE FROM entries WHERE id = ?;

-- name: unsettled_of
SELECT e.id, e.state, e.payload FROM entries AS e
WHERE e.id IN (SELECT first FROM heads WHERE id = :head
               UNION ALL SELECT entry FROM followers WHERE head = :head
               UNION ALL SELECT entry FROM dead_letters WHERE head = :head)
ORDER BY e.id;

-- name: oldest_live
SELECT min(id), (SELECT running_s FROM entries WHERE id = (
  SELECT min(id) FROM entries INDEXED BY entries_live WHERE upstream = :upstream AND state = 0))
FROM entries INDEXED BY entries_live WHERE upstream = :upstream AND state = 0;

-- name: prunable
SELECT id, upstream, length(payload), running_s, state, commit_no FROM entries WHERE id > ? ORDER BY id LIMIT ?;

-- name: origins
SELECT id, upstream, node, epoch, upto FROM origins;

-- name: add_origin
INSERT INTO origins (id, upstream, node, epoch) VALUES (?, ?, ?, ?);

-- name: origins_of
SELECT id, origin FROM entries WHERE id IN (SELECT value FROM json_each(?)) AND origin IS NOT NULL;

-- name: imported
SELECT number FROM imported WHERE origin = ? AND number IN (SELECT value FROM json_each(?));

-- name: add_imported
INSERT INTO imported (origin, number) VALUES (?, ?);

-- name: import_entry
INSERT INTO entries (id, upstream, number, state, priority, commit_no, created_us, running_s, writes, attempts, error,
  heads, payload, origin)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
