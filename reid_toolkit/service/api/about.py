"""Who asks, and what the gallery holds."""

from typing import Any

from fastapi import APIRouter

from reid_toolkit.service.access import Searcher
from reid_toolkit.service.context import Here
from reid_toolkit.service.desk import Desk, label_of, source_id

router = APIRouter(prefix="/api/v1", tags=["gallery"])
MOST = 1_000
"""At most so many sources are listed: a gallery of crops has a source for each crop."""


@router.get("/whoami")
async def whoami(visitor: Searcher) -> dict[str, Any]:
    """The name and the role of whoever asks. The page also gets "csrf", which it must send with changes."""
    about = {"name": visitor.name, "role": visitor.role}
    return about if visitor.csrf is None else {**about, "csrf": visitor.csrf}


@router.get("/gallery")
async def gallery(visitor: Searcher, here: Here) -> dict[str, Any]:
    """What the gallery holds: records, people, cameras with their times, tags, and sources with the ids that filters
    take."""
    return await here.read(visitor, gallery_document, here.desk)


def gallery_document(desk: Desk) -> dict[str, Any]:
    """What the gallery holds."""
    info, book = desk.info(), desk.book()
    spans = book.camera_times
    sources = [
        {"id": source_id(source), "label": label_of(source), "records": count}
        for source, count in list(info.sources.items())[:MOST]
    ]
    return {
        "gallery": desk.label,
        "records": info.count,
        "people": len(book.by_person),
        "waiting": book.waiting,
        "cameras": [
            {"name": name, "records": count, "first": spans.get(name, (None, None))[0],
             "last": spans.get(name, (None, None))[1]}
            for name, count in info.cameras.items()
        ],
        "tags": list(info.tags), "sources": sources, "more_sources": max(0, len(info.sources) - MOST),
        "first": info.first, "last": info.last, "calibrated": desk.calibrated,
        "camera_statistics": info.statistics["version"] if info.statistics else None,
        "model": label_of(info.model_file or "") or info.model, "dimension": info.dimension,
    }  # fmt: skip
