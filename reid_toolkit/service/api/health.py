"""Health, readiness, metrics, and the description of the API. Outside of /api/v1."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from reid_toolkit.service.access import Searcher
from reid_toolkit.service.context import Here
from reid_toolkit.service.errors import busy

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers. Needs no token."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(here: Here) -> Response:
    """Whether the gallery and its model can be used. Needs no token, and says nothing but yes or no."""
    if here.stopping:
        raise busy(5, "the service is stopping")
    if problem := await here.readiness.problem():
        raise busy(5, problem)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, visitor: Searcher, here: Here) -> Response:
    """Figures for Prometheus."""
    count = await here.read(visitor, here.desk.store.__len__)
    return Response(request.app.state.metrics.text(count), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request, visitor: Searcher) -> Any:
    """The description of the API."""
    return request.app.openapi()
