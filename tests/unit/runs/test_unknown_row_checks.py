"""A Prior Network needs labelled rows and unknown ones, and is not judged on those that it was taught."""

import pytest

from hydra_ray.errors import UserError
from hydra_ray.runs.preflight import check_settings

PRIOR = "students=[kd, prior_network]"
KNOWN = "{view: identity}"
OTHER = "{view: identity, source: photo_patches}"
MIXED = "{view: mixup, options: {block_rows: 100}}"


def refusal(run, *words):
    with pytest.raises(UserError) as raised:
        check_settings(run(PRIOR, *words))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_without_unknown_rows_it_is_refused(run):
    assert refusal(run, f"transfer.views=[{KNOWN}, {{view: affine}}]") == (
        "students.prior_network: no row of transfer.views (identity, affine) is unknown; add another data set, "
        "{view: identity, source: NAME}, or a view without labels, such as uniform_box for features, or leave this "
        "student out"
    )


def test_without_labels_it_is_refused(run):
    found = refusal(run, f"transfer.views=[{OTHER}]")
    assert found.startswith("students.prior_network: no row of transfer.views (identity) keeps its label")


def test_rows_that_it_is_judged_on_are_refused(run):
    found = refusal(run, f"transfer.views=[{KNOWN}, {OTHER}]", "data.unknown={photos: photo_patches}")
    assert found == (
        "transfer.views.1.source=photo_patches: is data.unknown.photos too, and students.prior_network would be judged "
        "on what it was taught; use another, or leave this student out"
    )
    twice = [f"transfer.views=[{KNOWN}, {MIXED}]", f"data.unknown={{mixed: {MIXED}}}"]
    assert refusal(run, *twice).startswith("transfer.views.1.view=mixup: is data.unknown.mixed too")
    check_settings(run("students=[kd]", *twice))


@pytest.mark.parametrize("unknown", [OTHER, MIXED])
def test_rows_without_a_label_are_its_unknown_ones(run, unknown):
    check_settings(run(PRIOR, f"transfer.views=[{KNOWN}, {unknown}]"))
