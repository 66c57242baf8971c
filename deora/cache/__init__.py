"""Copies that may be lost. `memory` is the first tier, one in each worker; `tiered` asks those behind the store:
`redis`, where it is configured, then `disk`. They hold bytes alone, and `copies` says what the bytes mean.
"""
