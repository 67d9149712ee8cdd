"""A gallery in a folder. SQLite holds the records, and hnswlib the index of a large gallery."""
