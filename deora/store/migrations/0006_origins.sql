-- Schema 6: entries that another box, or an earlier life of this one, accepted, and that were taken over.

-- Whose they are: the node and the epoch that gave them their numbers. One row for each and each upstream, made when its
-- cursor has been taken over there.
CREATE TABLE origins (
  id       INTEGER PRIMARY KEY,
  upstream INTEGER NOT NULL,
  node     TEXT    NOT NULL,
  epoch    TEXT    NOT NULL,
  UNIQUE (upstream, node, epoch)
);

-- origin: NULL for the entries that this store accepted itself. The number of another one is its origin's, for ever.
ALTER TABLE entries ADD COLUMN origin INTEGER;

-- The numbers of each origin that came in, whatever has become of them since: none comes in twice.
CREATE TABLE imported (
  origin INTEGER NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (origin, number)
) WITHOUT ROWID;
