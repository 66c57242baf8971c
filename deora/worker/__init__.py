"""A worker: parses, validates, authorises, routes and reads. It has no side effect of its own.

It answers a request with a response, or with the writes to commit. `router` is the table of routes, `handlers` one
module for each concern, `reader` reads the store's file, `main` is the process.
"""
