"""People by a detector's file: ``running`` runs it, ``forms`` says what its answers mean, ``file`` is the detector."""
