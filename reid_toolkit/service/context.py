"""What the routes of the API and of the page have in common: the gallery, the threads, and the settings."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import Depends, Request

from reid_toolkit.errors import ReidError
from reid_toolkit.service.access import Visitor
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.grouping import Grouper
from reid_toolkit.service.readiness import Readiness
from reid_toolkit.service.settings import Settings
from reid_toolkit.service.work import Pool

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Context:
    """A running service."""

    settings: Settings
    desk: Desk
    embedding: Pool
    """For requests that describe pictures."""
    reading: Pool
    """For other requests."""
    pictures: Pool
    """For the pictures of records. A proxy that speaks HTTP/2 passes on at once all that a view wants, about a hundred,
    so as many may wait as there may be connections."""
    slow: Pool
    """For what takes minutes in a large gallery: grouping, and deleting for good."""
    grouper: Grouper
    readiness: Readiness
    stopping: bool = False
    """Whether streams should end."""
    began: float = field(default_factory=time.time)
    streams: int = 0
    """Clients that follow events."""
    _review: Any = None

    @classmethod
    def of(cls, settings: Settings, desk: Desk) -> "Context":
        """A service for an open gallery."""
        limits = settings.limits
        return cls(
            settings, desk,
            Pool("embedding", limits.embedding, limits.queue, limits.answer_seconds),
            Pool("reading", limits.reading, limits.queue, limits.answer_seconds),
            Pool("pictures", limits.reading, limits.connections, limits.answer_seconds),
            Pool("slow", 2, 8, limits.group_seconds), Grouper(settings.gallery, limits.group_seconds),
            Readiness(desk, limits.answer_seconds),
        )  # fmt: skip

    async def read(self, visitor: Visitor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of the library in a thread. Raises :class:`Refusal` for its errors, and if it takes too
        long."""
        return await self._run(self.reading, visitor, function, *args, **kwargs)

    async def embed(self, visitor: Visitor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """:meth:`read`, for what describes pictures."""
        return await self._run(self.embedding, visitor, function, *args, **kwargs)

    async def show(self, visitor: Visitor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """:meth:`read`, for a picture."""
        return await self._run(self.pictures, visitor, function, *args, **kwargs)

    async def change(self, visitor: Visitor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """:meth:`read`, for what may take minutes."""
        return await self._run(self.slow, visitor, function, *args, **kwargs)

    async def _run(
        self, pool: Pool, visitor: Visitor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            return await pool.run(visitor.name, function, *args, **kwargs)
        except ReidError as error:
            raise self.desk.refusal(error) from error

    def review(self, who: str, number: int) -> Any:
        """The document of `reid people review --json`. It is kept until people or records change."""
        store = self.desk.store
        held = self._review
        if held is not None and not store.people.changed(held[0]) and len(store) == held[1]:
            return held[2]
        people, count = store.people.read(), len(store)
        document = self.grouper.run(who, "review", "--top-k", str(number), "--json")
        self._review = people, count, document
        return document

    def close(self) -> None:
        """Finish what runs, and close the gallery."""
        self.grouper.close()
        self.slow.close()
        self.embedding.close()
        self.reading.close()
        self.pictures.close()
        self.readiness.close()
        self.desk.close()


def context_of(request: Request) -> Context:
    """The service that a request belongs to."""
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(context_of)]
