"""Figures as an operator reads them: short, with their unit. Pure. Whatever is no number reads `-`."""

from __future__ import annotations

from typing import Any, Final

NOTHING: Final = "-"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def count(value: Any) -> str:
    """`1204` as `1,204`."""
    number = _number(value)
    return NOTHING if number is None else f"{number:,.0f}"


def rate(value: Any) -> str:
    """Something per second: one decimal below 10, none above."""
    number = _number(value)
    if number is None:
        return NOTHING
    return f"{number:.1f}" if 0 < number < 9.95 else f"{number:,.0f}"


def percent(value: Any) -> str:
    """`12.4` as `12%`."""
    number = _number(value)
    return NOTHING if number is None else f"{number:.0f}%"


def milliseconds(value: Any) -> str:
    """Milliseconds with about three digits; from 1,000 on in seconds."""
    number = _number(value)
    if number is None:
        return NOTHING
    if number >= 999.5:
        return duration(number / 1000)
    if number >= 99.5 or number == 0:
        return f"{number:.0f} ms"
    return f"{number:.1f} ms" if number >= 0.95 else f"{number:.2f} ms"


def duration(value: Any) -> str:
    """Seconds as their two largest units: `0.4s`, `12s`, `3m20s`, `2h03m`, `5d04h`."""
    number = _number(value)
    if number is None:
        return NOTHING
    if number < 9.95:
        return f"{number:.1f}s" if round(number, 1) % 1 else f"{number:.0f}s"
    seconds = round(number)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days:,}d{hours:02}h"


def size(value: Any) -> str:
    """Bytes in binary units: `512 B`, `64 MiB`, `1.2 GiB`."""
    number = _number(value)
    if number is None:
        return NOTHING
    power = 0
    while number >= 999.5 and power < len(_UNITS) - 1:
        number /= 1024
        power += 1
    return f"{number:.1f} {_UNITS[power]}" if number < 9.95 and power else f"{number:.0f} {_UNITS[power]}"


def word(value: Any) -> str:
    """Whatever the server says in words, as `printable`."""
    return NOTHING if value is None or value == "" else printable(str(value))


def printable(text: str) -> str:
    """The text in one line, with every character escaped that a terminal would act on."""
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else ascii(c)[1:-1] for c in text)
