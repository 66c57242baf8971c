-- Schema 1: documents with base and view, the outbox, the answers to idempotency keys.

-- What names this store. node: this box, for ever. epoch: this life of the file; a restored copy begins a new one.
CREATE TABLE identity (
  node  TEXT NOT NULL,
  epoch TEXT NOT NULL
);

-- The counters, one row, written once in each transaction that moves one. None ever goes back.
-- running_s: seconds that this store has been running in all, the clock of retention and of kept answers; the wall
-- clock of a venue's box may be wrong by years.
CREATE TABLE progress (
  commit_no INTEGER NOT NULL,
  entry_id  INTEGER NOT NULL,
  running_s INTEGER NOT NULL
);
INSERT INTO progress VALUES (0, 0, 0);

-- A document as clients see it (view) and as the primary upstream is known to hold it (base).
-- base_state: 0 upstream is not known to hold it, 1 base equals view and is not stored twice, 2 base is in its column.
-- pending, dead: entries of the primary upstream that touch it and are waiting, or refused.
-- commit_no: the last commit that touched it; version: the last that changed its data.
-- Big columns stand last, so that reading the small ones does not walk overflow pages.
CREATE TABLE documents (
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
  view       TEXT,
  base       TEXT,
  UNIQUE (collection, name)
);
CREATE INDEX documents_gone ON documents (id) WHERE view IS NULL;

-- One row for each upstream. seq, batch_id: its cursor as last seen by us. pending counts inflight entries too.
-- live_bytes: pages' share of entries pending, inflight or dead; done_bytes: of those that are kept after they are done.
CREATE TABLE upstreams (
  id          INTEGER PRIMARY KEY,
  name        TEXT    NOT NULL UNIQUE,
  paused      INTEGER NOT NULL DEFAULT 0,
  seq         INTEGER NOT NULL DEFAULT 0,
  batch_id    TEXT    NOT NULL DEFAULT '',
  number      INTEGER NOT NULL DEFAULT 0,
  pending     INTEGER NOT NULL DEFAULT 0,
  dead        INTEGER NOT NULL DEFAULT 0,
  done        INTEGER NOT NULL DEFAULT 0,
  live_bytes  INTEGER NOT NULL DEFAULT 0,
  done_bytes  INTEGER NOT NULL DEFAULT 0,
  by_priority TEXT    NOT NULL DEFAULT '{}'
);

-- An entry: one commit, for one upstream. id is its place in the order; number counts without gaps for its upstream.
-- state: 0 live (pending, or inflight when a batch holds it), 1 done, 2 dead.
-- heads: the queues it stands in (see heads); an integer for the common one, msgpack for more.
CREATE TABLE entries (
  id         INTEGER PRIMARY KEY,
  upstream   INTEGER NOT NULL,
  number     INTEGER NOT NULL,
  state      INTEGER NOT NULL,
  priority   INTEGER NOT NULL,
  commit_no  INTEGER NOT NULL,
  created_us INTEGER NOT NULL,
  running_s  INTEGER NOT NULL,
  writes     INTEGER NOT NULL,
  attempts   INTEGER NOT NULL,
  error      TEXT,
  heads      BLOB    NOT NULL,
  payload    BLOB    NOT NULL
);
CREATE INDEX entries_live ON entries (upstream, id) WHERE state = 0;
CREATE INDEX entries_dead ON entries (upstream, id) WHERE state = 2;

-- The queue of one document for one upstream, while anything waits in it. id = 4 * document + upstream, so that finding
-- it needs no index. first: the entry at its head. priority: the highest of all its entries, which is how urgent its
-- head is (priority inheritance). urgent: how many entries have that priority. shared: entries of several documents.
CREATE TABLE heads (
  id             INTEGER PRIMARY KEY,
  upstream       INTEGER NOT NULL,
  first          INTEGER NOT NULL,
  first_priority INTEGER NOT NULL,
  priority       INTEGER NOT NULL,
  urgent         INTEGER NOT NULL,
  waiting        INTEGER NOT NULL,
  shared         INTEGER NOT NULL
);
CREATE INDEX heads_urgent ON heads (upstream, priority DESC, first);

-- The entries behind the head of a queue. priority: with what it inherited through entries of several documents.
CREATE TABLE followers (
  head     INTEGER NOT NULL,
  entry    INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  shared   INTEGER NOT NULL,
  PRIMARY KEY (head, entry)
) WITHOUT ROWID;
-- What may become more urgent when something joins a queue. Without it, joining would walk the whole queue.
CREATE INDEX followers_shared ON followers (head, priority) WHERE shared = 1;

-- Which documents a dead entry of which upstream touches. holds: later entries wait for it (on_dead "hold").
CREATE TABLE dead_letters (
  head  INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  holds INTEGER NOT NULL,
  PRIMARY KEY (head, entry)
) WITHOUT ROWID;

-- Batches that are claimed and not settled, in the order in which they will be sent. members: msgpack list of ids.
CREATE TABLE batches (
  id       TEXT    PRIMARY KEY,
  upstream INTEGER NOT NULL,
  position INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  members  BLOB    NOT NULL
) WITHOUT ROWID;

-- What became of a request that carried an Idempotency-Key: kept for 24 hours of running time.
CREATE TABLE answers (
  key       BLOB    PRIMARY KEY,
  request   BLOB    NOT NULL,
  running_s INTEGER NOT NULL,
  answer    BLOB    NOT NULL
) WITHOUT ROWID;

-- The same for a request without one: id = the supervisor's run and the request's number, kept while it may be sent again.
CREATE TABLE requests (
  id     INTEGER PRIMARY KEY,
  answer BLOB NOT NULL
);
