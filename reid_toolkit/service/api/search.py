"""Searches."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from reid_toolkit.service.access import Searcher
from reid_toolkit.service.context import Here
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.filters import FILTERS, Wanted, form_of, wanted_of
from reid_toolkit.service.finding import search as answer
from reid_toolkit.service.forms import read_form

router = APIRouter(prefix="/api/v1", tags=["search"])
Several = Annotated[list[str] | None, Query()]
One = Annotated[str | None, Query()]
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "picture": {"type": "array", "items": {"type": "string", "format": "binary"},
                                    "description": "Pictures of one person."},
                        "record": {**TEXT, "description": "Instead of pictures: the id of a record."},
                        "person": {**TEXT, "description": "Instead of pictures: the name of a person."},
                        "camera": TEXTS, "tag": TEXTS, "source": {**TEXTS, "description": "Ids of GET /gallery."},
                        "since": {**TEXT, "description": "Seconds or ISO 8601."}, "until": TEXT,
                        "top_k": {"type": "integer", "minimum": 1, "maximum": 200, "default": 10},
                        "group": {**TEXT, "enum": ["tracklet", "camera"]},
                        "after": {**TEXT, "description": "The cursor of the page before."},
                        "query_camera": TEXT,
                        "false_match_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
                    },
                }
            }
        },
    }
}  # fmt: skip


@router.post("/search", openapi_extra=FORM)
async def search(request: Request, visitor: Searcher, here: Here) -> dict[str, Any]:
    """Search by pictures of one person, by a record, or by a person.

    The answer is the document of `reid search --json`. Each match also has "id", "person", "picture" and "words".
    """
    limits = here.settings.limits
    form = await read_form(request, limits)
    return await here.embed(visitor, answer, here.desk, form, limits)


@router.get("/search/filters")
async def filters(
    request: Request, visitor: Searcher, here: Here, camera: Several = None, since: One = None, until: One = None,
    tag: Several = None, source: Several = None,
) -> dict[str, Any]:  # fmt: skip
    """How many records the filters of a search would leave, in all and for each camera."""
    query = request.query_params
    form = form_of({name: query.getlist(name) for name in query})
    form.refuse_others(FILTERS)
    return await here.read(visitor, left, here.desk, wanted_of(form))


def left(desk: Desk, wanted: Wanted) -> dict[str, Any]:
    """What the filters leave."""
    counts = desk.store.count_passing(wanted.among(desk))
    return {"records": sum(counts.values()), "by_camera": counts}
