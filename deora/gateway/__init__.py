"""The front door: HTTP in, frames out, and back.

`server` owns the connections, `http` checks what came, `balancer` picks a worker, `dispatch` carries one request from
its pick to its answer.
"""
