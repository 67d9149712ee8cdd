"""What is said about a person before a camera, as one JSON object."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["entered", "seen", "left", "revised", "corrected", "alert"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a person's visit. A visit is the time that a person stays before one camera."""

    kind: Kind
    """``entered`` begins a visit and ``left`` ends it. ``seen`` says that it goes on. ``revised`` says that a tracklet
    shows another person than was said before, or that the person has another name. ``corrected`` says the same of a
    tracklet of a visit that has ended. ``alert`` says that the person is on the watch list, or looks like a picture of
    it."""
    person: str | None
    """The person's name. None if nobody was recognised: then the event is about a tracklet."""
    previous: str | None
    """In ``revised`` and ``corrected``: the person that was named before, None if none was. Else None."""
    state: str | None
    """``known``, ``new`` or ``undecided``. None if nobody tries to recognise people."""
    camera: str
    time: float
    """When it was said, in seconds, as in :class:`reid_toolkit.records.Record`."""
    start: float
    """When the person was first seen in this visit, seconds."""
    end: float
    """When the person was last seen in this visit, seconds."""
    probability: float | None
    """How sure the decision is, 0-1."""
    record: str | None
    """The tracklet of the gallery's record that decided."""
    tracklet: str
    """The tracklet that shows the person. Its record in the gallery has the same name."""
    visit: str
    """All events of a visit have the same visit."""
    key: str
    """Unique. An event that is sent again has the same key."""
    number: str | None = None
    """The person's lasting number, which a new name does not change. None if nobody was recognised."""
    previous_number: str | None = None
    """In ``revised`` and ``corrected``: the number of the person that was named before, None if none was. Else None."""
    watched: str | None = None
    """In ``alert``: the picture or the person of the watch list. Else None."""

    def to_json(self) -> bytes:
        """The event as a JSON object on one line, without a line end, in UTF-8."""
        text = json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)
        return text.encode(errors="replace")  # a name from a file may hold bytes that are not Unicode
