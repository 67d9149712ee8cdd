"""The properties that a Milvus collection stores about itself. Each is a string. A missing property counts as empty."""

import secrets
from collections.abc import Mapping

FORMAT = "reid.gallery"
"""The kind of collection: "1" is a gallery; those of the next line are parts of a gallery."""
STATISTICS, COMPARED, BLOCKED, PEOPLE = "statistics", "compared", "blocked", "people"
"""Kinds of collections beside a gallery: camera statistics, the records with these statistics applied, the block list,
and people.
"""
OF = "reid.of"
"""In a part: the name of the gallery's own collection."""
MODEL, MODEL_FILE = "reid.model", "reid.model_file"
"""Fingerprint of the model, and the path of its file."""
COPIED = "reid.copied"
"""From which gallery this one was copied, and the checksum of all records at the end of that."""
RETENTION = "reid.retention"
"""Seconds after which records are hidden from searches. Empty for never."""
VERSION = "reid.statistics"
"""Version of the camera statistics that searches use. Empty for none. Versions count from 1, and end in "_" and random
digits, because two processes may begin a version with the same number at the same time."""
NEXT = "reid.statistics_next"
"""The version that is being filled. Writers write to it too. Equal to ``VERSION`` when it is finished."""
LAST = "reid.statistics_last"
"""The last version that was begun. No number is used twice, because cursors of pages hold the number."""
SEEN = "reid.statistics_seen"
"""JSON: the number of records of each camera at the last fit."""
BUSY = "reid.statistics_busy"
"""Unix time of the last sign of life of a process that makes a new version. Empty if there is no such process."""


def number_of(version: str) -> int:
    """The number of a version. 0 for none."""
    return int(version.partition("_")[0] or 0)


def versions(properties: Mapping[str, str], *names: str) -> list[str]:
    """The versions in these properties, each once."""
    return sorted({properties.get(name) or "" for name in names} - {""})


def following(properties: Mapping[str, str]) -> str:
    """A new version, with a number after all others."""
    return f"{1 + max(map(number_of, ['', *versions(properties, VERSION, LAST)]))}_{secrets.token_hex(4)}"
