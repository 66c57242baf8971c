"""What a server that speaks Firestore's REST interface holds, seen from outside of DEORA's client."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from deora.upstream.firestore.values import decode_document, documents_root, path_of


class FirestoreView:
    """One project of a server, by blocking calls."""

    def __init__(self, host: str, project: str) -> None:
        self.root = documents_root(project, "(default)")
        self._host = host

    def call(self, method: str, body: Any) -> Any:
        """One call; its JSON. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(
            f"http://{self._host}/v1/{self.root}:{method}",
            json.dumps(body).encode(),
            {"Authorization": "Bearer owner", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def fields(self) -> dict[str, Any]:
        """Path -> Firestore's own JSON of all documents, the cursors among them."""
        answer = self.call("runQuery", {"structuredQuery": {"from": [{"allDescendants": True}]}})
        documents = [part["document"] for part in answer if "document" in part]
        return {path_of(document["name"], self.root): document.get("fields", {}) for document in documents}

    def documents(self) -> dict[str, bytes]:
        """Path -> canonical text of all documents but the cursors."""
        found = self.fields().items()
        return {path: decode_document(fields, self.root) for path, fields in found if not path.startswith("_deora/")}
