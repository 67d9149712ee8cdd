"""Draws footage of synthetic people with known identities, so that the demo and the tests need no download."""
