"""A range around a value that somebody thinks is about right (SageMaker ``AutoParameters``). Pure.

SageMaker does not say how it chooses; here a factor of ten to both sides, by logarithm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter, IntegerParameter

if TYPE_CHECKING:
    from orchestrator.spec.ranges import Parameter

FACTOR = 10.0
WHOLE_FACTOR = 4
"""Of whole numbers, which count layers, units or examples: a tenth of them is seldom meant."""
SHARE = 0.5
"""From which value below 1 it is the distance to 1 that counts, as of a momentum."""
SWITCHES = frozenset({"true", "false"})


def parameter_around(name: str, hint: str) -> Parameter:
    """Return what is searched for a hyperparameter of which only a value is known.

    Args:
        name: Its name.
        hint: The value, as a training job gets it; a text has no neighbours and stays as it is.
    """
    if hint.lower() in SWITCHES:
        texts = ("True", "False") if hint[0].isupper() else ("true", "false")
        return CategoricalParameter.parse({"name": name, "values": texts})
    number = _number(hint)
    if number is None:
        return CategoricalParameter.parse({"name": name, "values": (hint,)})
    if isinstance(number, int):
        return IntegerParameter.parse({"name": name, **_whole(number)})
    return ContinuousParameter.parse({"name": name, **_real(number)})


def _number(text: str) -> int | float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(number: int) -> dict[str, object]:
    ends = sorted((int(number / WHOLE_FACTOR), number * WHOLE_FACTOR))
    low, high = (ends[0], ends[1]) if number else (0, WHOLE_FACTOR)
    low = max(low, 1) if number > 0 else low
    scale = "Logarithmic" if low > 0 else "Linear"
    return {"min_value": low, "max_value": high, "scaling_type": scale}


def _real(number: float) -> dict[str, object]:
    if number == 0.0:
        return {"min_value": 0.0, "max_value": 1.0, "scaling_type": "Linear"}
    if SHARE <= number < 1.0:
        rest = 1.0 - number
        low, high = max(1.0 - rest * FACTOR, 0.0), 1.0 - rest / FACTOR
        return {"min_value": low, "max_value": high, "scaling_type": "ReverseLogarithmic"}
    low, high = sorted((number / FACTOR, number * FACTOR))
    if 0.0 < number < SHARE:  # a share stays one
        high = min(high, 1.0)
    scale = "Logarithmic" if low > 0.0 else "Linear"
    return {"min_value": low, "max_value": high, "scaling_type": scale}
