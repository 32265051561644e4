"""The picture of the input plane: its grid, the points it picks, and that it is drawn for what there is."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from hydra_ray.data.rows import Rows
from hydra_ray.evaluation.input_grid import Plane, grid_points, grid_ticks, shown_rows
from hydra_ray.metrics.row_scores import RowScores
from hydra_ray.report.figures import pictures_of
from hydra_ray.report.input_grid_figures import _three_points, line_picture, plane_picture
from hydra_ray.report.inputs import ReportInputs


def probabilities(points, num_members: int, sharpness: float) -> np.ndarray:
    """Three sectors; members agree within radius 1 and turn away from each other beyond it."""
    angle, radius = np.arctan2(points[:, 1], points[:, 0]), np.hypot(*points.T)
    turned = angle[:, None] + np.linspace(-1, 1, num_members) * np.maximum(radius - 1, 0)[:, None]
    logits = np.stack([np.cos(turned - centre) for centre in (0, 2 * np.pi / 3, -2 * np.pi / 3)], axis=-1)
    raised = np.exp(sharpness * radius[:, None, None] * logits)
    return raised / raised.sum(-1, keepdims=True)


def entropy(probs) -> np.ndarray:
    return -(probs * np.log(probs)).sum(-1)


def class_scores(answers) -> RowScores:
    total, data = entropy(answers.mean(1)), entropy(answers).mean(1)
    return RowScores(total=total, data=data, knowledge=total - data if answers.shape[1] > 1 else None)


def variance_scores(answers) -> RowScores:
    data, knowledge = np.exp(answers[..., 1]).mean(1), answers[..., 0].var(1)
    return RowScores(total=data + knowledge, data=data, knowledge=knowledge if answers.shape[1] > 1 else None)


def plane_of_classes(size: int = 2) -> Plane:
    rng = np.random.default_rng(0)
    rows = (rng.uniform(-0.7, 0.7, (600, size)) + 1e-3).astype(np.float32)
    ticks = grid_ticks(np.full(size, -0.7, np.float32), np.full(size, 0.7, np.float32) * 3)
    points = grid_points(ticks)
    points = points if size == 2 else np.concatenate([points, 0 * points], axis=1)
    ensemble, hydra = probabilities(points, 8, 6.0), probabilities(points, 5, 5.0)
    answers = {"ensemble": ensemble, "hydra": hydra, "kd": ensemble.mean(1, keepdims=True)}
    scores = {name: class_scores(each) for name, each in answers.items()}
    names, labels = ("x", "y")[:size], np.arange(600) % 3
    return Plane(names, ("a", "b", "c"), ticks, rows, labels, scores, answers)


def plane_of_targets(size: int) -> Plane:
    ticks = grid_ticks(np.full(size, -1, np.float32), np.ones(size, np.float32))
    x = grid_points(ticks)[:, 0]
    means = np.sin(3 * x)[:, None] + np.linspace(-1, 1, 6) * np.maximum(np.abs(x) - 1, 0)[:, None]
    ensemble = np.stack([means, np.full_like(means, -3.0)], axis=-1)
    kd = np.stack([means.mean(1), np.log(np.exp(-3) + means.var(1))], axis=-1)[:, None]
    answers = {"ensemble": ensemble, "kd": kd}
    scores = {name: variance_scores(each) for name, each in answers.items()}
    rows = np.random.default_rng(0).uniform(-1, 1, (300, size)).astype(np.float32)
    return Plane(("x", "y")[:size], (), ticks, rows, np.sin(3 * rows[:, 0]), scores, answers)


def evidence_of(plane: Plane | None) -> ReportInputs:
    return ReportInputs("run", {}, {"task": "classification"}, {}, [], {}, {}, plane)


def size_of(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("size", [1, 2])
def test_the_grid_reaches_beyond_the_training_rows_on_all_sides(size):
    low, high = np.array([0, -10], np.float32)[:size], np.array([1, 10], np.float32)[:size]
    ticks = grid_ticks(low, high)
    for axis, least, most in zip(ticks, low, high, strict=True):
        assert axis[0] == pytest.approx(least - 0.35 * (most - least))
        assert axis[-1] == pytest.approx(most + 0.35 * (most - least))
    points = grid_points(ticks)
    assert points.shape == (np.prod([len(axis) for axis in ticks]), size)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[1], [*[axis[0] for axis in ticks[:-1]], ticks[-1][1]])


def test_a_feature_that_never_changes_still_has_a_grid():
    (axis,) = grid_ticks(np.array([3], np.float32), np.array([3], np.float32))
    assert axis[0] < 3 < axis[-1]


def test_shown_rows_are_a_part_of_many_and_all_of_few():
    for number, expected in ((1500, 1500), (1501, 751), (40_000, 1482)):
        rows = Rows(np.arange(number), np.arange(number, dtype=np.float32)[:, None], np.arange(number) % 3)
        inputs, labels = shown_rows(rows)
        assert len(inputs) == len(labels) == expected
        np.testing.assert_array_equal(inputs[:, 0] % 3, labels)


def test_the_three_points_are_a_sure_one_an_overlap_and_one_never_seen():
    plane = plane_of_classes()
    sure, overlap, unseen = _three_points(plane)
    scores = plane.scores["ensemble"]
    assert scores.knowledge is not None
    assert scores.total[sure.index] < 0.1
    assert scores.data[overlap.index] > 0.9
    assert scores.knowledge[overlap.index] < 0.1
    assert scores.knowledge[unseen.index] > 0.5
    assert max(map(abs, sure.place)) < 0.75
    assert max(map(abs, overlap.place)) < 0.75
    assert max(map(abs, unseen.place)) > 0.75


def test_planes_are_drawn_with_triangles_for_three_classes_alone():
    plane = plane_of_classes()
    width, height = size_of(plane_picture(evidence_of(plane)))
    assert width == 1280
    four = {name: np.concatenate([each * 0.9, 0 * each[..., :1] + 0.1], -1) for name, each in plane.answers.items()}
    without = size_of(plane_picture(evidence_of(replace(plane, answers=four))))
    assert without[0] == width
    assert without[1] < height - 250
    assert size_of(plane_picture(evidence_of(plane_of_targets(2))))[1] == pytest.approx(without[1], abs=400)


@pytest.mark.parametrize("plane", [plane_of_classes(1), plane_of_targets(1)])
def test_lines_are_drawn_for_both_tasks(plane):
    assert size_of(line_picture(evidence_of(plane)))[0] == 1280


def test_a_report_has_the_picture_that_its_inputs_allow():
    for plane, expected in ((plane_of_classes(), "plane.png"), (plane_of_targets(1), "line.png"), (None, None)):
        files = {kind.file for kind in pictures_of(evidence_of(plane))} & {"plane.png", "line.png"}
        assert files == ({expected} if expected else set())
