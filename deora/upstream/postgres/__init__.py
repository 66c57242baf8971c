"""PostgreSQL as an upstream: imported, and asyncpg with it, only where the configuration names one.

* `dsn`         where the servers are, how they are spoken to, and how they are named in messages (pure)
* `pool`        connections: kept, closed, replaced
* `errors`      a SQLSTATE and its phase give an outcome (pure)
* `statements`  the generic table, the cursor, the change marks as SQL (pure)
* `jsonb`       canonical text to jsonb and back, doubles and integers apart (pure)
* `catalog`     a mapped table's columns, as the server's catalog describes them (pure)
* `expressions` an update of a mapped table's columns as SQL expressions (pure)
* `mapping`     the writes of a batch, grouped into few statements on mapped tables (pure)
* `rows`        a mapped table's row as a document (pure)
* `connecting`, `applying`, `reading`  the same on a connection; `client` puts it together

docs/postgres.md says what a role needs, and what becomes of each type.
"""
