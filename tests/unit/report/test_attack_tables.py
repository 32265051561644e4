"""Attacks in the report: every figure where it belongs, what was tried, and nothing where nothing was."""

from dataclasses import replace

import pytest
from helpers.report_inputs import synthetic

from hydra_ray.report.attack_tables import attack_note, attack_tables, member_transfer_tables
from hydra_ray.report.page import write_html, write_markdown
from hydra_ray.report.tables import diversity_table

TRIED = {
    "kinds": ["fgsm", "pgd"], "eps": [0.03], "rows": 1000, "steps": 50, "step_size": 0.2, "restarts": 5,
    "losses": ["ce", "cw"], "confidence": 0.1, "decay": 1.0,
}  # fmt: skip
ROBUSTNESS = {
    "tried": TRIED,
    "clean": {"member": 0.95, "ensemble": 0.96, "hydra_raw": 0.94},
    "robust_accuracy": {
        "fgsm": {"0.03": {"member": 0.51, "ensemble": 0.52, "hydra_raw": 0.53}},
        "pgd": {"0.03": {"member": 0.11, "ensemble": 0.12, "hydra_raw": 0.13}},
    },
    "transfer": {
        "fgsm": {"0.03": {"ensemble": {"hydra_raw": 0.21}, "hydra_raw": {"ensemble": 0.22}}},
        "pgd": {"0.03": {"ensemble": {"hydra_raw": None}, "hydra_raw": {"ensemble": 0.24}}},
    },
    "member_transfer": {"fgsm": {"0.03": [[0.5, 0.25], [0.125, 0.625]]}, "pgd": {"0.03": [[1.0, 0.75], [None, 1.0]]}},
}


@pytest.fixture(scope="module")
def plain():
    return synthetic()


@pytest.fixture(scope="module")
def attacked(plain):
    measures = {"diversity": {"gradient_cosine": 0.85, "log_volume": -17.1}}
    return replace(plain, metrics={**plain.metrics, **measures, "robustness": ROBUSTNESS})


def test_accuracy_and_transfer_are_tables(attacked):
    robust, transfer = attack_tables(attacked.metrics)
    assert robust.columns == ("attack", "member", "ensemble", "hydra_raw")
    assert robust.rows == (
        ("none", "95.00 %", "96.00 %", "94.00 %"),
        ("FGSM, eps 0.03", "51.00 %", "52.00 %", "53.00 %"),
        ("PGD, eps 0.03", "11.00 %", "12.00 %", "13.00 %"),
    )
    assert transfer.columns == ("attack", "hydra_raw")
    assert transfer.rows == (("FGSM, eps 0.03", "22.0 % / 21.0 %"), ("PGD, eps 0.03", "24.0 % / –"))


def test_members_have_a_matrix_for_each_attack(attacked):
    fgsm, pgd = member_transfer_tables(attacked.metrics)
    assert fgsm.rows == (("member 0", "50.00 %", "25.00 %"), ("member 1", "12.50 %", "62.50 %"))
    assert pgd.title.endswith("PGD, eps 0.03")
    assert pgd.rows[1] == ("member 1", "–", "100.00 %")


def test_many_members_have_one_table_of_means():
    shares = [[1.0 if one == other else 0.25 for other in range(12)] for one in range(12)]
    shares[0][1], shares[0][2], shares[0][3] = 0.0, 0.5, None
    found = {"fgsm": {"0.03": shares}, "pgd": {"0.03": [[None] * 12] * 12}}
    (table,) = member_transfer_tables({"robustness": {"member_transfer": found}})
    assert table.columns == ("attack", "mean", "lowest", "highest")
    assert table.rows == (("FGSM, eps 0.03", "25.00 %", "0.00 %", "50.00 %"), ("PGD, eps 0.03", "–", "–", "–"))


def test_what_was_tried_is_said_and_no_more_is_claimed(attacked):
    note = attack_note(attacked.metrics)
    assert "on 1,000 test rows: FGSM, one step; PGD, 50 steps of 0.2 eps from 5 random starts for each loss" in note
    assert "MIM" not in note
    assert "pixels are between 0 and 1" in note
    assert "Nothing is claimed beyond these attacks" in note


def test_measures_of_adp_and_trs_have_names(attacked):
    names = [row[0] for row in diversity_table(attacked.metrics).rows]
    assert names == ["|cos| of input gradients (less)", "ln det of predictions of other classes (more)"]


@pytest.mark.parametrize("write", [write_markdown, lambda inputs: write_html(inputs, {})], ids=["md", "html"])
def test_pages_have_them_where_they_were_tried(plain, attacked, write):
    words = ("Accuracy under attack", "Members that rows made against another fool", "Nothing is claimed beyond")
    page = write(attacked)
    assert all(each in page for each in words)
    assert page.count("Nothing is claimed beyond") == 1, "once, below both tables"
    assert not any(each in write(plain) for each in words)
