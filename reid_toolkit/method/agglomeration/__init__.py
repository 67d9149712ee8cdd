"""The code behind ``merge_clusters``: exact merges within a memory limit.

Each module imports only those named after it: ``bounded`` merges in rounds if the matrix does not fit, with ``sparse``
(near pairs only) or ``dense`` (every pair). ``candidates`` finds the near pairs, ``matrix`` gives rows of the whole
matrix. ``cost`` computes the cost of a merge, ``linkage`` sums distances between clusters, ``distances`` turns them
into whole numbers. ``clusters``, ``cannot_link`` and ``memory`` import none of these.
"""
