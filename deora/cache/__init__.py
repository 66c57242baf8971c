"""Copies that may be lost. `memory` is the first tier, one in each worker."""
