"""Frigate's events as tracklets, by its HTTP API (docs/ingest.md)."""
