"""Limit a process to some of the machine's cores."""

import os
import random


def limit_cores(count: int) -> None:
    """Run this thread, and the threads that it starts, on at most ``count`` cores from now on.

    Call it before numpy and OpenCV are imported, because they start threads. The cores are chosen at random among those
    allowed, so that two processes with one core each rarely share a core. If the system cannot bind threads to cores
    (macOS, Windows), only OpenCV's own threads are limited.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, random.sample(allowed, min(count, len(allowed))))
    import cv2

    cv2.setNumThreads(count)
