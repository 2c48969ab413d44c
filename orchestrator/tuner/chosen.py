"""What the next training job is to be: newly chosen values, a retry, or a promotion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Chosen:
    """Values for the next training job.

    Attributes:
        continues: Index of the one that it repeats or continues.
        resource: Epochs that it is given; None = as many as a new one of its definition gets.
    """

    definition_name: str
    values: Mapping[str, str]
    continues: int | None = None
    resource: int | None = None
