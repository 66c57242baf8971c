"""The store: documents, outbox and kept answers in one SQLite file, with one writer.

`main` is the process, `commits` judges and commits groups of writes, `view` keeps base and view of each document,
`settlements` takes what the replayer learned, `housekeeping` prunes, `database` opens and migrates the file.
"""
