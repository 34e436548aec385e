"""The units of axes: those of the specification, and what else people call them."""

from __future__ import annotations

#: Unit names of 0.4 and 0.5 (UDUNITS-2), "axes" metadata.
SPACE_UNITS = frozenset(
    "angstrom attometer centimeter decimeter exameter femtometer foot gigameter hectometer inch "
    "kilometer megameter meter micrometer mile millimeter nanometer parsec petameter picometer "
    "terameter yard yoctometer yottameter zeptometer zettameter".split()
)
TIME_UNITS = frozenset(
    "attosecond centisecond day decisecond exasecond femtosecond gigasecond hectosecond hour "
    "kilosecond megasecond microsecond millisecond minute nanosecond petasecond picosecond second "
    "terasecond yoctosecond yottasecond zeptosecond zettasecond".split()
)


_PREFIXES = {
    "y": "yocto", "z": "zepto", "a": "atto", "f": "femto", "p": "pico", "n": "nano", "u": "micro",
    "µ": "micro", "μ": "micro", "m": "milli", "c": "centi", "d": "deci", "": "", "h": "hecto",
    "k": "kilo", "M": "mega", "G": "giga", "T": "tera", "P": "peta", "E": "exa", "Z": "zetta",
    "Y": "yotta",
}  # fmt: skip
_POWERS = {
    "yocto": -24, "zepto": -21, "atto": -18, "femto": -15, "pico": -12, "nano": -9, "micro": -6,
    "milli": -3, "centi": -2, "deci": -1, "": 0, "hecto": 2, "kilo": 3, "mega": 6, "giga": 9,
    "tera": 12, "peta": 15, "exa": 18, "zetta": 21, "yotta": 24,
}  # fmt: skip
#: Spellings that people use, with the name of the specification.
UNIT_NAMES = {
    **{f"{short}m": f"{long}meter" for short, long in _PREFIXES.items()},
    **{f"{short}s": f"{long}second" for short, long in _PREFIXES.items()},
    **{f"{long}metre": f"{long}meter" for long in _PREFIXES.values()},
    **{f"{long}metres": f"{long}meter" for long in _PREFIXES.values()},
    **{f"{unit}s": unit for unit in SPACE_UNITS | TIME_UNITS},
    "micron": "micrometer",
    "microns": "micrometer",
    "Å": "angstrom",
    "\u212b": "angstrom",
    "sec": "second",
    "secs": "second",
    "msec": "millisecond",
    "min": "minute",
    "mins": "minute",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "d": "day",
    "feet": "foot",
    "ft": "foot",
    "inches": "inch",
    "in": "inch",
    "yd": "yard",
    "mi": "mile",
    "pc": "parsec",
}

#: The length of units of space, to compare the spacing of axes that are in different ones.
METERS = {
    **{f"{long}meter": 10.0**power for long, power in _POWERS.items()},
    "angstrom": 1e-10,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
    "parsec": 3.0856775814913674e16,
}

#: The length of units of time, to compare durations that are in different ones.
SECONDS = {
    **{f"{long}second": 10.0**power for long, power in _POWERS.items()},
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
