"""Groups the records of a gallery into people, with lasting names, counts, routes and corrections (docs/people.md)."""
