"""The store: documents, outbox and kept answers in one SQLite file, with one writer.

`main` is the process, `service` its frames, `commits` judges and commits groups of writes, `view` keeps base and view
of each document, `settlements` takes what the replayer learned, `operations` what operators decide, `housekeeping`
prunes, `database` opens and migrates the file, `identity` says whose it is.
"""
