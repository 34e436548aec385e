"""How the levels of an image lie on one another: by their transformations, and by their shapes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from xarray_omezarr.transforms import ScaleTranslation, exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xarray_omezarr.model import Level

#: A factor or a shift this close to a whole one, or half of one, was meant to be that.
_NEAR = Fraction(1, 1000)
#: Levels that are further apart than this part of a pixel do not show the same.
_APART = Fraction(1, 4)


def factors(shapes: Sequence[Sequence[int]]) -> list[tuple[Fraction, ...]]:
    """Read off the shapes of an image's levels how many times coarser each is along each axis.

    Halves that were rounded up or down are halves; where no whole number from one level to the next
    explains the sizes, the factor is what they make.

    Examples
    --------
    >>> [[int(f) for f in level] for level in factors([(9, 101, 5), (9, 51, 2), (9, 25, 1)])]
    [[1, 1, 1], [1, 2, 2], [1, 4, 4]]
    """
    found = [tuple(Fraction(1) for _ in shapes[0])]
    last = [2] * len(shapes[0])
    for above, below in itertools.pairwise(shapes):
        steps = []
        for axis, (large, small) in enumerate(zip(above, below, strict=True)):
            step = _step(large, small, last[axis])
            if step > 1 and step.denominator == 1:
                last[axis] = int(step)
            steps.append(step)
        found.append(tuple(f * step for f, step in zip(found[-1], steps, strict=True)))
    return found


def _step(large: int, small: int, last: int) -> Fraction:
    if large == small or min(large, small) < 1:
        return Fraction(1)
    ratio = Fraction(large, small)
    for step in (last, 2, round(ratio)):
        if step > 1 and small in (large // step, -(-large // step)):
            return Fraction(step)
    return ratio


def measured(levels: Sequence[Level], shapes: Sequence[Sequence[int]]) -> tuple[Level, ...]:
    """Give levels of which only the shapes are known: pixels of size 1, and coarser ones."""
    first = ScaleTranslation.identity(len(shapes[0]))
    return tuple(
        replace(level, transform=_coarser(first, factor))
        for level, factor in zip(levels, factors(shapes), strict=True)
    )


def _coarser(first: ScaleTranslation, factor: Sequence[Fraction]) -> ScaleTranslation:
    """Give the transformation of a level whose pixels are the centres of so many of the first."""
    # "the expected translation is half the difference of the pixel sizes" (0.6, multiscales).
    return _placed(first, factor, [(f - 1) / 2 for f in factor])


def _placed(
    first: ScaleTranslation, factor: Sequence[Fraction], shift: Sequence[Fraction]
) -> ScaleTranslation:
    scales = [exact(scale) for scale in first.scale]
    return ScaleTranslation(
        tuple(float(s * f) for s, f in zip(scales, factor, strict=True)),
        tuple(
            float(exact(t) + s * d)
            for t, s, d in zip(first.translation, scales, shift, strict=True)
        ),
    )


def relative(
    transform: ScaleTranslation, first: ScaleTranslation
) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]]:
    """Say how many times coarser than another a level is, and how many of its pixels further on."""
    scales = list(zip(transform.scale, first.scale, strict=True))
    moves = zip(transform.translation, first.translation, strict=True)
    return (
        tuple(_rounded(exact(s) / exact(o), 1) for s, o in scales),
        tuple(
            _rounded((exact(t) - exact(u)) / exact(o), 2)
            for (t, u), (_, o) in zip(moves, scales, strict=True)
        ),
    )


def _rounded(number: Fraction, parts: int) -> Fraction:
    """Give the whole number, or the half of one, that a rounded one was meant to be."""
    near = Fraction(round(number * parts), parts)
    return near if near and abs(number - near) <= _NEAR else number


def followed(
    levels: Sequence[Level], old: ScaleTranslation, new: ScaleTranslation
) -> tuple[Level, ...]:
    """Let levels follow the first one, whose pixels have become others, as they lay on it.

    Examples
    --------
    >>> from xarray_omezarr.model import Level
    >>> old = ScaleTranslation((0.33,), (0.0,))
    >>> half = Level("1", ScaleTranslation((0.66,), (0.165,)))
    >>> followed([half], old, ScaleTranslation((0.5,), (10.0,)))[0].transform
    ScaleTranslation(scale=(1.0,), translation=(10.25,))
    """
    found = []
    for level in levels:
        factor, shift = relative(level.transform, old)
        placed = _placed(new, factor, shift)
        # What does not change keeps the very numbers that it had.
        same = {
            axis: (level.transform.scale[axis], level.transform.translation[axis])
            for axis in range(len(factor))
            if (old.scale[axis], old.translation[axis]) == (new.scale[axis], new.translation[axis])
        }
        found.append(replace(level, transform=placed.replaced(same)))
    return tuple(found)


def aligned(
    levels: Sequence[Level], shapes: Sequence[Sequence[int]], *, sampled: Sequence[int] = ()
) -> tuple[Level, ...]:
    """Put levels right whose transformations contradict their shapes, or lack the half pixel.

    Parameters
    ----------
    levels
        The levels, the first of which is taken to be right.
    shapes
        The shapes of their arrays.
    sampled
        The numbers of the levels whose pixels are copies of single ones, where those lie.

    Examples
    --------
    >>> from xarray_omezarr.model import Level
    >>> levels = [Level("0", ScaleTranslation((0.5,), (3.0,))),
    ...           Level("1", ScaleTranslation((0.5,), (3.0,)))]
    >>> aligned(levels, [(100,), (50,)])[1].transform
    ScaleTranslation(scale=(1.0,), translation=(3.25,))
    """
    first = levels[0].transform
    expected = factors(shapes)
    found = [levels[0]]
    for number in range(1, len(levels)):
        factor, shift = relative(levels[number].transform, first)
        pairs = {}
        for axis, (wanted, is_) in enumerate(zip(expected[number], factor, strict=True)):
            large, small = shapes[0][axis], shapes[number][axis]
            right = is_ if is_ > 0 and abs(large / is_ - small) < 1 else wanted
            centre = Fraction(0) if number in sampled else (right - 1) / 2
            if right == is_ and abs(shift[axis] - centre) <= _APART:
                continue
            placed = _placed(first, [right] * len(factor), [centre] * len(factor))
            pairs[axis] = placed.scale[axis], placed.translation[axis]
        found.append(replace(levels[number], transform=levels[number].transform.replaced(pairs)))
    return tuple(found)
