-- Schema 7: what the change streams need beside the entries.

-- A commit's documents, where no entry of the primary upstream tells them: copies that were taken over from upstream,
-- views that were worked out again, entries that were dropped. place: the order within the commit, from 1.
CREATE TABLE changes (
  commit_no INTEGER NOT NULL,
  place     INTEGER NOT NULL,
  running_s INTEGER NOT NULL,
  path      TEXT    NOT NULL,
  PRIMARY KEY (commit_no, place)
) WITHOUT ROWID;

-- pruned_commit: of commits up to here something may be gone from entries and changes. What came before this schema was
-- not kept for streams.
ALTER TABLE progress ADD COLUMN pruned_commit INTEGER NOT NULL DEFAULT 0;
UPDATE progress SET pruned_commit = commit_no;
