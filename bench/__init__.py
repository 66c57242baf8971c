"""The figures that DEORA promises, each measured beside the peer that it is compared with: `python -m bench`.

A figure is a module with a `TITLE` and `measure(settings)`, which returns rows for the table. What is compared runs in
interleaved pairs on the same machine within the same minutes, and only the ratio of a pair is judged: the absolute
numbers of a busy machine say little. No test depends on these figures.

`measure` holds pairs and load, `processes` starts and ends programs, `instance` runs DEORA, `table` prints.
"""
