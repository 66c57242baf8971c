"""DEORA: the redundant, offline-first backend of a venue."""

__version__ = "0.1.0"
