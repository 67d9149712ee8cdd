"""``reid serve``: a gallery as a REST service with a page (docs/service.md). It imports no torch."""
