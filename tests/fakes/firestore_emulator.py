"""Google's Firestore emulator, where this machine has it: started on a free port, ended by its pid."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bench.processes import Process, answers, free_port

DEBIAN_PACKAGE = "google-cloud-cli-firestore-emulator"
JAR = "cloud-firestore-emulator.jar"
PLACES = (f"usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator/{JAR}",)


def find_jar() -> Path | None:
    """The emulator's jar: DEORA_TEST_FIRESTORE_JAR, else where Debian's package or gcloud puts it."""
    named = os.environ.get("DEORA_TEST_FIRESTORE_JAR")
    if named:
        return Path(named)
    places = [Path("/", place) for place in PLACES]
    gcloud = shutil.which("gcloud")
    if gcloud is not None:
        places.append(Path(gcloud).resolve().parent.parent / "platform" / "cloud-firestore-emulator" / JAR)
    return next((place for place in places if place.is_file()), None)


def start_emulator(folder: Path) -> tuple[str, Process | None]:
    """Host and port of an emulator, and its process where it was started here. Skips where there is none."""
    running = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if running:
        return running, None
    jar = find_jar()
    if jar is None or shutil.which("java") is None:
        pytest.skip(
            f"Google's Firestore emulator is not here: install Debian's {DEBIAN_PACKAGE} and a Java runtime, or name "
            f"its jar in DEORA_TEST_FIRESTORE_JAR, or a running one in FIRESTORE_EMULATOR_HOST"
        )
    port = free_port()
    program = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    command = ["java", "-Xmx384m", "-cp", str(jar), program, "--host", "127.0.0.1", "--port", str(port)]
    process = Process("firestore-emulator", command, folder, {"PATH": os.environ.get("PATH", os.defpath)})
    try:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))
    except BaseException:
        process.stop()
        raise
    return f"127.0.0.1:{port}", process
