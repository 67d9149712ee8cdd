"""The paper's method: torch in, torch out; it reads no files and prints nothing (docs/method.md).

``equations`` has the formulas, ``lookup_table`` the table that training updates, ``merging`` the public functions for
one stage of merging, and ``constraints`` the pairs that may not merge. ``agglomeration/`` does the merges.
"""
