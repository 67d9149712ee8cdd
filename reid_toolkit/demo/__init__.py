"""Footage of synthetic people with the truth beside it, so that the demo and the tests need no download."""
