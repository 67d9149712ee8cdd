"""The page of `reid serve` (docs/service-page.md). ``router`` holds its routes, and ``error_page`` shows an error."""

from reid_toolkit.service.pages.routes import error_page, router

__all__ = ["error_page", "router"]
