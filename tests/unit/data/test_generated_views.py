"""The generated sets of the study: two views a class, and one Gaussian a class."""

import numpy as np
from helpers.dataset_files import opened

from hydra_ray.data.generated import gaussian_mixture, multi_view


def test_most_rows_show_both_views_of_their_class_and_some_one_of_them():
    rows, classes, names, features = multi_view()
    assert (len(names), len(features)) == (10, 20)
    assert np.bincount(classes).tolist() == [400] * 10
    own = rows[np.arange(len(rows))[:, None], 2 * classes[:, None] + [0, 1]]
    shown = (own > 0.5).sum(axis=1)
    assert set(shown) == {1, 2}
    assert abs((shown == 1).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(rows))
    assert abs((own[shown == 1].argmax(axis=1) == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt((shown == 1).sum())
    assert 0.95 < own[shown == 2].mean() < 1.05


def test_views_of_other_classes_are_fainter():
    rows, classes, *_ = multi_view()
    others = np.ones_like(rows, dtype=bool)
    others[np.arange(len(rows))[:, None], 2 * classes[:, None] + [0, 1]] = False
    assert rows[others].max() < 0.5 + 6 * 0.07
    assert 0.06 < rows[others].mean() < 0.09  # 0.3 x 0.25


def test_a_mixture_has_one_gaussian_a_class():
    rows, classes, names, _ = gaussian_mixture()
    centres = np.stack([rows[classes == number].mean(axis=0) for number in range(len(names))])
    assert abs((rows - centres[classes]).std() - 1) < 0.02
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)[np.triu_indices(len(names), 1)]
    assert abs(np.sqrt((apart**2).mean()) - 5) < 0.8


def test_they_are_data_sets_by_name():
    for name in ("multi_view", "gaussian_mixture"):
        data = opened(name)
        assert (data.task, data.num_outputs, data.input_shape) == ("classification", 10, (20,))
