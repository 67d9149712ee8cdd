"""The three cameras: their colours, their points of view, and the routes of people through their pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.demo import scenes
from reid_toolkit.images import Image

Route = tuple[tuple[float, float], ...]
"""Path of the feet from outside the picture to outside: (x, y) in fractions of the picture."""

LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # weights of B, G, R (Rec. 601)


@dataclass(frozen=True)
class Camera:
    """A fixed camera. Positions are fractions of the picture; x grows to the right, y down."""

    name: str
    paint: Callable[[scenes.Painting], None]
    far: tuple[float, float]
    """y of the feet of the farthest walker, and a person's height there, as fractions of the picture's height."""
    near: tuple[float, float]
    elevation: float
    """Angle by which it looks down, in radians."""
    routes: tuple[Route, ...]
    reversal: float
    """Probability, 0-1, that a route is walked in the other direction."""
    gains: tuple[float, float, float]
    """White balance and exposure: factors of blue, green and red."""
    gamma: float
    """Values over 1 darken the middle tones."""
    saturation: float
    """0 is grey, 1 leaves colours as they are."""
    light: tuple[float, float]
    """Brightness of people at the left and the right edge."""
    blur: float
    """Standard deviation of the lens blur, pixels of a 288-line picture."""
    noise: float
    """Standard deviation of the sensor noise, grey levels."""

    def person_height(self, y: float) -> float:
        """Return the height of a person whose feet are at ``y``, as a fraction of the picture's height."""
        (far, small), (near, large) = self.far, self.near
        return small + (large - small) * (y - far) / (near - far)

    def background(self, width: int, height: int, rng: np.random.Generator) -> Image:
        """Paint the empty scene as the eye sees it, before :meth:`develop`."""
        painting = scenes.Painting(np.zeros((2 * height, 2 * width, 3), np.uint8), rng)
        self.paint(painting)
        return painting.done()

    def colour_matrix(self) -> NDArray[np.float32]:
        """Return (3, 3) for BGR: saturation, then gains."""
        mix = self.saturation * np.eye(3, dtype=np.float32) + (1 - self.saturation) * LUMA
        return np.array(self.gains, np.float32)[:, None] * mix

    def develop(self, image: Image) -> Image:
        """Return the scene with this camera's lens and colours, before noise."""
        sigma = self.blur * image.shape[0] / 288
        curve = (255 * (np.arange(256) / 255) ** self.gamma).round().astype(np.uint8)
        coloured = cv2.transform(cv2.GaussianBlur(image, (0, 0), sigma), self.colour_matrix())
        return np.asarray(cv2.LUT(coloured, curve), np.uint8)


CAMERAS = {
    camera.name: camera
    for camera in (
        Camera(  # across the square, seen from the side; cold, pale daylight
            "north",
            scenes.paint_square,
            far=(0.6, 0.34),
            near=(0.97, 0.5),
            elevation=0.26,
            routes=(
                ((-0.14, 0.64), (1.14, 0.68)),
                ((-0.14, 0.78), (0.5, 0.8), (1.14, 0.74)),
                ((-0.14, 0.94), (1.14, 0.9)),
                ((-0.14, 0.66), (0.4, 0.7), (0.6, 0.86), (1.14, 0.9)),
            ),
            reversal=0.4,
            gains=(1.1, 1.01, 0.9),
            gamma=0.9,
            saturation=0.74,
            light=(0.92, 1.04),
            blur=0.7,
            noise=3.0,
        ),
        Camera(  # people come towards it through the hall; warm lamps
            "hall",
            scenes.paint_hall,
            far=(0.58, 0.32),
            near=(0.97, 0.52),
            elevation=0.34,
            routes=(
                ((-0.14, 0.59), (0.2, 0.58), (0.24, 0.98), (-0.14, 0.98)),
                ((1.14, 0.59), (0.76, 0.58), (0.7, 0.98), (1.14, 0.98)),
                ((-0.14, 0.59), (0.4, 0.58), (0.46, 0.98), (-0.14, 0.98)),
                ((1.14, 0.6), (0.56, 0.58), (0.6, 0.98), (1.14, 0.98)),
            ),
            reversal=0.2,
            gains=(0.78, 0.98, 1.12),
            gamma=0.93,
            saturation=1.03,
            light=(1.08, 0.86),
            blur=0.9,
            noise=4.0,
        ),
        Camera(  # people leave through the gate, seen from behind; hard light, greenish
            "gate",
            scenes.paint_gate,
            far=(0.55, 0.33),
            near=(0.96, 0.5),
            elevation=0.3,
            routes=(
                ((-0.14, 0.97), (0.3, 0.97), (0.42, 0.56), (-0.14, 0.56)),
                ((1.14, 0.97), (0.72, 0.97), (0.62, 0.56), (1.14, 0.56)),
                ((-0.14, 0.92), (0.5, 0.95), (0.76, 0.56), (1.14, 0.56)),
                ((1.14, 0.92), (0.52, 0.95), (0.26, 0.56), (-0.14, 0.56)),
            ),
            reversal=0.15,
            gains=(0.84, 0.99, 0.88),
            gamma=1.17,
            saturation=1.06,
            light=(1.0, 1.12),
            blur=0.6,
            noise=3.5,
        ),
    )
}
