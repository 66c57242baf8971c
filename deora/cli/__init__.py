"""The command line `deora`: one module for each group of commands.

Commands that act on a running instance speak HTTP over its control socket (`client`), never to its database. What
they show is made in two steps: `screens` turns the server's JSON into blocks of words and cells without knowing the
terminal, and `blocks` fits those to the width there is. rich is imported only where a table is drawn, so that
`deora version` and `deora health` start fast.

Exit codes: 0 fine, 1 failed, 2 usage, 3 not running; `deora health`: 0 healthy, 1 degraded, 2 down, 3 not running.
"""
