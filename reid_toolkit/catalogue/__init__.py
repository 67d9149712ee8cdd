"""Other projects' models under free licences, which can be downloaded by name (docs/models.md)."""
