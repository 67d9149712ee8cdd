"""Person detectors from a model file: ``running`` runs it, ``forms`` interprets its outputs, ``file`` detects."""
