-- Schema 8: earlier lives of this store, which ended when a backup of it was restored.

-- upto: this store itself gave out the numbers up to here, in an earlier life, so that none of these entries may be
-- missing. 0 for what another box accepted.
ALTER TABLE origins ADD COLUMN upto INTEGER NOT NULL DEFAULT 0;

-- As in schema 5, and: origin: whose numbers they are; 0 for this life's own.
CREATE TABLE given_up_next (
  upstream INTEGER NOT NULL,
  origin   INTEGER NOT NULL DEFAULT 0,
  first    INTEGER NOT NULL,
  last     INTEGER NOT NULL,
  PRIMARY KEY (upstream, origin, first)
) WITHOUT ROWID;
INSERT INTO given_up_next (upstream, first, last) SELECT upstream, first, last FROM given_up;
DROP TABLE given_up;
ALTER TABLE given_up_next RENAME TO given_up;
