"""From a camera to a gallery while it runs: detect, track, embed, enroll."""
