"""Upstreams: where writes finally go. `base` is the protocol that all of them keep, and the contract suite tests."""
