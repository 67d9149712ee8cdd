"""Footage to tracklets: reads recordings, detects people, tracks them and stores their crops."""
