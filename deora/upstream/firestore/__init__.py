"""Cloud Firestore as an upstream, over its REST interface (`google.firestore.v1`), the emulator included.

* `values`       a document's canonical text and Firestore's typed JSON values, both ways
* `writes`       the entries of a batch as the writes of one `:commit`, and what must hold before them
* `cursors`      the cursor document, written first in each commit
* `queries`      the bodies of reads, and what their answers hold
* `errors`       an answer's `error.status` and what it means; a wrong clock
* `limits`       what Firestore will refuse, told at the door
* `credentials`  access tokens of a service account
* `resolver`     names to addresses, without holding up the process's end
* `rest`         one call: connection, token, answer or failure
* `client`       the upstream itself, made of these

All but the last four are pure. Facts about Firestore are from its REST reference and its page "Usage and limits".
"""
