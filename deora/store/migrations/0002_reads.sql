-- Schema 2: how far each base has come, when upstream last confirmed it, and which collections are kept whole.

-- As in schema 1, and:
-- base_seq: the primary upstream's cursor in the snapshot that the base was read in, or of the batch that moved it last.
-- checked_us: when upstream last said what it holds (a pull that found a change, or a settlement), by the wall clock: it
-- tells how old a copy is, as the cached copies' own times do.
CREATE TABLE documents_next (
  id         INTEGER PRIMARY KEY,
  collection TEXT    NOT NULL,
  name       TEXT    NOT NULL,
  version    TEXT    NOT NULL,
  commit_no  INTEGER NOT NULL,
  created_us INTEGER NOT NULL,
  updated_us INTEGER NOT NULL,
  pending    INTEGER NOT NULL,
  dead       INTEGER NOT NULL,
  base_state INTEGER NOT NULL,
  base_seq   INTEGER NOT NULL,
  checked_us INTEGER NOT NULL,
  view       TEXT,
  base       TEXT,
  UNIQUE (collection, name)
);
INSERT INTO documents_next
SELECT id, collection, name, version, commit_no, created_us, updated_us, pending, dead, base_state,
  coalesce((SELECT seq FROM upstreams WHERE name = 'primary'), 0), updated_us, view, base
FROM documents;
DROP TABLE documents;
ALTER TABLE documents_next RENAME TO documents;
CREATE INDEX documents_gone ON documents (checked_us) WHERE view IS NULL;

-- Collections that are kept whole. source: which upstream they are copies of. since: where the next pull goes on.
-- synced_us: when the last pull ended, by the wall clock.
CREATE TABLE replicas (
  collection TEXT    PRIMARY KEY,
  source     TEXT    NOT NULL,
  since      TEXT    NOT NULL,
  synced_us  INTEGER NOT NULL
) WITHOUT ROWID;
