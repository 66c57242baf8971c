"""Backups of the store, and what becomes of them.

A backup is one SQLite file that holds all that the store held at one commit. It is made beside the running store by a
process of its own (`main`), which only reads: the store commits as if nobody were there, and a slow, full or missing
disk for backups hurts nobody but the backup (`copying`). It is verified before it gets its name (`taking`).

A restore (`restoring`) puts it into a data directory that has no store and begins a new life of it (`store.lives`).
"""
