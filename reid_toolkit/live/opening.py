"""Opens the videos of a watch."""

from collections.abc import Sequence

from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.footage.frames import Recording
from reid_toolkit.footage.sources import find_sources
from reid_toolkit.storage.transfer import at_once


def open_videos(videos: Sequence[str], folder_frame_rate: float) -> list[Recording]:
    """Open the videos of a watch, all at the same time. Returns a recording for each, in order.

    A stream that does not answer is among them if another video can be opened: a watch opens it again and again, as it
    does with one that breaks later. So a dead camera keeps no other from being watched.

    Raises:
        VideoError: a file cannot be opened, or there are only streams and none answers.
        InputError: one of them is a folder of several videos.
    """
    # Together, because a camera that hangs takes as long as a stream's timeout.
    found = list(at_once(lambda video: find_sources([video], folder_frame_rate), videos, len(videos)))
    for video, sources in zip(videos, found, strict=True):
        if sources.bad and not sources.away:
            raise VideoError(sources.bad[0])
        if len(sources.recordings) > 1:
            raise InputError(
                f"{video}: has {len(sources.recordings)} videos: expected one recording or one stream; name each of "
                "them"
            )
    if all(sources.away for sources in found):
        first = found[0].bad[0]
        raise VideoError(first if len(found) == 1 else f"none of the {len(found)} cameras answers; the first: {first}")
    return [recording for sources in found for recording in sources.recordings + sources.away]
