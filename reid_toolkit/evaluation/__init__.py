"""Evaluation of models on datasets whose identities are known."""
