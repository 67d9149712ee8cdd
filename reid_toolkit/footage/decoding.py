"""Decodes the pictures of a video file or a stream with FFmpeg, through PyAV."""

import errno
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, SupportsFloat

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.frame import VideoFrame

from reid_toolkit.errors import VideoError
from reid_toolkit.images import Image, stretched

DEFAULT_FRAME_RATE = 25.0
STREAM_TIMEOUT = 15.0
"""Seconds to wait for a stream to open, for each read from it, and for its video while only its sound comes."""
FAILURES = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENOTCONN})
"""Errors of a disk or a network share. They say nothing of the file, which may be read whole the next time."""
MOST_DAMAGE = 1000
"""After this many damaged pieces in a row, the file is considered to be at its end."""


class ReadingError(VideoError):
    """The disk or the network share failed while a file was read."""


def ignore() -> None:
    """Do nothing. The default if damage is not counted."""


def address_of(path: Path) -> str:
    """Return a file's address for FFmpeg, which might misread a bare path with a colon or a leading dash."""
    return f"file:{path}"


class Decoder:
    """An opened file or stream.

    with Decoder(address_of(path)) as decoder:
        for stamp, image in decoder.pictures():
            ...
    """

    def __init__(self, address: str | BinaryIO, *, form: str | None = None, live: bool = False) -> None:
        """Open ``address``: a URL, the result of :func:`address_of`, or an opened file.

        ``form`` is FFmpeg's name of a device or a container, if the address does not show it. ``live`` gives up if
        nothing arrives for :data:`STREAM_TIMEOUT`.

        Raises:
            VideoError: it cannot be opened, has no video, or no decoder for its codec is installed. The message gives
                the reason but not the address, which may hold a password.
        """
        # Over UDP a camera's packets get lost. Other players use TCP by default; FFmpeg does not.
        over_rtsp = isinstance(address, str) and address.startswith(("rtsp:", "rtsps:"))
        options = {"rtsp_transport": "tcp"} if over_rtsp else {}
        timeout = STREAM_TIMEOUT if live else None
        try:
            self.container = av.open(
                address, "r", format=form, options=options, timeout=timeout, metadata_errors="replace"
            )
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
            raise VideoError("no decoder for its codec is installed: convert it, for example to H.264")
        # Frame threads delay the output by as many frames as there are threads, so a live stream uses slice threads.
        self.stream.thread_type = "SLICE" if self.live else "AUTO"
        self.frame_rate = sensible_frame_rate(self.stream.average_rate or self.stream.guessed_rate)
        """Frames per second, as the container declares it."""
        self.frame_count = self.stream.frames or None
        """As the container declares it; None if it does not."""

    def pictures(self, on_damage: Callable[[], None] = ignore) -> Iterator[tuple[float, Image]]:
        """Yield (time stamp, picture) of each frame. The stamp is in seconds, NaN if the frame has none.

        ``on_damage`` is called for each piece that cannot be decoded; reading goes on after it. Raises
        :class:`ReadingError` if the disk or the network share of a file fails (:data:`FAILURES`).
        """
        for packet in self.packets(on_damage):
            yield from self.decoded(packet, on_damage)

    def beats(self) -> Iterator[Image | None]:
        """Yield the pictures of a live stream as they come, and None after each packet that gave none, such as one of
        its sound. So whoever reads it can look at the clock.

        It ends when its video does not come for :data:`STREAM_TIMEOUT`, also if its sound goes on.
        """
        waited, asked = 0.0, time.monotonic()  # only the time in which this waits, not that of who reads it
        for packet in self.packets(ignore):
            is_video = packet.stream.index == self.stream.index
            waited = 0.0 if is_video else waited + time.monotonic() - asked
            if waited > STREAM_TIMEOUT:
                return
            pictures = self.decoded(packet, ignore) if is_video else []
            yield from (image for _, image in pictures)
            if not pictures:
                yield None
            asked = time.monotonic()

    def decoded(self, packet: Packet, on_damage: Callable[[], None]) -> list[tuple[float, Image]]:
        """The pictures in a packet of the video, each after its time stamp."""
        try:
            # Decoders raise many kinds of errors on damaged data.
            return [
                (math.nan if frame.time is None else float(frame.time), as_image(frame)) for frame in packet.decode()
            ]
        except (FFmpegError, OSError, ValueError):
            on_damage()
            return []

    def packets(self, on_damage: Callable[[], None]) -> Iterator[Packet]:
        """Yield the packets of the video in the container's order, then an empty one, which flushes the decoder.

        Of a live stream, yield the packets of its sound too, because FFmpeg's timeout does not notice that only the
        video has stopped.
        """
        streams = () if self.live else (self.stream,)  # none means all
        damaged_in_a_row = 0
        while damaged_in_a_row < MOST_DAMAGE:
            try:
                for packet in self.container.demux(*streams):
                    damaged_in_a_row = 0
                    yield packet
                return
            except InvalidDataError:  # go on with a new iterator, because an iterator that raised has ended
                on_damage()
                damaged_in_a_row += 1
            except (FFmpegError, OSError) as error:  # the stream or the file is at its end
                if not self.live:
                    if error.errno in FAILURES:
                        raise ReadingError(f"reading failed: {reason(error)}") from None
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
    """Return the picture, rotated upright. Grey pictures of more than 8 bits (thermal cameras) are stretched."""
    grey = frame.format.name.startswith("gray") and frame.format.components[0].bits > 8
    image = stretched(frame.to_ndarray()) if grey else frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else np.asarray(image, np.uint8)


def sensible_frame_rate(declared: SupportsFloat | None) -> float:
    """Return the declared rate, or a default: containers without a rate declare nothing, 0, or their time base
    (90,000)."""
    rate = 0.0 if declared is None else float(declared)
    return rate if math.isfinite(rate) and 0.1 <= rate <= 1000 else DEFAULT_FRAME_RATE


def reason(error: Exception) -> str:
    """Return FFmpeg's own message without the address at its end."""
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
