"""The machine behind ``merge_clusters``: every merge by exact whole-number sums, in the memory given to it."""
