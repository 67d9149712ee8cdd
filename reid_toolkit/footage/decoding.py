"""Pictures of a video file or a stream, decoded by FFmpeg through PyAV."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import SupportsFloat

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.frame import VideoFrame

from reid_toolkit.errors import VideoError
from reid_toolkit.images import Image, stretched

DEFAULT_FRAME_RATE = 25.0
STREAM_TIMEOUT = 15.0
"""Seconds to wait for a stream to open, and for each part of it."""
MOST_DAMAGE = 1000
"""Damaged pieces in a row after which a file is taken to be at its end."""


def address_of(path: Path) -> str:
    """A file as FFmpeg takes it: by its path, whatever a colon or a dash in the name looks like."""
    return f"file:{path}"


class Decoder:
    """An opened file or stream.

    with Decoder(address_of(path)) as decoder:
        for stamp, image in decoder.pictures():
            ...
    """

    def __init__(self, address: str, *, form: str | None = None, live: bool = False) -> None:
        """``address`` is a URL, or one of :func:`address_of`; ``form`` is FFmpeg's name of a device or a container,
        where the address does not tell; ``live`` gives up when nothing comes for a while.

        Raises:
            VideoError: it cannot be opened, holds no video, or nothing decodes its codec. The message says which, and
                not what was opened: an address may hold a password.
        """
        # By UDP a camera's packets get lost; so says every player's default but FFmpeg's.
        options = {"rtsp_transport": "tcp"} if address.startswith(("rtsp:", "rtsps:")) else {}
        timeout = STREAM_TIMEOUT if live else None
        try:
            self.container = av.open(address, format=form, options=options, timeout=timeout, metadata_errors="replace")
        except (FFmpegError, OSError) as error:
            raise VideoError(reason(error)) from None
        self.live = live
        try:
            self.open_video()
        except BaseException:
            self.close()
            raise

    def open_video(self) -> None:
        videos = self.container.streams.video
        if not videos:
            raise VideoError("it holds no video")
        self.stream = videos[0]
        if self.stream.codec_context is None:
            raise VideoError("nothing here decodes its codec: convert it, for example to H.264")
        # Threads that take a frame each give it out late, by as many frames as there are threads.
        self.stream.thread_type = "SLICE" if self.live else "AUTO"
        self.frame_rate = sensible_frame_rate(self.stream.average_rate or self.stream.guessed_rate)
        """Frames a second, as declared."""
        self.frame_count = self.stream.frames or None
        """As declared; None where it is not."""

    def pictures(self, on_damage: Callable[[], None] = lambda: None) -> Iterator[tuple[float, Image]]:
        """Yield (time stamp, picture) of each frame; the stamp is in seconds, NaN where there is none.

        ``on_damage`` is called for each piece that cannot be decoded, and what comes after it is read all the same.
        """
        for packet in self.packets(on_damage):
            try:
                # What damage makes decoders raise is of many kinds.
                frames = [
                    (math.nan if frame.time is None else float(frame.time), as_image(frame))
                    for frame in packet.decode()
                ]
            except (FFmpegError, OSError, ValueError):
                on_damage()
                continue
            yield from frames

    def packets(self, on_damage: Callable[[], None]) -> Iterator[Packet]:
        """What the container holds of the video, in its order; at last an empty one, which brings out what waits."""
        damaged_in_a_row = 0
        while damaged_in_a_row < MOST_DAMAGE:
            try:
                for packet in self.container.demux(self.stream):
                    damaged_in_a_row = 0
                    yield packet
                return
            except InvalidDataError:  # go on after it, with another iterator: one that raised is over
                on_damage()
                damaged_in_a_row += 1
            except (FFmpegError, OSError):  # a stream broke, or a disk; no use in going on
                if not self.live:
                    on_damage()
                return

    def close(self) -> None:
        self.container.close()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def as_image(frame: VideoFrame) -> Image:
    """The picture, turned as the camera was held. Deep grey, as of thermal cameras, is stretched to its own range."""
    grey = frame.format.name.startswith("gray") and frame.format.components[0].bits > 8
    image = stretched(frame.to_ndarray()) if grey else frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else np.asarray(image, np.uint8)


def sensible_frame_rate(declared: SupportsFloat | None) -> float:
    """Containers without a rate say nothing, 0 or their time base (90,000)."""
    rate = 0.0 if declared is None else float(declared)
    return rate if math.isfinite(rate) and 0.1 <= rate <= 1000 else DEFAULT_FRAME_RATE


def reason(error: Exception) -> str:
    """FFmpeg's own words, without the address that they end with."""
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
