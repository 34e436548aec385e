"""Coordinate transformations as values.

Every number of a transformation is taken for the decimal that its shortest representation shows: a
pixel size of 0.1 means one tenth, not the binary fraction closest to it. Compositions are computed
exactly on these decimals and rounded once, so that no float noise is ever stored: the scale 0.1
applied three times over is 0.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def exact(number: float) -> Fraction:
    """Give the decimal that the shortest representation of a float shows, as a fraction.

    Examples
    --------
    >>> exact(0.325)
    Fraction(13, 40)
    """
    return Fraction(repr(float(number)))


@dataclass(frozen=True)
class ScaleTranslation:
    """A scale followed by a translation, one number for each axis.

    The normal form of every sequence of scales and translations, and what the datasets of a
    multiscale image may hold (NGFF 0.4 and 0.5, "multiscales" metadata).
    """

    scale: tuple[float, ...]
    translation: tuple[float, ...]

    @classmethod
    def identity(cls, ndim: int) -> ScaleTranslation:
        """Give the transformation that leaves all points where they are."""
        return cls((1.0,) * ndim, (0.0,) * ndim)

    def then(self, other: ScaleTranslation) -> ScaleTranslation:
        """Give the transformation that applies this one first, then the other."""
        return ScaleTranslation(
            tuple(float(exact(s) * exact(o)) for s, o in zip(self.scale, other.scale, strict=True)),
            tuple(
                float(exact(t) * exact(s) + exact(o))
                for t, s, o in zip(self.translation, other.scale, other.translation, strict=True)
            ),
        )

    def replaced(self, axes: Mapping[int, tuple[float, float]]) -> ScaleTranslation:
        """Give the transformation with the scale and translation of some axes replaced."""
        pairs = [
            axes.get(i, pair)
            for i, pair in enumerate(zip(self.scale, self.translation, strict=True))
        ]
        return ScaleTranslation(tuple(s for s, _ in pairs), tuple(t for _, t in pairs))
