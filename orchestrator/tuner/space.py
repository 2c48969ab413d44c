"""What one question to the search covers: a definition, or all definitions as one space. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.ranges import CategoricalParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.spec.ranges import Parameter
    from orchestrator.spec.tuning import TrainingJobDefinition

WHICH = "definition"
"""The parameter of a joint space that says which definition counts; all others have a dot."""


@dataclass(frozen=True)
class Space:
    """Some definitions. With several, those of one another's parameters do not count.

    Attributes:
        definitions: In the order of the tuning job.
    """

    definitions: tuple[TrainingJobDefinition, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What is searched."""
        if len(self.definitions) == 1:
            return self.definitions[0].parameters
        names = tuple(each.definition_name for each in self.definitions)
        which = CategoricalParameter(name=WHICH, values=names)
        return (
            which,
            *(
                _within(place, definition, parameter)
                for place, definition in enumerate(self.definitions)
                for parameter in definition.parameters
            ),
        )

    def point(self, definition_name: str, values: Mapping[str, str]) -> dict[str, str]:
        """Return a training job's values as the search has them."""
        if len(self.definitions) == 1:
            return dict(values)
        names = [each.definition_name for each in self.definitions]
        place = names.index(definition_name)
        return {WHICH: definition_name, **{f"{place}.{name}": v for name, v in values.items()}}

    def values(self, point: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return a definition and its values, as the search has chosen them."""
        if len(self.definitions) == 1:
            return self.definitions[0].definition_name, dict(point)
        chosen = {name.partition(".")[2]: v for name, v in point.items() if name != WHICH}
        return point[WHICH], chosen


def _within(place: int, definition: TrainingJobDefinition, parameter: Parameter) -> Parameter:
    when = {f"{place}.{name}": allowed for name, allowed in parameter.when.items()}
    update = {
        "name": f"{place}.{parameter.name}",
        "when": {WHICH: (definition.definition_name,), **when},
    }
    return parameter.model_copy(update=update)
