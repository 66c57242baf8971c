-- Schema 5: what upstream need not have, for when its cursor goes back.

-- Numbers of entries that are no longer kept and are not missing either: dead ones that were dropped, or retried under a
-- new number, and those that an operator gave up after upstream was restored to before this box's memory.
CREATE TABLE given_up (
  upstream INTEGER NOT NULL,
  first    INTEGER NOT NULL,
  last     INTEGER NOT NULL,
  PRIMARY KEY (upstream, first)
) WITHOUT ROWID;
-- documents.base_state 3: what upstream holds is not known since it was restored; the view stands as it is.
-- upstreams.batch_id 'lost': its cursor went back, and the queue is not yet in step with it.
