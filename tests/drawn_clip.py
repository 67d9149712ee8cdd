"""Small clips made by PyAV, for what OpenCV's writer cannot make: times of frames, codecs, devices."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    times: Sequence[float] | None = None,
    codec: str = "mjpeg",
    rate: int = 10,
    rotation: int = 0,
    pixels: str = "yuvj420p",
    form: str = "bgr24",
    **options: str,
) -> Path:
    """Write pictures, each at its time in seconds, or ``rate`` a second."""
    with av.open(str(path), "w") as out:
        stream = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = out.add_stream(codec, rate=rate, options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixels
                stream.codec_context.time_base = Fraction(1, 1000)
                if rotation:
                    stream.set_display_rotation(rotation)
            frame = av.VideoFrame.from_ndarray(picture, format=form).reformat(format=pixels)
            frame.pts = round(1000 * (times[number] if times else number / rate))
            frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode(None))
    return path


def with_sound(video: Path, path: Path, seconds: int) -> Path:
    """A recording whose sound goes on for ``seconds``, however early its video ends."""
    with av.open(str(video)) as source, av.open(str(path), "w") as out:
        pictures, sound = out.add_stream_from_template(source.streams.video[0]), out.add_stream("mp2", rate=16_000)
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = pictures
            out.mux(packet)
        for number in range(seconds * 16_000 // 1152):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, number * 1152, Fraction(1, 16_000)
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return path


def as_stream(path: Path) -> str:
    """A file as if it came from elsewhere."""
    return f"async:{path.as_uri()}"
