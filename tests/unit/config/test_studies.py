"""Study files: the shipped ones load with every variant, and what is wrong in one is said in a line."""

import pytest
import yaml
from support import REPO

from hydra_ray.config import load_config, load_study, shipped_studies
from hydra_ray.errors import UserError
from hydra_ray.runs import sweep_of_study

STUDIES = sorted((REPO / "configs" / "studies").glob("*.yaml"))
GOOD = {
    "title": "A study",
    "recipe": "digits",
    "variants": [{"name": "plain"}, {"name": "joint", "set": {"ensemble.objective": "joint"}}],
    "rows": {"single": "plain/member", "ensemble": "plain/ensemble", "together": "joint/ensemble"},
    "columns": {"accuracy": "test.*.accuracy"},
    "statements": [{"says": "So.", "claims": [{"figure": "accuracy", "of": "ensemble", "over": "single", "above": 0}]}],
}


def written(folder, **changed):
    place = folder / "mine.yaml"
    place.write_text(yaml.safe_dump({**GOOD, **changed}))
    return str(place)


def sweep(study, *words):
    return sweep_of_study(study, lambda laid_over: load_config(study.recipe, words, laid_over=laid_over))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_load_with_all_variants(path):
    study = load_study(path.stem)
    found = sweep(study)
    assert study.name == path.stem
    assert len(found.runs) == len(study.variants) * len(study.seeds)
    assert {run.storage for run in found.runs} == {f"runs/{path.stem}"}


def test_studies_that_documents_name_are_shipped():
    assert {"why_ensembles", "diversity", "how_many", "click_rates", "dirichlets"} <= set(shipped_studies())


def test_words_change_the_recipe_and_leave_what_the_study_sets(tmp_path):
    study = load_study(written(tmp_path, set={"ensemble.epochs": 3}))
    found = sweep(study, "ensemble.epochs=9", "ensemble.batch_size=17", "storage=elsewhere")
    assert {(run.ensemble.epochs, run.ensemble.batch_size) for run in found.runs} == {(3, 17)}
    assert [run.name for run in found.runs][:2] == ["variant=plain,seed=0", "variant=plain,seed=1"]
    assert found.runs[0].storage == "elsewhere/mine"
    kinds = [run.ensemble.objective.kind if run.ensemble.objective else None for run in found.runs]
    assert kinds == [None] * 3 + ["joint"] * 3


def refusal(folder, **changed):
    with pytest.raises(UserError) as raised:
        sweep(load_study(written(folder, **changed)))
    text = str(raised.value)
    assert "\n" not in text
    return text


def claim(**changed):
    first = {**GOOD["statements"][0]["claims"][0], **changed}
    return [{"says": "So.", "claims": [{key: value for key, value in first.items() if value is not None}]}]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"recipe": "digit"}, "recipe=digit: no such recipe; nearest: digits"),
        ({"variants": [{"set": {"seed": 1}}]}, "variants.0.name is missing: add variants.0.name"),
        ({"variants": [{"name": "plain"}] * 2}, "variants: plain stands there twice"),
        ({"rows": {"single": "plan/member"}}, "rows.single=plan: no such variant; nearest: plain"),
        ({"rows": {"single": "plain"}}, "must be VARIANT/PREDICTOR"),
        ({"columns": {"accuracy": "tests.*.accuracy"}}, "columns.accuracy=\"tests.*.accuracy\": must be the path"),
        ({"statements": claim(figure="acuracy")}, "figure=acuracy: no such column; nearest: accuracy"),
        ({"statements": claim(of="ensembles")}, "claims.0.of=ensembles: no such row; nearest: ensemble"),
        ({"statements": claim(best="nobody")}, "claims.0.best=nobody: no such row"),
        ({"statements": claim(above=None)}, "give either above or below"),
        ({"statements": claim(below=1)}, "give either above or below"),
        ({"picture": {"kind": "lines", "x": "members"}}, "picture.x=members: no such number in at of variant plain"),
        ({"picture": {"kind": "lines"}}, "picture.x names the x axis"),
        ({"varants": []}, "varants=[]: unknown key; nearest: variants"),
        ({"rows": {"kd": "plain/kdd"}, "statements": []}, "rows.kd=plain/kdd: the variant has no such predictor"),
        (
            {"variants": [{"name": "plain", "set": {"ensemble.epoch": 1}}], "rows": None, "statements": [],
             "columns": {"accuracy": "test.ensemble.accuracy"}},
            "study mine: variant plain: ensemble.epoch=1: unknown key; nearest: ensemble.epochs",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path, changed, expected):
    assert expected in refusal(tmp_path, **changed)


def test_a_study_that_is_not_there_has_a_nearest(tmp_path):
    with pytest.raises(UserError, match="why_ensemble: no such study; nearest: why_ensembles"):
        load_study("why_ensemble")
