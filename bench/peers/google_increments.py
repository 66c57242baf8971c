"""`python -m bench.peers.google_increments PROJECT COUNT`: increments by Google's own Python client, one after another.

FIRESTORE_EMULATOR_HOST names the server. Prints how many raised an error; the client's own retries are as it has them.
"""

from __future__ import annotations

import sys

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import firestore


def main() -> None:
    """Increment `bench/counter`."""
    project, count = sys.argv[1], int(sys.argv[2])
    document = firestore.Client(project=project).document("bench/counter")
    failed = 0
    for _ in range(count):
        try:
            document.set({"n": firestore.Increment(1)}, merge=True)
        except GoogleAPICallError:
            failed += 1
    print(failed)


if __name__ == "__main__":
    main()
