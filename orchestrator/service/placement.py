"""Where a request made for AWS runs here: its image is looked up, its code fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.catalogue import images
from orchestrator.errors import ImageError
from orchestrator.service.script_mode import SUBMIT_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.service.script_mode import ScriptMode
    from orchestrator.spec.job import TrainingJobSpec


REMEMBERED_SECONDS = 1.0
MOST_REMEMBERED = 1000


class Remembered:
    """Answers of a question that costs some milliseconds, for a moment: a burst of jobs asks once.

    Args:
        ask: The question.
        clock: The time.
    """

    def __init__(self, ask: Callable[[str], bool], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._answers: dict[str, tuple[float, bool]] = {}

    def __call__(self, about: str) -> bool:
        """Return the answer, at most a moment old."""
        now = self._clock.monotonic()
        at, answer = self._answers.get(about, (-REMEMBERED_SECONDS, False))
        if now - at >= REMEMBERED_SECONDS:
            answer = self._ask(about)
            if len(self._answers) >= MOST_REMEMBERED:
                self._answers.clear()
            self._answers[about] = (now, answer)
        return answer

    def known(self, about: str) -> bool:
        """Return an answer that was given a moment ago; nobody is asked.

        Raises:
            Unasked: There is none.
        """
        at, answer = self._answers.get(about, (-REMEMBERED_SECONDS, False))
        if self._clock.monotonic() - at >= REMEMBERED_SECONDS:
            raise Unasked(about)
        return answer


class Unasked(LookupError):
    """An engine would have to be asked."""


class Placement:
    """Chooses back end, image and interpreter of jobs that name only an image.

    Args:
        home: Where the image map is.
        prefer: Which back end is asked for.
        script_mode: Fetches code that hyperparameters name.
        has_image: Whether the local engine has an image; false where there is no engine.
    """

    def __init__(
        self,
        home: Path,
        prefer: images.Preference,
        script_mode: ScriptMode,
        has_image: Remembered,
    ) -> None:
        self._home = home
        self._prefer = prefer
        self._script_mode = script_mode
        self._has_image = has_image

    def placed_at_once(self, spec: TrainingJobSpec) -> TrainingJobSpec | None:
        """Return what ``placed`` does, or None if that or the job's admission may take long.

        No code is fetched and no engine asked.

        Raises:
            ImageError, InvalidSpec: As ``placed``.
        """
        if SUBMIT_DIRECTORY in spec.hyper_parameters:
            return None
        try:
            found = self._placed(spec, self._has_image.known)
        except Unasked:
            return None
        return None if found.algorithm_specification.training_image else found

    def placed(self, spec: TrainingJobSpec) -> TrainingJobSpec:
        """Return a specification that says where it runs; the same where no image is named.

        Raises:
            ImageError: Nothing on this machine stands for the image, or what does needs code.
            InputError: The code it names cannot be had.
            InvalidSpec: The image map is broken.
        """
        return self._placed(spec, self._has_image)

    def _placed(self, spec: TrainingJobSpec, is_present: Callable[[str], bool]) -> TrainingJobSpec:
        image = spec.algorithm_specification.training_image
        if image is None:
            return spec
        target = images.resolve(
            image, images.load(self._home), self._prefer, is_present=is_present
        )
        coded = self._script_mode.with_source(spec)
        algorithm = coded.algorithm_specification
        if target.backend == "process" and not (
            coded.source_code or algorithm.container_entrypoint
        ):
            raise ImageError(
                f"{image!r} stands for an interpreter on this machine, which runs code but no image's "
                "own program; give ContainerEntrypoint, or code in script mode (sagemaker_program "
                "and sagemaker_submit_directory), or map the image to one of the Docker engine"
            )
        update = {"training_image": target.image}
        return coded.model_copy(
            update={
                "algorithm_specification": algorithm.model_copy(update=update),
                "backend": target.backend,
                "python": target.python,
            }
        )
