"""Keeping a process within some of a machine's cores."""

import os
import random


def limit_cores(count: int) -> None:
    """Run on ``count`` cores at most from now on, this thread and those that it starts.

    To be called before numpy and OpenCV are imported, whose threads would otherwise be there already. Which cores is
    left to chance among those allowed, so that two who watch with one core each do not share it. Where the system
    cannot bind threads to cores (macOS, Windows) only OpenCV's own threads are limited.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, random.sample(allowed, min(count, len(allowed))))
    import cv2

    cv2.setNumThreads(count)
