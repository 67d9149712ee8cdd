"""Crops without end to descriptors on the disk, with several processes on this machine and on others."""
