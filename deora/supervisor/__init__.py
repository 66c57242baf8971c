"""The supervisor: spawns, watches and balances; touches no disk and no upstream.

`main` is the process, `roster` decides what a child's start, hello or end leads to, `arbiter` does it, `spawn` and
`zygote` make children, `process` holds the few system calls that Python lacks, `control` answers about the instance.
"""
