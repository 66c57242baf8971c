"""Google's Firestore emulator, where this machine has it: started on a free port, ended by its pid."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from bench.processes import NotMeasuredError, Process, answers, free_port

DEBIAN_PACKAGE: Final = "google-cloud-cli-firestore-emulator"
JAR: Final = "cloud-firestore-emulator.jar"
DEBIAN_PLACE: Final = Path("/usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator", JAR)
PROGRAM: Final = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


def find_jar() -> Path | None:
    """The emulator's jar: DEORA_TEST_FIRESTORE_JAR, else where Debian's package or gcloud puts it."""
    named = os.environ.get("DEORA_TEST_FIRESTORE_JAR")
    if named:
        return Path(named)
    places = [DEBIAN_PLACE]
    gcloud = shutil.which("gcloud")
    if gcloud is not None:
        places.append(Path(gcloud).resolve().parent.parent / "platform" / "cloud-firestore-emulator" / JAR)
    return next((place for place in places if place.is_file()), None)


def start_emulator(folder: Path) -> tuple[str, Process]:
    """Host and port of an emulator, and its process. Raises NotMeasuredError where there is none on this machine."""
    jar = find_jar()
    if jar is None or shutil.which("java") is None:
        raise NotMeasuredError(
            f"Google's Firestore emulator is not here: install Debian's {DEBIAN_PACKAGE} and a Java runtime, or name "
            "its jar in DEORA_TEST_FIRESTORE_JAR"
        )
    port = free_port()
    command = ["java", "-Xmx384m", "-cp", str(jar), PROGRAM, "--host", "127.0.0.1", "--port", str(port)]
    process = Process("firestore-emulator", command, folder, {"PATH": os.environ.get("PATH", os.defpath)})
    try:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))
    except BaseException:
        process.stop()
        raise
    return f"127.0.0.1:{port}", process
