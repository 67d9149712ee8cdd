"""A gallery in a folder: SQLite is the record, hnswlib the index of a large one."""
