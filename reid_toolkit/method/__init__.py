"""The paper's method, and nothing else: torch in, torch out; no files, no printing (docs/method.md)."""
