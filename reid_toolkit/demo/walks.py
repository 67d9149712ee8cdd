"""Plans who crosses a camera's picture and when, and where they are in each frame."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.demo.cameras import Camera
from reid_toolkit.demo.people import Person

EMPTY = 1.5
"""Seconds before the first person comes, so that a background model can learn the empty scene."""
STRIDE = 0.82
"""Length of two steps, in body heights."""
AT_ONCE = 4
"""The most people who walk in one camera at the same time."""


@dataclass(frozen=True)
class Step:
    """A walker in one frame."""

    person: Person
    x: float
    """Position of the feet, as a fraction of the picture's width."""
    y: float
    """Position of the feet, as a fraction of the picture's height. Walkers with a larger y are nearer."""
    heading: float
    """Direction in radians: 0 towards the camera, pi/2 to the right, pi away."""
    phase: float
    """Phase of the walk in radians; 2 pi is two steps."""


def plan_walks(
    camera: Camera,
    people: tuple[Person, ...],
    visits: int,
    aspect: float,
    fps: float,
    rng: np.random.Generator,
) -> list[list[Step]]:
    """Return the people in each frame, farthest first. Each crosses ``visits`` times, never twice at the same time.

    ``aspect`` is the picture's width divided by its height.
    """
    frames: list[list[Step]] = []
    leaving = [0] * AT_ONCE  # the frame in which each of the last walkers is gone
    gone = dict.fromkeys(people, 0)
    start = round(EMPTY * fps)
    way = 0
    for _ in range(visits):
        for index in rng.permutation(len(people)):
            person = people[index]
            # Never the route of the walker before, because people in file would hide each other all the way.
            way = (way + int(rng.integers(1, len(camera.routes)))) % len(camera.routes)
            route = camera.routes[way]
            jitter = rng.uniform((-0.03, -0.015), (0.03, 0.015))
            points = np.array(route) + jitter * [[0], *[[1]] * (len(route) - 2), [0]]
            if rng.random() < camera.reversal:
                points = points[::-1]
            steps = walk(camera, person, points, float(rng.uniform(0.95, 1.2)), aspect, fps, rng)
            start = max(start, min(leaving), gone[person] + round(fps))
            leaving[leaving.index(min(leaving))] = gone[person] = start + len(steps)
            frames.extend([] for _ in range(start + len(steps) - len(frames)))
            for frame, step in enumerate(steps, start):
                frames[frame].append(step)
            start += round(float(rng.uniform(0.8, 3.0)) * fps)
    frames.extend([] for _ in range(round(0.5 * fps)))
    for crowd in frames:
        crowd.sort(key=lambda step: step.y)
    return frames


def walk(
    camera: Camera,
    person: Person,
    points: NDArray[np.float64],
    speed: float,
    aspect: float,
    fps: float,
    rng: np.random.Generator,
) -> list[Step]:
    """Follow ``points`` (P, 2) at ``speed`` body heights per second, frame by frame."""
    way = rounded_corners(points)
    deepen = 1 / math.sin(camera.elevation)  # depth on the ground is foreshortened in the picture
    x, y = way[0]
    phase = float(rng.uniform(0, 2 * math.pi))
    steps = []
    ahead = 1
    while ahead < len(way):
        across, along = (way[ahead][0] - x) * aspect, (way[ahead][1] - y) * deepen
        heading = math.atan2(across, along)
        steps.append(Step(person, float(x), float(y), heading, phase))
        height = camera.person_height(y) * person.height
        phase += 2 * math.pi * speed / fps / STRIDE
        left = speed * height / fps  # as a fraction of the picture's height
        while ahead < len(way):
            across, along = (way[ahead][0] - x) * aspect, (way[ahead][1] - y) * deepen
            distance = math.hypot(across, along)
            if distance > left:  # and stop: a remainder of `left` from rounding would never be walked off
                x, y = x + left / distance * (way[ahead][0] - x), y + left / distance * (way[ahead][1] - y)
                break
            x, y = way[ahead]
            left -= distance
            ahead += 1
    return steps


def rounded_corners(points: NDArray[np.float64], rounds: int = 4) -> NDArray[np.float64]:
    """Cut corners (Chaikin), so that people turn over a few steps. The ends stay."""
    for _ in range(rounds):
        a, b = points[:-1], points[1:]
        cut = np.stack((0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b), axis=1).reshape(-1, 2)
        points = np.concatenate((points[:1], cut[1:-1], points[-1:]))
    return points
