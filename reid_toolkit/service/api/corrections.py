"""Corrections: same, not, split, name, undo, which questions to answer, grouping, and forgetting a person."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from reid_toolkit.people.documents import corrections_document
from reid_toolkit.service import correcting
from reid_toolkit.service.access import Admin, Reviewer, Searcher
from reid_toolkit.service.context import Here
from reid_toolkit.service.desk import Desk

router = APIRouter(prefix="/api/v1", tags=["corrections"])
MOST = 50
"""Questions that are asked at once. They are kept until people or records change."""
Text = Annotated[str, Field(min_length=1, max_length=300)]
Name = Annotated[str, Path(max_length=200)]


class Pair(BaseModel):
    """Two people or records: names, or ids of records."""

    model_config = ConfigDict(extra="forbid")
    first: Text
    second: Text


class Some(BaseModel):
    """Some records of a person: tracklets, or ids of records."""

    model_config = ConfigDict(extra="forbid")
    records: Annotated[list[Text], Field(min_length=1, max_length=1000)]


class NewName(BaseModel):
    """A name, or null to take it away."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=300)] | None


class Grouping(BaseModel):
    """How to group."""

    model_config = ConfigDict(extra="forbid")
    anew: bool = False


@router.get("/people/review")
async def review(visitor: Reviewer, here: Here, limit: Annotated[int, Query(ge=1, le=MOST)] = 20) -> dict[str, Any]:
    """The pairs of records whose answer teaches most. "now" says whether they are one person in the gallery now."""
    questions = await here.change(visitor, correcting.questions, here.desk, partial(here.review, visitor.name, MOST))
    return {"gallery": here.desk.label, "questions": questions[:limit]}


@router.get("/people/corrections")
async def listed(visitor: Searcher, here: Here) -> dict[str, Any]:
    """The corrections: the document of `reid people corrections --json`."""
    return await here.read(visitor, listed_now, here.desk)


def listed_now(desk: Desk) -> dict[str, Any]:
    """The corrections, also those of records that came a moment ago."""
    book = desk.book()
    if any(digest not in book.records for one in book.people.corrections for digest in (one.first, one.second)):
        book = desk.book(at_once=True)
    return corrections_document(book, desk.label)


@router.delete("/people/corrections/{name}")
async def undo(name: Name, visitor: Reviewer, here: Here) -> dict[str, Any]:
    """Take a correction back, such as c-3, or all of a split, such as c-3..c-9.

    The records that it concerns are grouped again.
    """
    return await here.change(visitor, correcting.undo, here.desk, here.grouper, visitor.name, name)


@router.post("/people/same")
async def same(pair: Pair, visitor: Reviewer, here: Here) -> dict[str, Any]:
    """Say that two people or records are one person. They become one now.

    "person" and "number" say who it is from now on, because one of the two numbers is gone. Use them in the next call.
    They are null for records that have no person yet.
    "grouped" is false if records that do not obey the correction could not be grouped again now.
    """
    return await here.change(
        visitor, correcting.say, here.desk, here.grouper, visitor.name, "same", pair.first, pair.second
    )


@router.post("/people/not")
async def different(pair: Pair, visitor: Reviewer, here: Here) -> dict[str, Any]:
    """Say that two people or records are not one person. The records of one person are grouped again now.

    "person" and "number" say who the "first" of the answer shows now.
    """
    return await here.change(
        visitor, correcting.say, here.desk, here.grouper, visitor.name, "different", pair.first, pair.second
    )


@router.post("/people/group")
async def group(visitor: Admin, here: Here, how: Grouping | None = None) -> dict[str, Any]:
    """Give each record a person: the document of `reid people group --json`. Only one grouping runs at a time."""
    anew = how is not None and how.anew
    return await here.change(visitor, correcting.group, here.desk, here.grouper, visitor.name, anew=anew)


@router.post("/people/{name}/split")
async def split(name: Name, some: Some, visitor: Reviewer, here: Here) -> dict[str, Any]:
    """Make a new person of some records of a person."""
    return await here.change(visitor, correcting.split, here.desk, visitor.name, name, some.records)


@router.post("/people/{name}/name")
async def rename(name: Name, new: NewName, visitor: Reviewer, here: Here) -> dict[str, Any]:
    """Give a person a name, or take it away with null."""
    return await here.change(visitor, correcting.rename, here.desk, name, new.name)


@router.delete("/people/{name}")
async def forget(name: Name, visitor: Admin, here: Here) -> dict[str, Any]:
    """Delete all records of a person for good, and keep them from coming back."""
    return await here.change(visitor, correcting.forget, here.desk, name)
