"""People: who was where, how many, and how they go from camera to camera."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from reid_toolkit.files import as_name
from reid_toolkit.people.counting import PARTS
from reid_toolkit.people.documents import count_document, routes_document
from reid_toolkit.people.naming import name_of
from reid_toolkit.service.access import Searcher
from reid_toolkit.service.answers import person_document, visits_document
from reid_toolkit.service.context import Here
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.filters import name_in
from reid_toolkit.service.finding import person_of

router = APIRouter(prefix="/api/v1", tags=["people"])


@router.get("/people")
async def listed(
    visitor: Searcher,
    here: Here,
    q: Annotated[str, Query(max_length=100, description="A part of the name, or of the number.")] = "",
    after: Annotated[str | None, Query(max_length=40, description="The cursor of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """Everybody, by number: the document of `reid people list --json`, in pages. Each also has a "picture"."""
    return await here.read(visitor, list_people, here.desk, as_name(q), after, limit)


def list_people(desk: Desk, words: str, after: str | None, limit: int) -> dict[str, Any]:
    """A page of the list."""
    book = desk.grouped()
    begin = 0
    if after is not None:
        if not (after.startswith("p") and after[1:].isascii() and after[1:].isdigit()):
            raise Refusal(400, "cursor: expected the cursor of the page before")
        begin = int(after[1:])
    wanted = words.strip().casefold()
    numbers = [
        one for one in book.by_person
        if one > begin and (wanted in book.name(one).casefold() or wanted in name_of(one, {}))
    ]  # fmt: skip
    shown = numbers[:limit]
    desk.note({"action": "people list"} | ({"words": words} if words else {}))
    rows = [person_document(desk, book, one) for one in shown]
    return {"gallery": desk.label, "people": rows, "after": f"p{shown[-1]}" if len(numbers) > limit else None}


@router.get("/people/count")
async def counted(
    visitor: Searcher, here: Here, by: Annotated[str, Query(max_length=40, description="day,hour,camera")] = ""
) -> dict[str, Any]:
    """How many different people: the document of `reid people count --json`."""
    parts = [part.strip() for part in by.split(",") if part.strip()]
    if any(part not in PARTS for part in parts) or len(set(parts)) < len(parts):
        raise Refusal(422, f"by: expected some of {', '.join(PARTS)}, each once")
    return await here.read(visitor, count, here.desk, parts)


def count(desk: Desk, parts: list[str]) -> dict[str, Any]:
    """The counts."""
    book = desk.grouped()
    desk.note({"action": "people count"})
    return count_document(book.counts(parts), parts, desk.label)


@router.get("/people/routes")
async def moves(visitor: Searcher, here: Here) -> dict[str, Any]:
    """How people move from camera to camera: the document of `reid people routes --json`."""
    return await here.read(visitor, routes, here.desk)


def routes(desk: Desk) -> dict[str, Any]:
    """The routes."""
    book = desk.grouped()
    desk.note({"action": "people routes"})
    return routes_document(book.routes, desk.label)


@router.get("/people/{name}")
async def shown(name: str, visitor: Searcher, here: Here) -> dict[str, Any]:
    """Where a person was: the document of `reid people show --json`. Each visit also has its "records".

    A person can always be named by number, such as person-000012.
    """
    return await here.read(visitor, show_person, here.desk, name_in(name, "name"))


def show_person(desk: Desk, name: str) -> dict[str, Any]:
    """The visits of a person."""
    book = desk.grouped()
    number = person_of(book, name)
    desk.note({"action": "people show", "person": book.name(number)})
    return visits_document(desk, book, number)
