"""What ``reid watch`` prints: counts as JSON and as lines."""

from typing import TYPE_CHECKING, Any

from reid_toolkit.cli.console import counted, printable

if TYPE_CHECKING:
    from reid_toolkit.live.report import CameraReport, WatchReport


def summary(report: "WatchReport") -> dict[str, Any]:
    """All counts for JSON. A single camera's are flat; several cameras have totals, and a list ``cameras``."""
    from dataclasses import asdict

    totals = {
        **asdict(report.tally),
        **stream_counts(report),
        "seconds": round(report.seconds, 3),
        "cpu_seconds": round(report.cpu_seconds, 3),
        "frames_per_second": round(report.frames_per_second, 2),
        "cores": round(report.cores, 3),
    }
    if len(report.cameras) == 1:
        return totals
    return {**totals, "cameras": [camera_summary(camera, report.seconds) for camera in report.cameras]}


def camera_summary(camera: "CameraReport", seconds: float) -> dict[str, Any]:
    from dataclasses import asdict

    counts = asdict(camera.tally)
    del counts["expired"]  # counted for the whole gallery
    rate = camera.tally.frames / seconds if seconds else 0.0
    named = {"camera": camera.camera, "source": camera.source}
    return {**named, **counts, **stream_counts(camera), "frames_per_second": round(rate, 2)}


def stream_counts(report: "WatchReport | CameraReport") -> dict[str, int]:
    return {"dropped": report.dropped, "reconnects": report.reconnects, "damaged": report.damaged}


def without_frames(report: "WatchReport", before: "WatchReport | None") -> str:
    """Names the cameras of which no frame was seen since an earlier report, without files that have ended; "" if there
    are none."""
    seen = [0] * len(report.cameras) if before is None else [camera.tally.frames for camera in before.cameras]
    silent = [
        printable(camera.camera)
        for camera, frames in zip(report.cameras, seen, strict=True)
        if camera.tally.frames == frames and not camera.ended
    ]
    return f", no frames from {', '.join(silent)}" if silent else ""


def describe(report: "WatchReport") -> str:
    """All cameras together as one line for people."""
    expired = f", {report.expired} past the retention deleted" if report.expired else ""
    return f"{describe_camera(report)}{expired}, {report.frames_per_second:.1f} frames/s on {report.cores:.2f} cores"


def describe_camera(report: "WatchReport | CameraReport") -> str:
    """The counts of a camera, or of all together, as one line for people."""
    tally = report.tally
    again = f", {report.reconnects} reconnects" if report.reconnects else ""
    again += f", {report.damaged} damaged pieces passed over" if report.damaged else ""
    blocked = f", {tally.blocked} left out that were forgotten" if tally.blocked else ""
    blocked += f", {tally.lost} lost" if tally.lost else ""
    replaced = f", {tally.replaced} of an earlier watch deleted" if tally.replaced else ""
    return (
        f"{counted(tally.frames, 'frame')}, {report.dropped} dropped{again}, {counted(tally.tracklets, 'tracklet')}, "
        f"{tally.enrolled} enrolled{blocked}{replaced}"
    )
