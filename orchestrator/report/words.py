"""Numbers, times and sizes for people."""

from __future__ import annotations

from datetime import datetime

KILO = 1000
UNITS = ("bytes", "kB", "MB", "GB", "TB")
MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
DAY_SECONDS = 86400


def duration(seconds: float) -> str:
    """Return a duration: ``0.42 s``, ``6.9 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 2 h``."""
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 0.95 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE_SECONDS:
        return f"{whole} s"
    if whole < HOUR_SECONDS:
        return f"{whole // MINUTE_SECONDS} min {whole % MINUTE_SECONDS:02d} s"
    if whole < DAY_SECONDS:
        return f"{whole // HOUR_SECONDS} h {whole % HOUR_SECONDS // MINUTE_SECONDS:02d} min"
    return f"{whole // DAY_SECONDS} d {whole % DAY_SECONDS // HOUR_SECONDS} h"


def size(count: int) -> str:
    """Return a number of bytes: ``999 bytes``, ``1.45 kB``, ``213 MB``."""
    if count < KILO:
        return f"{count} bytes"
    value, unit = float(count), 0
    while value >= KILO and unit < len(UNITS) - 1:
        value, unit = value / KILO, unit + 1
    return f"{value:.3g} {UNITS[unit]}"


def number(value: float) -> str:
    """Return a metric's value: six significant digits."""
    return f"{value:.6g}"


def moment(at: datetime) -> str:
    """Return a time with its zone: reports are read elsewhere, so it is UTC."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
