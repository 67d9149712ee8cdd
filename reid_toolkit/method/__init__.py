"""The paper's method, and nothing else: torch in, torch out; no files, no printing (docs/method.md).

``equations`` has the formulas, ``lookup_table`` the table that training moves, ``merging`` the public function of a
stage of merging, and ``constraints`` the pairs that may not merge. ``agglomeration/`` does the merges.
"""
