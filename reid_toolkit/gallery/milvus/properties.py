"""The properties by which a collection of Milvus says what it is. Each is a text; what is not set counts as empty."""

import secrets
from collections.abc import Mapping

FORMAT = "reid.gallery"
"""What it is: "1" is a gallery, ``STATISTICS``, ``COMPARED`` and ``BLOCKED`` are parts of one."""
STATISTICS, COMPARED, BLOCKED = "statistics", "compared", "blocked"
"""Kinds of collections beside a gallery's: camera statistics, the records as they are compared by these, and the block
list."""
OF = "reid.of"
"""Of a part: the name of the gallery's own collection."""
MODEL, MODEL_FILE = "reid.model", "reid.model_file"
"""Fingerprint of the model, and where that lies."""
RETENTION = "reid.retention"
"""For how many seconds records are shown; empty for ever."""
VERSION = "reid.statistics"
"""Version of the camera statistics that searches use; empty for none. Versions count from 1, and end in "_" and some
random digits: two processes may begin one of the same number at the same time."""
NEXT = "reid.statistics_next"
"""The version that is being filled, which writers write to as well; equal to ``VERSION`` when that is done."""
LAST = "reid.statistics_last"
"""The last version that was begun. No number that was used is used again: cursors of pages know versions by it."""
SEEN = "reid.statistics_seen"
"""JSON: how many records each camera had when statistics were last fitted."""
BUSY = "reid.statistics_busy"
"""Unix time of the last sign of life of a process that makes a new version; empty when none does."""


def number_of(version: str) -> int:
    """The number of a version; 0 of none."""
    return int(version.partition("_")[0] or 0)


def versions(properties: Mapping[str, str], *names: str) -> list[str]:
    """The versions that these properties name, each once."""
    return sorted({properties.get(name) or "" for name in names} - {""})


def following(properties: Mapping[str, str]) -> str:
    """A version after all others."""
    return f"{1 + max(map(number_of, ['', *versions(properties, VERSION, LAST)]))}_{secrets.token_hex(4)}"
