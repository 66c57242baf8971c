"""The configuration: its schema, where values come from, and what is made of both.

The schema is data. `fields` says what a specification is, `formats` which texts there are; `database`, `security` and
`schema` are the tables. All else walks over them: `reading` (plain values to sections, noting every fault),
`sections` (and back, with or without secrets), `layers`, `variables` and `named` (files and variables laid over each
other), `checks` (across keys), `load` (all of it), `template` and `document` (default files and documentation).

A process that is handed its configuration in a frame needs `schema` alone.
"""
