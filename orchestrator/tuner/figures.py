"""Optuna's own plots of a tuning job, as JSON for plotly.js."""

from __future__ import annotations

import html
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

from optuna import visualization

from orchestrator.errors import InvalidState
from orchestrator.report.tuning import Figure, Part
from orchestrator.tuner.results import check_importance
from orchestrator.tuner.study import Look, study_of

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure as Plot

    from orchestrator.tuner.results import Results

MOST_LINES = 500
"""Training jobs in parallel coordinates, each a line: more are slow to draw and hide each other."""
MOST_AXES = 3
"""Objectives that Optuna can show against each other."""


def parts_of(results: Results) -> tuple[Part, ...]:
    """Return the plots of each objective, and of several the front.

    Args:
        results: The training jobs; at least one of them is whole.
    """
    parts = [_part(results, place) for place in range(len(results.objectives))]
    return (*_front(results), *parts)


def library() -> str:
    """Return the text of plotly.js, which shows figures."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 -- reads some megabytes

    return str(get_plotlyjs())


def shown(text: str) -> str:
    """Return a name so that plotly.js, which knows some HTML, shows it as it is."""
    return html.escape(text if text.isprintable() else repr(text), quote=False)


def _part(results: Results, place: int) -> Part:
    objective = results.objectives[place]
    study = study_of(results, place=place, look=Look(shown))
    name = shown(objective.metric_name)
    figures = [
        _figure("History", visualization.plot_optimization_history(study, target_name=name))
    ]
    if results.space.parameters:
        figures.append(_figure("Parallel coordinates", _lines(results, place)))
        figures.append(_figure("Slices", visualization.plot_slice(study, target_name=name)))
    notes = []
    if len(results.whole) > MOST_LINES:
        notes.append(f"Parallel coordinates show the {MOST_LINES} best training jobs.")
    try:
        check_importance(results, place)
    except InvalidState as error:
        notes.append(error.message)
    else:
        figures.append(_figure("Importance", _importance(results, place)))
    return Part(f"{objective.metric_name} ({objective.type})", tuple(figures), tuple(notes))


def _lines(results: Results, place: int) -> Plot:
    whole = [job for job in results.best_first(place) if results.is_whole(job)]
    best = replace(results, jobs=tuple(whole[:MOST_LINES]))
    study = study_of(best, place=place, look=Look(shown))
    name = shown(results.objectives[place].metric_name)
    return visualization.plot_parallel_coordinate(study, target_name=name)


def _importance(results: Results, place: int) -> Plot:
    study = study_of(results, place=place, look=Look(shown, as_searched=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few have a value of a conditional parameter
        return visualization.plot_param_importances(study)


def _front(results: Results) -> tuple[Part, ...]:
    count = len(results.objectives)
    if count == 1:
        return ()
    title = "Pareto front"
    if count > MOST_AXES:
        return (Part(title, (), (f"{count} objectives have no picture; see the table.",)),)
    study: optuna.Study = study_of(results, look=Look(shown))
    return (Part(title, (_figure(title, visualization.plot_pareto_front(study)),)),)


def _figure(title: str, plot: Plot) -> Figure:
    plot.update_layout(title=None, template="plotly_white", margin={"t": 30})
    return Figure(title, str(plot.to_json()))
