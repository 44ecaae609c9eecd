"""Drawn flowers: pictures for demos, tests and documentation that need no photo.

A picture is painted with Pillow three times larger than asked for and scaled down, which smooths
every edge. All positions are fractions of the picture's side, (0, 0) top left. The same kind and
seed give the same picture; the seed moves, turns, colours and sizes whatever may vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFilter

__all__ = ["FLOWERS", "draw_flower"]

Colour = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLING = 3
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # radians; spreads points evenly over a disc
LEAF_DARK: Colour = (38, 96, 40)
LEAF_LIGHT: Colour = (104, 166, 72)


def draw_flower(kind: str, seed: int, size: int = 320) -> Image.Image:
    """Draw one flower in front of sky and grass.

    kind     one of FLOWERS
    seed     any integer; same kind and seed, same picture
    size     width and height of the result, pixels, at least 1
    returns  an RGB picture, size x size

    Raises ValueError if the kind is unknown or the size is not positive.
    """
    if kind not in _PAINTERS:
        raise ValueError(f"unknown flower '{kind}', known are {', '.join(FLOWERS)}")
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    rng = Random(f"{kind}/{seed}")
    side = size * SUPERSAMPLING
    image = _background(rng, size).resize((side, side), Image.Resampling.BICUBIC)
    _PAINTERS[kind](_Brush(ImageDraw.Draw(image), side, rng))
    return image.resize((size, size), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class _Brush:
    """Paints shapes given in fractions of the picture's side."""

    draw: ImageDraw.ImageDraw
    side: int  # pixels
    rng: Random

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill the shape with these corners."""
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour, flat: float = 1.0) -> None:
        """Fill an ellipse whose height is `flat` times its width."""
        x, y = centre[0] * self.side, centre[1] * self.side
        rx, ry = radius * self.side, radius * self.side * flat
        self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line with round joints through the points."""
        pixels = [(x * self.side, y * self.side) for x, y in points]
        self.draw.line(pixels, fill=colour, width=max(1, round(width * self.side)), joint="curve")


@dataclass(frozen=True)
class _Petal:
    """The shape of a petal or leaf that grows from a base point along +x before it is turned."""

    length: float
    width: float
    lean: float = 1.0  # above 1: widest beyond the middle
    blunt: float = 1.0  # below 1: fuller ends, above 1: pointed
    flat: float = 1.0  # vertical squeeze of the whole flower, for one seen from the side

    def outline(self, base: Point, angle: float, part: float = 1.0) -> list[Point]:
        """Corners of the petal, or of its inner `part`, turned by `angle` radians."""
        steps = 24
        shape = []
        for i in range(steps + 1):
            t = i / steps
            bulge = math.sin(math.pi * t**self.lean) ** self.blunt if 0 < i < steps else 0
            x = self.length * (0.5 + (t - 0.5) * (0.4 + 0.6 * part))
            shape.append((x, part * self.width / 2 * bulge))
        shape += [(x, -y) for x, y in reversed(shape)]
        cos, sin = math.cos(angle), math.sin(angle)
        return [
            (base[0] + x * cos - y * sin, base[1] + (x * sin + y * cos) * self.flat)
            for x, y in shape
        ]


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour `share` of the way from a to b."""
    red, green, blue = (round(a[i] + (b[i] - a[i]) * share) for i in range(3))
    return red, green, blue


def _vary(rng: Random, colour: Colour, amount: int) -> Colour:
    """The same colour, each channel up to `amount` brighter or darker, together."""
    change = rng.randint(-amount, amount)
    red, green, blue = (min(255, max(0, channel + change)) for channel in colour)
    return red, green, blue


def _from(centre: Point, distance: float, angle: float, flat: float = 1.0) -> Point:
    """The point `distance` away from a centre in direction `angle`, radians, 0 is right."""
    return centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle) * flat


def _curve(start: Point, bend: Point, end: Point, steps: int = 24) -> list[Point]:
    """Points of a quadratic Bezier curve."""
    result = []
    for i in range(steps + 1):
        t = i / steps
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
        x = a * start[0] + b * bend[0] + c * end[0]
        y = a * start[1] + b * bend[1] + c * end[1]
        result.append((x, y))
    return result


def _background(rng: Random, size: int) -> Image.Image:
    """Sky above grass, both gradients, with soft blobs as if out of focus."""
    side = 96
    image = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(image)
    sky, haze = _vary(rng, (118, 176, 232), 25), _vary(rng, (222, 236, 240), 15)
    far, near = _vary(rng, (142, 178, 92), 18), _vary(rng, (58, 110, 44), 14)
    horizon = rng.uniform(0.25, 0.6)
    for row in range(side):
        y = row / side
        if y < horizon:
            colour = _mix(sky, haze, y / horizon)
        else:
            colour = _mix(far, near, (y - horizon) / (1 - horizon))
        draw.line(((0, row), (side, row)), fill=colour)
    for _ in range(26):
        x, y, r = rng.uniform(0, side), rng.uniform(horizon, 1) * side, rng.uniform(2, 8)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_vary(rng, _mix(far, near, y / side), 24))
    blurred = image.filter(ImageFilter.GaussianBlur(3))
    return blurred.resize((size, size), Image.Resampling.BICUBIC)


def _grass(brush: _Brush, count: int, height: float) -> None:
    """Blades along the lower edge, `height` at most."""
    for _ in range(count):
        x = brush.rng.uniform(-0.05, 1.05)
        angle = -math.pi / 2 + brush.rng.uniform(-0.5, 0.5)
        blade = _Petal(height * brush.rng.uniform(0.5, 1), 0.018, lean=0.6)
        colour = _mix(LEAF_DARK, LEAF_LIGHT, brush.rng.random())
        brush.polygon(blade.outline((x, 1.02), angle), colour)


def _petal(
    brush: _Brush, shape: _Petal, base: Point, angle: float, dark: Colour, light: Colour
) -> None:
    """One petal, shaded from a dark rim to a light middle."""
    steps = 4 if shape.width * brush.side < 40 else 12
    for i in range(steps):
        part = 1 - 0.85 * i / steps
        share = math.sin(math.pi / 2 * i / (steps - 1))
        brush.polygon(shape.outline(base, angle, part), _mix(dark, light, share))


def _leaf(brush: _Brush, base: Point, angle: float, length: float, width: float) -> None:
    """A leaf with its middle vein."""
    _petal(brush, _Petal(length, width, lean=0.8), base, angle, LEAF_DARK, LEAF_LIGHT)
    tip = _from(base, 0.95 * length, angle)
    brush.line((base, tip), 0.004, _mix(LEAF_DARK, LEAF_LIGHT, 0.3))


def _stem(brush: _Brush, top: Point, width: float) -> list[Point]:
    """A bent stem from the lower edge to the flower; returns its points, lowest first."""
    foot = (top[0] + brush.rng.uniform(-0.12, 0.12), 1.05)
    bend = (top[0] + brush.rng.uniform(-0.05, 0.05), (top[1] + 1) / 2)
    points = _curve(foot, bend, top)
    brush.line(points, width, LEAF_DARK)
    brush.line([(x - width * 0.12, y) for x, y in points], width * 0.5, LEAF_LIGHT)
    return points


def _ring(
    brush: _Brush,
    shape: _Petal,
    centre: Point,
    count: int,
    colours: tuple[Colour, Colour],
    turn: float,
) -> None:
    """`count` petals around a centre, each a little different."""
    for i in range(count):
        angle = turn + (i + brush.rng.uniform(-0.18, 0.18)) * 2 * math.pi / count
        length = shape.length * brush.rng.uniform(0.93, 1.04)
        petal = _Petal(length, shape.width, shape.lean, shape.blunt, shape.flat)
        dark, light = (_vary(brush.rng, colour, 8) for colour in colours)
        _petal(brush, petal, centre, angle, dark, light)


def _seeds(
    brush: _Brush, centre: Point, radius: float, count: int, colours: Sequence[Colour], flat: float
) -> None:
    """Dots in a Fibonacci spiral, from the first colour in the middle to the last at the rim."""
    for i in range(count):
        share = math.sqrt((i + 0.5) / count)
        angle = i * GOLDEN_ANGLE
        place = share * (len(colours) - 1)
        low = min(int(place), len(colours) - 2)
        colour = _vary(brush.rng, _mix(colours[low], colours[low + 1], place - low), 16)
        dot = _from(centre, radius * share, angle, flat)
        brush.disc(dot, 0.62 * radius / math.sqrt(count), colour)


def _head_place(rng: Random, low: float, high: float) -> Point:
    """Where the flower's head is: near the middle, between the two heights."""
    return rng.uniform(0.42, 0.58), rng.uniform(low, high)


def _daisy(brush: _Brush) -> None:
    """White narrow petals around a small yellow disc."""
    rng = brush.rng
    centre = _head_place(rng, 0.38, 0.46)
    flat, radius, turn = rng.uniform(0.8, 1), rng.uniform(0.27, 0.35), rng.uniform(0, 1)
    stem = _stem(brush, centre, 0.022)
    _leaf(brush, stem[8], rng.uniform(-0.9, -0.4), 0.17, 0.06)
    _grass(brush, 40, 0.2)
    petal = _Petal(radius, radius * 0.25, lean=1.5, blunt=0.7, flat=flat)
    count = rng.randint(17, 22)
    back = ((168, 176, 196), (226, 230, 238))
    front = ((200, 206, 220), (255, 255, 255))
    _ring(brush, petal, centre, count, back, turn + math.pi / count)
    _ring(brush, petal, centre, count, front, turn)
    disc = radius * rng.uniform(0.28, 0.34)
    brush.disc(centre, disc * 1.06, (176, 112, 8), flat)
    colours = ((255, 224, 70), (250, 200, 30), (214, 146, 10))
    _seeds(brush, centre, disc, 150, colours, flat)


def _dandelion(brush: _Brush) -> None:
    """A yellow head of many thin rays, or one time in three the white ball of seeds."""
    rng = brush.rng
    centre = _head_place(rng, 0.38, 0.46)
    radius = rng.uniform(0.24, 0.31)
    for angle in (-2.85, -2.45, -0.7, -0.3):
        _toothed_leaf(brush, (0.5 + rng.uniform(-0.1, 0.1), 1.0), angle + rng.uniform(-0.1, 0.1))
    _stem(brush, centre, 0.026)
    _grass(brush, 45, 0.16)
    if rng.random() < 1 / 3:
        _seed_ball(brush, centre, radius)
    else:
        _ray_head(brush, centre, radius, rng.uniform(0.82, 1))


def _ray_head(brush: _Brush, centre: Point, radius: float, flat: float) -> None:
    """Rings of thin yellow rays, the outer ones first."""
    rings = 9
    for ring in range(rings):
        share = 1 - ring / rings
        ray = _Petal(radius * (0.2 + 0.8 * share), 0.024, lean=1.6, blunt=0.6, flat=flat)
        dark = _mix((196, 128, 0), (232, 158, 0), share)
        light = _mix((250, 196, 10), (255, 226, 40), share)
        _ring(brush, ray, centre, round(20 + 26 * share), (dark, light), brush.rng.random())


def _seed_ball(brush: _Brush, centre: Point, radius: float) -> None:
    """Seeds on fine stalks, each with its parachute of hairs."""
    for i in range(150):
        share = math.sqrt((i + 0.5) / 150)
        angle = i * GOLDEN_ANGLE
        top = _from(centre, radius * share, angle)
        brush.line((centre, top), 0.002, (206, 206, 196))
        for hair in range(11):
            end = _from(top, 0.036, angle + hair * 2 * math.pi / 11)
            brush.line((top, end), 0.0017, _mix((224, 226, 222), (255, 255, 255), share))
        brush.disc(top, 0.0035, (250, 250, 245))
    _seeds(brush, centre, radius * 0.14, 40, ((120, 92, 60), (150, 120, 80)), 1)


def _toothed_leaf(brush: _Brush, base: Point, angle: float) -> None:
    """A long leaf with the jagged edge the dandelion is named for."""
    length, teeth = 0.42, 6
    upper: list[Point] = []
    lower: list[Point] = []
    for i in range(2 * teeth + 1):
        t = i / (2 * teeth)
        half = 0.06 * math.sin(math.pi * (0.1 + 0.9 * t) ** 1.3) * (1.0 if i % 2 else 0.3)
        along = length * (t - (0.03 if i % 2 else 0))
        for side, points in ((half, upper), (-half, lower)):
            x = base[0] + along * math.cos(angle) - side * math.sin(angle)
            points.append((x, base[1] + along * math.sin(angle) + side * math.cos(angle)))
    brush.polygon(upper + lower[::-1], _mix(LEAF_DARK, LEAF_LIGHT, 0.55))
    tip = _from(base, 0.9 * length, angle)
    brush.line((base, tip), 0.005, LEAF_LIGHT)


def _rose(brush: _Brush) -> None:
    """Broad petals in rings that close towards a curled heart."""
    rng = brush.rng
    colours: tuple[tuple[Colour, Colour], ...] = (
        ((120, 6, 24), (214, 32, 52)),
        ((176, 44, 88), (240, 130, 160)),
        ((150, 12, 60), (226, 62, 110)),
        ((204, 120, 80), (252, 206, 170)),
    )
    dark, light = colours[rng.randrange(len(colours))]
    centre = _head_place(rng, 0.4, 0.47)
    radius = rng.uniform(0.27, 0.33)
    stem = _stem(brush, centre, 0.03)
    for step, angle in ((7, -0.5), (10, math.pi + 0.5), (13, -0.2)):
        _leaf(brush, stem[step], angle + rng.uniform(-0.2, 0.2), 0.26, 0.13)
    _grass(brush, 22, 0.12)
    for i in range(5):
        _leaf(brush, centre, i * 2 * math.pi / 5 + 0.3, radius * 1.16, 0.07)
    turn = rng.uniform(0, 6)
    for ring in range(7):
        share = 1 - ring / 7
        _rose_ring(brush, centre, radius * share, turn + ring * GOLDEN_ANGLE, dark, light)
    _rose_heart(brush, centre, radius * 0.2, dark, light)


def _rose_ring(
    brush: _Brush, centre: Point, radius: float, turn: float, dark: Colour, light: Colour
) -> None:
    """Five round overlapping petals with a bright lip, dark where they go under the next ring."""
    for i in range(5):
        angle = turn + (i + brush.rng.uniform(-0.1, 0.1)) * 2 * math.pi / 5
        own = _vary(brush.rng, light, 14)
        for share, colour in (
            (1.0, _mix(dark, own, 0.25)),
            (0.965, _mix(own, (255, 255, 255), 0.18)),
            (0.9, own),
            (0.82, _mix(dark, own, 0.78)),
            (0.72, _mix(dark, own, 0.5)),
            (0.6, _mix(dark, own, 0.25)),
            (0.48, dark),
        ):
            spot = _from(centre, radius * 0.46 * share, angle)
            brush.disc(spot, radius * 0.56 * share, colour)


def _rose_heart(brush: _Brush, centre: Point, radius: float, dark: Colour, light: Colour) -> None:
    """The rolled petals in the middle, as a spiral."""
    brush.disc(centre, radius, _mix(dark, light, 0.4))
    turns = [i / 60 for i in range(150)]
    spiral = [_from(centre, radius * 0.38 * t, 2 * math.pi * t) for t in turns]
    brush.line([(x + 0.004, y + 0.004) for x, y in spiral], 0.013, dark)
    brush.line(spiral, 0.007, _mix(light, (255, 255, 255), 0.2))


def _sunflower(brush: _Brush) -> None:
    """Pointed golden petals around a large dark disc."""
    rng = brush.rng
    centre = _head_place(rng, 0.4, 0.46)
    flat, radius, turn = rng.uniform(0.86, 1), rng.uniform(0.32, 0.38), rng.uniform(0, 1)
    stem = _stem(brush, centre, 0.04)
    _leaf(brush, stem[9], -0.35 + rng.uniform(-0.2, 0.2), 0.32, 0.17)
    _leaf(brush, stem[7], math.pi + 0.35 + rng.uniform(-0.2, 0.2), 0.32, 0.17)
    _grass(brush, 25, 0.12)
    count = rng.randint(18, 23)
    petal = _Petal(radius, radius * 0.3, lean=1.1, blunt=1.05, flat=flat)
    back = ((196, 118, 0), (240, 166, 0))
    front = ((226, 150, 0), (255, 212, 24))
    _ring(brush, petal, centre, count, back, turn + math.pi / count)
    _ring(brush, petal, centre, count, front, turn)
    disc = radius * rng.uniform(0.46, 0.54)
    brush.disc(centre, disc * 1.04, (52, 28, 10), flat)
    colours = ((112, 92, 34), (58, 34, 14), (84, 48, 16), (150, 92, 22))
    _seeds(brush, centre, disc, 330, colours, flat)


def _tulip(brush: _Brush) -> None:
    """A cup of upright petals seen from the side, on a straight stem between long leaves."""
    rng = brush.rng
    colours: tuple[tuple[Colour, Colour], ...] = (
        ((150, 10, 24), (238, 58, 52)),
        ((186, 60, 120), (250, 150, 190)),
        ((206, 140, 0), (255, 222, 60)),
        ((84, 28, 116), (168, 96, 204)),
        ((206, 84, 10), (255, 160, 60)),
    )
    dark, light = colours[rng.randrange(len(colours))]
    base = _head_place(rng, 0.56, 0.62)
    height, tilt = rng.uniform(0.38, 0.45), rng.uniform(-0.08, 0.08)
    stem = _stem(brush, base, 0.032)
    for angle in (-1.15, -1.95):
        turn = angle + rng.uniform(-0.1, 0.1)
        _leaf(brush, (stem[2][0], 1.02), turn, rng.uniform(0.5, 0.62), 0.11)
    _grass(brush, 22, 0.12)
    up = tilt - math.pi / 2
    low = (base[0], base[1] + 0.02)
    full = _Petal(height, height * 0.56, lean=0.85, blunt=0.75)
    shade = _mix(dark, light, 0.45)
    for spread in (-0.2, 0.2):
        _petal(brush, full, low, up + spread, dark, shade)
    for spread in (-0.38, 0.38):
        side = _Petal(height * 0.96, height * 0.5, lean=0.75, blunt=0.8)
        _petal(brush, side, low, up + spread, dark, _mix(dark, light, 0.75))
    _petal(brush, _Petal(height * 0.95, height * 0.6, lean=0.8, blunt=0.8), low, up, dark, light)


_PAINTERS: dict[str, Callable[[_Brush], None]] = {
    "daisy": _daisy,
    "dandelion": _dandelion,
    "rose": _rose,
    "sunflower": _sunflower,
    "tulip": _tulip,
}
FLOWERS: tuple[str, ...] = tuple(_PAINTERS)
