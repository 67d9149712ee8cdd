"""The people in the footage, with clearly defined looks, drawn from a seeded generator."""

from dataclasses import dataclass, replace

import numpy as np

from reid_toolkit.errors import InputError

Colour = tuple[int, int, int]
"""BGR, 0-255."""

MOST_PEOPLE = 400
"""With more people, there are not enough looks that differ by more than a shade."""

CLOTHES: dict[str, Colour] = {
    "red": (48, 42, 196),
    "orange": (40, 128, 235),
    "yellow": (66, 208, 240),
    "green": (70, 150, 52),
    "teal": (150, 150, 20),
    "blue": (190, 92, 36),
    "navy": (92, 46, 30),
    "purple": (140, 52, 112),
    "pink": (178, 136, 240),
    "brown": (44, 74, 120),
    "beige": (150, 190, 214),
    "white": (232, 234, 236),
    "grey": (128, 126, 124),
    "black": (40, 36, 36),
}
TROUSERS = ("blue", "navy", "brown", "beige", "grey", "black", "white", "red", "green")
SKINS: tuple[Colour, ...] = ((176, 204, 240), (140, 176, 222), (100, 140, 192), (70, 100, 150), (48, 66, 104))
HAIRS: tuple[Colour, ...] = (
    (28, 26, 28), (34, 50, 78), (52, 88, 130), (96, 168, 214), (40, 66, 150), (176, 176, 178),
)  # fmt: skip
SHOES = ("black", "white", "brown", "red", "grey")
PATTERNS = ("plain", "hoops", "stripes", "checks", "halves", "jacket")
"""Plain; horizontal stripes; vertical stripes; checks; upper and lower half; open jacket over a shirt."""


@dataclass(frozen=True)
class Person:
    """One person's build and clothes. Colours are as under white light; each camera shifts them."""

    identity: str
    """A number from "1". "0" and "-1" have special meanings in evaluation."""
    height: float
    """Relative to a person's usual height in the camera, about 1."""
    girth: float
    """Width of body and limbs, about 1."""
    skin: Colour
    hair: Colour
    hair_style: str
    """"short", "long", "bald", "cap" or "beanie"."""
    hat: Colour
    """Colour of the cap or beanie."""
    top: str
    """A name of CLOTHES."""
    second: str
    """The pattern's other colour, a name of CLOTHES."""
    pattern: str
    """One of PATTERNS."""
    long_sleeves: bool
    hem: float
    """Height at which the top ends, as a fraction of the body's: 0.49 is a shirt, 0.36 a coat."""
    legs: str
    """"trousers", "shorts" or "skirt"."""
    legs_colour: str
    """A name of CLOTHES."""
    shoes: str
    """A name of CLOTHES."""
    bag: str
    """"none", "backpack" or "handbag"."""
    bag_colour: str
    """A name of CLOTHES."""

    @property
    def outfit(self) -> tuple[str, ...]:
        """What tells people apart at a distance. No two people share it."""
        return (self.top, self.pattern, self.second if self.pattern != "plain" else "", self.legs_colour)


def make_people(count: int, seed: int) -> tuple[Person, ...]:
    """Draw ``count`` people. No two have the same outfit.

    Every sixth person is dressed like the person before except for one thing, so that no single cue (colour of the top,
    pattern, trousers) tells all of them apart.

    Raises :class:`InputError` if ``count`` is not 1 to MOST_PEOPLE.
    """
    if not 1 <= count <= MOST_PEOPLE:
        raise InputError(f"people is {count}: expected 1 to {MOST_PEOPLE}")
    rng = np.random.default_rng([seed, 1])
    people: list[Person] = []
    outfits: set[tuple[str, ...]] = set()
    while len(people) < count:
        person = draw_person(str(len(people) + 1), rng)
        if len(people) % 6 == 5:
            person = dress_alike(person, people[-1], rng)
        if person.outfit not in outfits:
            outfits.add(person.outfit)
            people.append(person)
    return tuple(people)


def draw_person(identity: str, rng: np.random.Generator) -> Person:
    def one(names: tuple[str, ...], chances: tuple[float, ...] | None = None) -> str:
        return str(rng.choice(names, p=chances))

    top = one(tuple(CLOTHES))
    pattern = one(PATTERNS, (0.3, 0.14, 0.12, 0.12, 0.14, 0.18))
    legs = one(("trousers", "shorts", "skirt"), (0.7, 0.15, 0.15))
    coat = pattern in ("plain", "jacket") and legs == "trousers" and rng.random() < 0.4
    return Person(
        identity=identity,
        height=float(rng.uniform(0.92, 1.07)),
        girth=float(rng.uniform(0.88, 1.22)),
        skin=SKINS[rng.integers(len(SKINS))],
        hair=HAIRS[rng.integers(len(HAIRS))],
        hair_style=one(("short", "long", "bald", "cap", "beanie"), (0.36, 0.3, 0.08, 0.14, 0.12)),
        hat=CLOTHES[one(tuple(CLOTHES))],
        top=top,
        second=contrasting(top, rng),
        pattern=pattern,
        long_sleeves=bool(coat or pattern == "jacket" or rng.random() < 0.5),
        hem=0.36 if coat else 0.49,
        legs=legs,
        legs_colour=one(TROUSERS),
        shoes=one(SHOES),
        bag=one(("none", "backpack", "handbag"), (0.45, 0.35, 0.2)),
        bag_colour=one(tuple(CLOTHES)),
    )


def dress_alike(person: Person, model: Person, rng: np.random.Generator) -> Person:
    """Return ``person`` in the clothes of ``model``, with other trousers, another pattern, or another colour of the
    top."""
    alike = replace(
        person,
        top=model.top,
        second=model.second,
        pattern=model.pattern,
        long_sleeves=model.long_sleeves,
        hem=model.hem,
        legs=model.legs,
        legs_colour=model.legs_colour,
    )
    match rng.integers(3):
        case 0:
            return replace(alike, legs_colour=contrasting(model.legs_colour, rng, TROUSERS))
        case 1:
            return replace(alike, pattern=str(rng.choice([p for p in PATTERNS if p != model.pattern])))
        case _:
            return replace(alike, top=contrasting(model.top, rng))


def contrasting(name: str, rng: np.random.Generator, names: tuple[str, ...] = tuple(CLOTHES)) -> str:
    """Choose a colour from ``names`` that nobody would confuse with ``name``, even under a colour cast."""
    here = np.array(CLOTHES[name])
    far = [other for other in names if np.abs(here - CLOTHES[other]).sum() > 200]
    return str(rng.choice(far))
