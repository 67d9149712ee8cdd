"""The REST API under /api/v1: a module for each subject, each with a ``router``."""
