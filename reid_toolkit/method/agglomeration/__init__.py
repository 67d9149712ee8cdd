"""The machine behind ``merge_clusters``: exact merges within a limit of memory.

Imports lead down this list: ``bounded`` merges in rounds where the matrix does not fit, with ``sparse`` (near
pairs only) and ``dense`` (every pair). ``candidates`` finds the near pairs, ``matrix`` gives rows of the whole
matrix. ``cost`` prices a merge, ``linkage`` sums distances between clusters, ``distances`` makes them whole
numbers. ``clusters``, ``cannot_link`` and ``memory`` stand on nothing.
"""
