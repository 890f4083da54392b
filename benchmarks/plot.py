"""Line charts as plain SVG, the amount by powers of ten: just what `growth` needs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 64, 44
_INK, _FAINT, _GRID = "#1f2328", "#59636e", "#d8dee4"
_COLOURS = ("#0969da", "#bc4c00", "#1a7f37")
_LINES = 5  # of the grid, about


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name, and its points from left to right."""

    label: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing: what stands above it, along it and beside it."""

    title: str
    across: str
    up: str
    series: Sequence[Series]

    def svg(self) -> str:
        """The drawing, on a white ground."""
        return "\n".join(self._parts()) + "\n"

    def _parts(self) -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            'font-family="system-ui, sans-serif" font-size="12" role="img">'
        )
        yield f"<title>{escape(self.title)}</title>"
        yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
        yield _text(16, 22, self.title, fill=_INK, size=14)
        yield _text(_LEFT, _TOP - 10, self.up, fill=_FAINT)
        yield _text(
            _WIDTH - _RIGHT, _HEIGHT - 8, self.across, fill=_FAINT, anchor="end"
        )
        yield from self._grid()
        for number, series in enumerate(self.series):
            yield from self._line(series, _COLOURS[number])
        yield from self._legend()
        yield "</svg>"

    def _grid(self) -> Iterator[str]:
        step = _round_step(self._highest / _LINES)
        for number in range(math.ceil(self._highest / step) + 1):
            y = self._y(number * step)
            yield (
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="{_GRID}"/>'
            )
            label = f"{number * step:g}"
            yield _text(_LEFT - 8, y + 4, label, fill=_FAINT, anchor="end")
        for amount in sorted({x for one in self.series for x, _ in one.points}):
            at = self._x(amount)
            label = f"{amount:,}"
            yield _text(at, _HEIGHT - 26, label, fill=_FAINT, anchor="middle")

    def _line(self, series: Series, colour: str) -> Iterator[str]:
        at = [(self._x(x), self._y(y)) for x, y in series.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        yield (
            f'<polyline points="{path}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        for (x, y), (_, value) in zip(at, series.points, strict=True):
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
            yield _text(x, y - 9, f"{value:.3g}", fill=_INK, anchor="middle")

    def _legend(self) -> Iterator[str]:
        at = _WIDTH - _RIGHT
        for number in reversed(range(len(self.series))):
            label = self.series[number].label
            yield _text(at, _TOP - 26, label, fill=_INK, anchor="end")
            at -= 7 * len(label) + 10
            yield (
                f'<circle cx="{at}" cy="{_TOP - 30}" r="4" fill="{_COLOURS[number]}"/>'
            )
            at -= 20

    @property
    def _highest(self) -> float:
        most = max(y for one in self.series for _, y in one.points)
        step = _round_step(most * 1.1 / _LINES)
        return math.ceil(most * 1.1 / step) * step

    def _x(self, amount: int) -> float:
        amounts = [math.log10(x) for one in self.series for x, _ in one.points]
        span = max(amounts) - min(amounts) or 1.0
        share = (math.log10(amount) - min(amounts)) / span
        inside = _WIDTH - _LEFT - _RIGHT - 80
        return _LEFT + 40 + share * inside

    def _y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self._highest * (_HEIGHT - _TOP - _BOTTOM)


def _round_step(least: float) -> float:
    """The next 1, 2 or 5 of a power of ten."""
    power: float = 10 ** math.floor(math.log10(least))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= least)


def _text(
    x: float, y: float, text: str, *, fill: str, size: int = 12, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
