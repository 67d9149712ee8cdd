"""Measuring models on datasets whose identities are known."""
