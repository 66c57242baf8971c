"""What PostgreSQL's error codes mean for a batch. Pure.

The code's class (its first two characters) decides; the table is "Appendix A. PostgreSQL Error Codes" of its manual.
What is not known is transient: it is tried again, and a batch that fails ten times while the cursor can be moved counts
as refused all the same (deora.replay.lane).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from deora.upstream.base import Failure, Unauthorised, Unclear


class Kind(Enum):
    """What to do about an error.

    TRANSIENT: wait and try again. SETUP: credentials, grants, a missing database: wait for a person. DOCUMENT: what was
    written is refused for good. RACE: rolled back because of others; at once again. READ_ONLY: the server, or the role,
    takes no writes. STALE: the tables are not as they were when they were last looked at.
    """

    TRANSIENT = "transient"
    SETUP = "setup"
    DOCUMENT = "document"
    RACE = "race"
    READ_ONLY = "read only"
    STALE = "stale"


INSUFFICIENT_PRIVILEGE: Final = "42501"

_BY_CODE: Final = {
    "0A000": Kind.DOCUMENT,  # feature_not_supported; a cached plan that is stale is found before it gets here
    "25006": Kind.READ_ONLY,  # read_only_sql_transaction
    "3D000": Kind.SETUP,  # invalid_catalog_name: no such database
    "3F000": Kind.SETUP,  # invalid_schema_name
    INSUFFICIENT_PRIVILEGE: Kind.SETUP,
    "42703": Kind.STALE,  # undefined_column
    "42P01": Kind.STALE,  # undefined_table
    "42P10": Kind.STALE,  # ON CONFLICT finds no unique key any more
    "42704": Kind.STALE,  # undefined_object: a type that was dropped
    "42804": Kind.STALE,  # datatype_mismatch
    "42883": Kind.STALE,  # undefined_function: no such operator for a column's type
    "P0001": Kind.DOCUMENT,  # raise_exception in a trigger of the user's
}
_BY_CLASS: Final = {
    "09": Kind.DOCUMENT,  # triggered action exception
    "21": Kind.DOCUMENT,
    "22": Kind.DOCUMENT,  # data exception
    "23": Kind.DOCUMENT,  # integrity constraint violation
    "27": Kind.DOCUMENT,
    "28": Kind.SETUP,  # invalid authorisation
    "38": Kind.DOCUMENT,
    "39": Kind.DOCUMENT,
    "40": Kind.RACE,  # transaction rollback: serialization, deadlock
    "42": Kind.DOCUMENT,
    "44": Kind.DOCUMENT,  # WITH CHECK OPTION of a view
    "54": Kind.DOCUMENT,  # program limit exceeded: an index entry that is too large
    "P0": Kind.DOCUMENT,
}
# Their detail is the whole row; the codes are asked, since the words depend on the server's language.
_DETAIL_IS_THE_ROW: Final = frozenset({"23502", "23514", "44000"})


def kind_of_code(sqlstate: str) -> Kind:
    """What an error code means where a document is written."""
    found = _BY_CODE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2])
    return found or Kind.TRANSIENT


def worded(sqlstate: str, message: str, detail: str | None) -> str:
    """PostgreSQL's own words. A detail that would show the whole row is left out."""
    if not detail or sqlstate in _DETAIL_IS_THE_ROW:
        return message
    return f"{message}: {detail}"


def failure(where: str, sqlstate: str, message: str, *, several_hosts: bool = False) -> Failure:
    """What an error outside of any document means: while connecting, on the cursor, on a read.

    `where` names the database. With `several_hosts`, a server that takes no writes is left for another one.
    """
    kind = kind_of_code(sqlstate)
    if kind is Kind.READ_ONLY:
        if several_hosts:
            return Unclear(f"{where}: the server has become read-only; looking for one that takes writes")
        return Unauthorised(
            f"{where}: {message}. The server or the role is read-only: name all servers in the URL (host1,host2), or"
            " end the role's default_transaction_read_only"
        )
    if kind in (Kind.SETUP, Kind.DOCUMENT):
        return Unauthorised(f"{where}: {message}")
    return Unclear(f"{where}: {message}")
