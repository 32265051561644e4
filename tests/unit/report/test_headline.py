"""The answer in one sentence, and a second where the control does better than the student."""

import pytest

from hydra_ray.report.headline import headline


def metrics(**nll):
    return {
        "task": "classification",
        "test": {name: {"nll": value, "mutual_information": 0.1} for name, value in nll.items()},
        "cost": {name: {"macs": 5 if name == "ensemble" else 1} for name in nll},
    }


SAID = "hydra takes 20 % of the ensemble's MACs; NLL 1.05 × the ensemble's."


@pytest.mark.parametrize(
    ("control", "further"),
    [
        ({}, ""),
        ({"labels": 1.2}, ""),
        ({"labels": 0.985}, " Taught by labels alone the same network has an NLL of 0.985 against 1.050."),
    ],
)
def test_a_control_that_does_better_is_said(control, further):
    assert headline(metrics(ensemble=1.0, hydra=1.05, **control)) == SAID + further
