"""Does the same work on many units: in this process, in several processes, or on a Ray cluster."""
