"""Reports on a training run: measures its stages afterwards, and writes a page."""
