"""Footage to tracklets: read recordings, detect people, track them, store their crops."""
