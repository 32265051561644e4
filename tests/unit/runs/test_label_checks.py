"""What is to learn from labels has some: a row of the transfer set that keeps its own."""

import pytest

from hydra_ray.errors import UserError
from hydra_ray.runs.preflight import check_settings

MIXED = "{view: mixup, options: {block_rows: 100}}"
OF_ANOTHER = "{view: identity, source: photo_patches}"


@pytest.mark.parametrize("views", [MIXED, OF_ANOTHER, f"{MIXED}, {OF_ANOTHER}"])
@pytest.mark.parametrize(
    ("word", "key", "way_out"),
    [
        ("students=[kd, labels]", "students.labels", "leave this student out"),
        ("distill.label_weight=0.5", "distill.label_weight=0.5", "leave it out"),
    ],
)
def test_views_that_all_lose_the_label_are_refused(run, views, word, key, way_out):
    with pytest.raises(UserError) as raised:
        check_settings(run(word, f"transfer.views=[{views}]"))
    names = ", ".join(name for name in ("mixup", "identity") if name in views)
    assert str(raised.value) == (
        f"{key}: no row of transfer.views ({names}) keeps its label; {way_out}, or add {{view: identity}}"
    )
    check_settings(run(f"transfer.views=[{views}]"))


@pytest.mark.parametrize("word", ["students=[kd, labels]", "distill.label_weight=0.5"])
def test_one_view_that_keeps_it_is_enough(run, word):
    check_settings(run(word, f"transfer.views=[{{view: affine}}, {MIXED}, {OF_ANOTHER}]"))
