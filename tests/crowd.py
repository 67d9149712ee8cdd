"""A dataset of people who are easily told apart, three at once in each camera, and what a run would say of them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tiny_model import HEIGHT, WIDTH

from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.records import Crop

PEOPLE, VISITS, CROPS, AT_ONCE = 9, 3, 4, 3
CAMERAS = ("door", "hall", "yard")
TRACKLETS = len(CAMERAS) * VISITS * PEOPLE


def write_crowd(
    root: Path, seed: int = 0, *, cameras: Sequence[str] = CAMERAS, times: bool = True, identities: bool = False
) -> Path:
    """``cameras`` x ``VISITS`` x ``PEOPLE`` tracklets, called door-0-8 (camera, visit, person); cameras differ in
    light. ``identities`` fills the manifest's column."""
    rng = np.random.default_rng(seed)
    looks = rng.uniform(0, 255, (PEOPLE, HEIGHT, 1, 3))
    light = rng.uniform(-35, 35, (len(cameras), HEIGHT, 1, 3))
    crops = []
    for c, camera in enumerate(cameras):
        for visit in range(VISITS):
            for place, person in enumerate(rng.permutation(PEOPLE)):
                name = f"{camera}-{visit}-{person}"
                for frame in range(CROPS):
                    noise = rng.normal(0, 25, (HEIGHT, 1, 3))
                    image = np.broadcast_to(looks[person] + light[c] + noise, (HEIGHT, WIDTH, 3)).clip(0, 255)
                    path = root / camera / f"{name}-{frame}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(path), image.astype(np.uint8))
                    moment = 1000.0 * visit + 100 * (place // AT_ONCE) + frame
                    crops.append(
                        Crop(
                            path, camera, name, frame, moment if times else None,
                            identity=str(person) if identities else None, recording=camera,
                        )
                    )  # fmt: skip
    write_manifest(root, crops)
    return root


def write_clusters(run: Path) -> Path:
    """The clusters of a run that got everybody right."""
    rows = [
        f"{camera}-{visit}-{person},{camera},{person}"
        for camera in CAMERAS
        for visit in range(VISITS)
        for person in range(PEOPLE)
    ]
    run.mkdir(parents=True)
    (run / "clusters.csv").write_text("\n".join(["tracklet,camera,cluster", *rows]) + "\n")
    return run
