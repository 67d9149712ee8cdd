"""CVAT for video 1.1: XML with a ``track`` for each person and a ``box`` for each frame.

Frames count from 0, corners are pixels. A box with ``outside="1"`` says that the person is no longer there. The format
has no score. CVAT fills the frames between two boxes of a track when it reads a file, and writes all of them.
"""

from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.tracks import PEOPLE, PERSON, Row, Size, Tracks, as_number, as_whole, collect


def read_cvat(path: Path, content: bytes) -> Tracks:
    """Read tracks. Raises :class:`InputError` if the file is not such XML, or declares a document type: that is how XML
    is made to fill the memory or to read other files, and CVAT writes none."""
    reader = Reader(path)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    reader.parser = parser
    try:
        parser.Parse(content, True)
    except InputError:  # of the reader; it is a ValueError too
        raise
    except expat.ExpatError as error:
        raise InputError(f"{path}: not XML ({error}): expected CVAT for video 1.1") from None
    except (ValueError, LookupError) as error:  # Python looks up what encoding the file names
        raise InputError(
            f"{path}: its encoding cannot be read ({error}): expected CVAT for video 1.1, saved as UTF-8"
        ) from None
    if reader.root != "annotations":
        raise InputError(f"{path}: its first element is {reader.root!r}: expected annotations, of CVAT for video 1.1")
    if reader.images and not reader.rows:
        raise InputError(f"{path}: CVAT for images has no tracks: expected the export CVAT for video 1.1")
    return collect(path, reader.rows, size=reader.size, others=reader.others)


class Reader:
    """Takes what the XML parser finds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parser = expat.ParserCreate()
        self.root = ""
        self.inside: list[str] = []
        """Names of the elements that are open."""
        self.track: dict[str, str] | None = None
        self.written: dict[str, str] = {}
        """Text of width and height in original_size."""
        self.rows: list[Row] = []
        self.images = self.others = 0

    @property
    def size(self) -> Size | None:
        """Size of the frames, if the file says it."""
        if {"width", "height"} <= self.written.keys():
            width, height = (as_whole(self.written[name].strip(), name, str(self.path)) for name in ("width", "height"))
            return width, height
        return None

    def doctype(self, *_: object) -> None:
        raise InputError(f"{self.path}: declares a document type: expected the XML that CVAT writes, which has none")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        self.inside.append(name)
        if name == "image":
            self.images += 1
        elif name == "track":
            self.track = attributes
        elif name == "box" and self.track is not None:
            self.box(self.track, attributes)

    def end(self, name: str) -> None:
        self.inside.pop()
        if name == "track":
            self.track = None

    def text(self, text: str) -> None:
        if len(self.inside) > 1 and self.inside[-2] == "original_size":
            name = self.inside[-1]
            self.written[name] = self.written.get(name, "") + text

    def box(self, track: dict[str, str], box: dict[str, str]) -> None:
        """Take a box."""
        origin = f"{self.path}, line {self.parser.CurrentLineNumber}"
        if box.get("outside") == "1":
            return
        if track.get("label", "").lower() not in PEOPLE:
            self.others += 1
            return
        number, frame = as_whole(track.get("id"), "id", origin), as_whole(box.get("frame"), "frame", origin)
        left, top, right, bottom = (as_number(box.get(name), name, origin) for name in ("xtl", "ytl", "xbr", "ybr"))
        self.rows.append(Row(origin, frame, number, (left, top, right - left, bottom - top), 1.0))


def cvat_text(tracks: Tracks, recording: str) -> str:
    """Write the tracks of one recording. Each ends with a box that is outside, or CVAT would go on with it. A track
    that lasts until the end has no such box, because CVAT refuses frames that the recording does not have."""
    last = max([int(tracks.frames[-1]), (tracks.length or 0) - 1])
    rows: dict[int, list[tuple[int, list[float]]]] = {}
    for frame, number, box in zip(tracks.frames.tolist(), tracks.numbers.tolist(), tracks.boxes.tolist(), strict=True):
        rows.setdefault(number, []).append((frame, box))
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "  <version>1.1</version>",
        "  <meta>",
        f"    <task><name>{escape(recording)}</name>",
        f"      <labels><label><name>{PERSON}</name><attributes></attributes></label></labels>",
    ]
    if tracks.size:
        width, height = tracks.size
        lines.append(f"      <original_size><width>{width}</width><height>{height}</height></original_size>")
    lines += ["    </task>", "  </meta>"]
    for number, boxes in sorted(rows.items()):
        lines.append(f'  <track id="{number}" label="{PERSON}" source="file">')
        lines += [box_line(frame, box, outside=False) for frame, box in boxes]
        frame, box = boxes[-1]
        if frame < last:
            lines.append(box_line(frame + 1, box, outside=True))
        lines.append("  </track>")
    return "\n".join([*lines, "</annotations>"]) + "\n"


def box_line(frame: int, box: list[float], *, outside: bool) -> str:
    """A box of a track as XML."""
    x, y, width, height = box
    corners = f'xtl="{x:.10g}" ytl="{y:.10g}" xbr="{x + width:.10g}" ybr="{y + height:.10g}"'
    return f'    <box frame="{frame}" keyframe="1" outside="{int(outside)}" occluded="0" {corners} z_order="0"></box>'
