"""Models of others under free licences, that can be downloaded by name (models.md)."""
