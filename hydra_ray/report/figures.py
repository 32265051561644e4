"""All pictures of the report: file name, heading, how to read it, and when there is one.

Not here: how they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hydra_ray.report.formats import capitalised, words
from hydra_ray.report.input_grid_figures import has_line, has_plane, line_picture, plane_picture
from hydra_ray.report.inputs import ENSEMBLE, ReportInputs, compared, task_of, test_rows, with_knowledge
from hydra_ray.report.interval_figures import intervals_picture
from hydra_ray.report.prediction_figures import reliability_picture, sparsification_picture
from hydra_ray.report.search_figures import front_picture, others_shown, trials_picture
from hydra_ray.report.training_figures import training_picture
from hydra_ray.report.uncertainty_figures import histogram_picture, scatter_picture
from hydra_ray.tasks import Task


@dataclass(frozen=True)
class PictureKind:
    """One picture of the report.

    Attributes:
        file: its file name.
        heading: above it; {Quality} and the like stand for the task's words.
        reading: one plain sentence on how to read it, with the same.
        draw: the PNG.
        is_there: whether the inputs holds what it shows.
    """

    file: str
    heading: str
    reading: str
    draw: Callable[[ReportInputs], bytes]
    is_there: Callable[[ReportInputs], bool]


def _has(array: str) -> Callable[[ReportInputs], bool]:
    """Whether test rows have this array of `RowScores`, which one of the two tasks has not."""
    return lambda inputs: any(getattr(test_rows(inputs, name), array) is not None for name in compared(inputs))


FIGURES = (
    PictureKind(
        "plane.png",
        "The input plane",
        "Dark is unsure: classes that overlap are so in the upper line alone, places that nobody was shown in both; a "
        "faithful student has the ensemble's pattern, and one output has no lower line. In the triangles of three "
        "classes members that agree lie together, in a corner where they are sure.",
        plane_picture,
        has_plane,
    ),
    PictureKind(
        "line.png",
        "Along the input",
        "The darker band is noise in the data, the paler one beyond it what is not known: it should open in gaps and "
        "beyond the ends of the training rows. Of classes the dashed line is total uncertainty, the area knowledge.",
        line_picture,
        has_line,
    ),
    PictureKind(
        "knowledge_uncertainty.png",
        "Knowledge uncertainty of test and unknown rows",
        "The further the coloured rows (unknown) lie to the right of the grey ones (test), the better "
        "unknown inputs are recognised; the thin lines in a student's panels are the ensemble's two "
        "histograms, which a faithful student fills.",
        histogram_picture,
        lambda inputs: bool(with_knowledge(inputs)),
    ),
    PictureKind(
        "fidelity.png",
        "Student against ensemble, row by row",
        "On the dashed diagonal the student is exactly as unsure as the ensemble; below it the heads agree "
        "more than the members do; rank correlation says whether both put the rows in the same order.",
        scatter_picture,
        lambda inputs: len(with_knowledge(inputs)) > 1 and ENSEMBLE in with_knowledge(inputs),
    ),
    PictureKind(
        "reliability.png",
        "Reliability",
        "Of predictions made with 70 % confidence, 70 % should be right: bars end at the dashed diagonal, "
        "and hatching is what is missing or too much (pale: fewer than 20 rows).",
        reliability_picture,
        _has("confidence"),
    ),
    PictureKind(
        "intervals.png",
        "Coverage of intervals",
        "Of the targets, 70 % should lie inside the central 70 % interval: a curve on the dotted line is calibrated, "
        "below it the intervals are too narrow, above it too wide, and within the grey band chance may be all there is "
        "to it; of two calibrated predictors the one with narrower intervals says more.",
        intervals_picture,
        _has("interval_level"),
    ),
    PictureKind(
        "sparsification.png",
        "{Quality} against coverage",
        "Read from right to left: as the rows of highest {total} are handed to somebody else, the {quality} of the "
        "rest should {better} quickly. Marks on the curves are a student's thresholds, fitted on validation rows.",
        sparsification_picture,
        lambda inputs: bool(compared(inputs)),
    ),
    PictureKind(
        "training.png",
        "Training",
        "Thin lines are members, bold lines students; the upper panels share one axis, the losses below are "
        "each its own kind, and a dotted line marks where the next phase of distillation begins.",
        training_picture,
        lambda inputs: any("member" in event or "student" in event for event in inputs.epochs),
    ),
)


def pictures_of(inputs: ReportInputs) -> list[PictureKind]:
    """The pictures that these inputs give."""
    searches = [each for kind in inputs.searches for each in (_front_picture(kind), _trials_picture(kind))]
    task = task_of(inputs.metrics)
    return [_in_words_of(task, kind) for kind in (*FIGURES, *searches) if kind.is_there(inputs)]


def _in_words_of(task: Task, kind: PictureKind) -> PictureKind:
    quality = words(task.figures.quality)
    told = {
        "quality": quality,
        "Quality": capitalised(quality),
        "total": task.words.total_short,
        "better": task.words.better,
    }
    return replace(kind, heading=kind.heading.format(**told), reading=kind.reading.format(**told))


def _front_picture(kind: str) -> PictureKind:
    return PictureKind(
        f"front-{kind}.png",
        f"What the search for {kind} had to choose from",
        "Each point is a trial. No other trial is better in all figures than a blue one, so that a choice among the "
        "blue ones gives up some of one figure for another; the ringed one was taken.",
        lambda inputs: front_picture(inputs.searches[kind]),
        lambda inputs: bool(inputs.searches[kind].ranked) and bool(others_shown(inputs.searches[kind])),
    )


def _trials_picture(kind: str) -> PictureKind:
    return PictureKind(
        f"trials-{kind}.png",
        f"The search for {kind}",
        "Each point is a trial, at the value it tried: hollow ones were stopped early, the ringed one was taken.",
        lambda inputs: trials_picture(inputs.searches[kind]),
        lambda inputs: bool(inputs.searches[kind].ranked) and bool(inputs.searches[kind].keys),
    )


def draw_pictures(inputs: ReportInputs) -> dict[str, bytes]:
    """File name -> PNG of every picture."""
    return {kind.file: kind.draw(inputs) for kind in pictures_of(inputs)}
