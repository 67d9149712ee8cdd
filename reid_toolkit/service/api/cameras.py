"""Cameras and their statistics."""

from typing import Any

from fastapi import APIRouter

from reid_toolkit.search.documents import cameras_document
from reid_toolkit.service.access import Searcher
from reid_toolkit.service.context import Here
from reid_toolkit.service.desk import Desk

router = APIRouter(prefix="/api/v1", tags=["gallery"])


@router.get("/cameras")
async def cameras(visitor: Searcher, here: Here) -> dict[str, Any]:
    """The cameras: the document of `reid gallery cameras --json`."""
    return await here.read(visitor, statistics, here.desk)


def statistics(desk: Desk) -> dict[str, Any]:
    """The statistics of each camera."""
    return cameras_document(desk.store.statistics(), desk.info(), desk.label)
