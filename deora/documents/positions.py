"""Places in the order of all changes, and the event ids that name them.

    <epoch>-<commit>             behind the last document of a commit; also the version of what that commit changed
    <epoch>-<commit>.<place>     behind an earlier one: the first document of a commit has place 1

The place counts all documents of a commit, whatever a stream shows of them. So an id means the same under each filter,
and who goes on behind it gets what follows: nothing twice, nothing left out.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# Behind all documents of a commit.
WHOLE: Final = 2**31
_ID: Final = re.compile(r"([0-9a-z]{1,32})-(0|[1-9][0-9]{0,18})(?:\.([1-9][0-9]{0,5}))?", re.ASCII)
_COMMIT: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Position(NamedTuple):
    """Behind this document of this commit. Positions compare as they follow one another."""

    commit: int
    place: int = WHOLE

    @property
    def whole_commit(self) -> int:
        """The last commit of which nothing is left."""
        return self.commit if self.place == WHOLE else self.commit - 1

    def event_id(self, epoch: str) -> str:
        """The id of an event that ends here."""
        return f"{epoch}-{self.commit}" if self.place == WHOLE else f"{epoch}-{self.commit}.{self.place}"


def parse_event_id(text: str) -> tuple[str, Position] | None:
    """The epoch and the position of an event id; None for what is none."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    epoch, commit, place = match.groups()
    return epoch, Position(int(commit), int(place) if place else WHOLE)


def parse_commit(text: str) -> Position | None:
    """The position behind a commit that is named by its number alone; None for what is no number."""
    return Position(int(text)) if _COMMIT.fullmatch(text) is not None else None
