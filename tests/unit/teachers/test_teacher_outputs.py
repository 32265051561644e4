"""What teachers say becomes what shards hold, or is refused with the row."""

import numpy as np
import pytest

from hydra_ray.errors import UserError
from hydra_ray.teachers import LEAST_PROBABILITY
from hydra_ray.teachers.outputs import as_outputs

ROWS = np.array([7, 9])


def softmax(logits):
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def test_logits_stay_what_they_are():
    values = np.arange(12).reshape(2, 2, 3)
    found = as_outputs(values, "logits", 2, 3, ROWS)
    assert found.dtype == np.float32
    assert np.array_equal(found, values)


def test_probabilities_become_their_logarithms():
    probs = softmax(np.random.default_rng(0).normal(size=(2, 4, 3)))
    assert softmax(as_outputs(probs, "probabilities", 4, 3, ROWS)) == pytest.approx(probs, rel=1e-5)


def test_hard_votes_get_the_least_probability():
    probs = np.eye(3)[[[0, 2], [1, 1]]]
    found = softmax(as_outputs(probs, "probabilities", 2, 3, ROWS).astype(np.float64))
    assert found.min() == pytest.approx(LEAST_PROBABILITY / (1 + 2 * LEAST_PROBABILITY))
    assert np.array_equal(found.argmax(-1), [[0, 2], [1, 1]])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_of_two_classes_the_second_ones_probability_is_enough(shape):
    second = np.linspace(0.1, 0.9, 6).reshape(shape)
    found = softmax(as_outputs(second, "probabilities", 3, 2, ROWS))
    assert found[..., 1] == pytest.approx(second.reshape(2, 3), rel=1e-5)


def test_variances_become_logarithms_and_means_alone_wait_for_theirs():
    both = np.array([[[1.0, 4.0]], [[2.0, 0.25]]])
    assert as_outputs(both, "mean_variance", 1, 2, ROWS)[..., 1] == pytest.approx(np.log(both[..., 1]))
    for means in (both[..., 0], both[..., :1]):
        assert np.array_equal(as_outputs(means, "mean", 1, 2, ROWS), [[[1, 0]], [[2, 0]]])


def test_members_without_an_answer_are_zeros_whatever_stands_there():
    values = np.array([[[0.2, 0.8], [np.nan, np.nan]], [[0.5, 0.5], [1.0, 0.0]]])
    answered = np.array([[True, False], [True, True]])
    found = as_outputs(values, "probabilities", 2, 2, ROWS, answered)
    assert np.isfinite(found).all()
    assert np.array_equal(found[0, 1], [0, 0])


@pytest.mark.parametrize(
    ("values", "said", "line"),
    [
        (np.ones((2, 2, 4)), "logits", r"answers have shape \[2, 2, 4\]; return \[rows, members, 3 classes\]"),
        (np.ones((2, 2)), "logits", r"answers have shape \[2, 2\]"),
        (np.ones((2, 5, 3)), "logits", r"are of 5 members, but ensemble.num_members=2: set ensemble.num_members=5"),
        (np.array([["a"]]), "logits", "not numbers"),
        (np.full((2, 2, 3), 0.5), "probabilities", "member 0 for row 7 add up to 1.5; if these are logits"),
        (np.array([[[1.5, -0.5, 0], [1, 0, 0]]] * 2), "probabilities", "member 0 for row 7 are negative"),
        (np.array([[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, np.inf, 0]]]), "logits", "member 1 answers row 9 with"),
    ],
)
def test_what_is_no_answer_is_refused_with_member_and_row(values, said, line):
    with pytest.raises(UserError, match=line):
        as_outputs(values, said, 2, 3, ROWS)


def test_a_variance_that_is_none_is_refused():
    with pytest.raises(UserError, match="member 0 gives row 9 the variance 0; variances are above 0"):
        as_outputs(np.array([[[1.0, 1.0]], [[1.0, 0.0]]]), "mean_variance", 1, 2, ROWS)
