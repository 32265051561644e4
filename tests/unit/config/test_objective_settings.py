"""Objectives of groups in a recipe: which groups they make, what they change, and what does not suit them."""

import pytest
from helpers.finished import RECIPE, loaded, recipe
from support import REPO

from hydra_ray.config import OBJECTIVES
from hydra_ray.config.load import load_config
from hydra_ray.errors import UserError
from hydra_ray.runs.preflight import check_networks, check_settings

IMAGES = (
    "[{architecture: cnn, options: {widths: [4]}, count: 2}, {architecture: mlp, options: {hidden: [4]}, count: 4}]"
)

DIVERSE = ("ensemble.objective=dexdeepfm", "ensemble.architecture=dexdeepfm", "ensemble.options={}")

RECIPES = (REPO / "docs" / "recipes.md").read_text()
UNTOLD = ("first_radius", "last_radius", "num_steps")  # of the ascent of TRS


@pytest.fixture
def place(tmp_path):
    return recipe(tmp_path)


def groups(place, *words):
    return [list(group) for group in load_config(place, words).ensemble.trained_together]


def test_groups_are_of_members_that_are_alike(place):
    assert groups(place) == [[0], [1], [2], [3], [4]]
    assert groups(place, "ensemble.objective=independent") == [[0], [1], [2], [3], [4]]
    assert groups(place, "ensemble.objective=joint") == [[0, 1, 2, 3, 4]]
    assert groups(place, "ensemble.objective=joint", "ensemble.num_members=4", "ensemble.group_size=2") == [
        [0, 1],
        [2, 3],
    ]
    mixed = [f"ensemble.members={IMAGES}", "ensemble.num_members=6", "ensemble.architecture=cnn"]
    mixed.append("ensemble.options={widths: [4]}")
    assert groups(place, "ensemble.objective=joint", *mixed) == [[0, 1], [2, 3, 4, 5]]
    assert groups(place, "ensemble.objective=joint", "ensemble.group_size=2", *mixed) == [[0, 1], [2, 3], [4, 5]]


def test_keys_of_a_kind_are_set_on_the_command_line(place):
    words = ["ensemble.objective={kind: adp, entropy_weight: 1.5}", "ensemble.objective.volume_weight=0.25"]
    objective = load_config(place, words).ensemble.objective
    assert objective is not None
    assert objective.model_dump() == {"kind": "adp", "entropy_weight": 1.5, "volume_weight": 0.25}
    named = load_config(place, ["ensemble.objective=adp", "ensemble.objective.volume_weight=0.25"]).ensemble.objective
    assert named is not None
    assert named.model_dump() == {"kind": "adp", "entropy_weight": 2.0, "volume_weight": 0.25}


@pytest.mark.parametrize("section", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_key_is_documented(section):
    assert section.__doc__
    assert all(field.description for name, field in section.model_fields.items() if name != "kind")
    assert all(f"`{name}`" in RECIPES for name in section.model_fields if name not in ("kind", *UNTOLD))
    assert f"`{section.model_fields['kind'].default}`" in RECIPES


def fingerprints(place, *words):
    run = loaded(place, *words)
    return [member.fingerprint for member in run.members()]


def test_a_member_depends_on_its_objective_and_on_who_is_in_its_group(place):
    alone = fingerprints(place)
    assert fingerprints(place, "ensemble.objective=independent") == alone
    joint = fingerprints(place, "ensemble.objective=joint")
    assert not set(joint) & set(alone)
    more = fingerprints(place, "ensemble.objective=joint", "ensemble.num_members=6")
    assert not set(joint) & set(more)  # all of them are one group
    pairs = [
        fingerprints(place, "ensemble.objective=joint", "ensemble.group_size=2", f"ensemble.num_members={count}")
        for count in (4, 6)
    ]
    assert pairs[1][:4] == pairs[0]
    other = fingerprints(place, "ensemble.objective={kind: adp, volume_weight: 1.0}")
    assert not set(other) & set(fingerprints(place, "ensemble.objective=adp"))


def test_members_of_an_objective_of_one_are_independent_of_each_other(place):
    assert groups(place, *DIVERSE) == [[0], [1], [2], [3], [4]]
    plain = fingerprints(place, *DIVERSE[1:])
    diverse = fingerprints(place, *DIVERSE)
    assert not set(plain) & set(diverse)
    assert fingerprints(place, *DIVERSE, "ensemble.num_members=6")[:5] == diverse
    other = fingerprints(place, "ensemble.objective={kind: dexdeepfm, diversity_weight: 0.5}", *DIVERSE[1:])
    assert not set(other) & set(diverse)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ensemble.objective=foo"], 'ensemble.objective="foo": kind must be one of independent, joint, negative_corr'),
        (["ensemble.objective=[adp]"], 'ensemble.objective=["adp"]: kind must be one of'),
        (["ensemble.objective={kind: adp, volum_weight: 1}"], "adp has no key volum_weight; nearest: volume_weight"),
        (["ensemble.objective={kind: joint, weight: 1}"], "joint has no key weight; it has none"),
        (["ensemble.objective={kind: adp, volume_weight: -1}"], "ensemble.objective.volume_weight=-1: must be greater"),
        (["ensemble.objective={kind: negative_correlation, weight: 2}"], "ensemble.objective.weight=2: must be less"),
        (["ensemble.group_size=5"], "ensemble.group_size=5, but members are trained independently: set ensemble.obj"),
        (
            ["ensemble.objective=adp", "ensemble.group_size=2"],
            "ensemble.group_size=2: does not divide the 5 members of",
        ),
        (
            ["ensemble.objective=adp", "ensemble.group_size=1"],
            "ensemble.group_size=1: must be greater than or equal to 2",
        ),
        (["ensemble.objective=adp", "ensemble.num_members=1", "students=[kd]"], "but mlp has 1; use 2 or more"),
        (
            ["ensemble.objective=adp", "ensemble.folds=5"],
            "but ensemble.folds=5 gives each its own; leave one of them out",
        ),
        (
            ["ensemble.objective=joint", "predict.shards=/shards"],
            "ensemble.objective=joint: no member is trained here, others answer in their place; leave it out",
        ),
        (
            ["ensemble.objective=dexdeepfm"],
            "ensemble.objective=dexdeepfm: is for members of architecture dexdeepfm, not mlp; set ensemble.architec"
            "ture=dexdeepfm, or leave it out",
        ),
        (
            ["ensemble.objective=dexdeepfm", "ensemble.members=[{architecture: dexdeepfm}, {architecture: xdeepfm}]"],
            "is for members of architecture dexdeepfm, not xdeepfm; set",
        ),
        (
            [*DIVERSE, "ensemble.group_size=5"],
            "ensemble.group_size=5, but members are trained independently: set ensemble.obj",
        ),
        (
            [*DIVERSE, "predict.shards=/shards"],
            "ensemble.objective=dexdeepfm: no member is trained here, others answer in their place; leave it out",
        ),
        (["ensemble.objective={kind: dexdeepfm, weight: 1}"], "dexdeepfm has no key weight; nearest: l2_weight"),
    ],
)
def test_what_does_not_suit_is_one_line(place, words, message):
    with pytest.raises(UserError) as raised:
        load_config(place, words)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def refused(place, *words):
    def check():
        run = loaded(place, *words)
        check_settings(run)
        check_networks(run)

    with pytest.raises(UserError) as raised:
        check()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_adp_has_no_more_members_than_there_are_other_classes(place):
    many = ["ensemble.objective=adp", "ensemble.num_members=10"]
    assert refused(place, *many) == (
        "ensemble.objective=adp: 10 members are to differ in their predictions of the 9 classes beside the label; use "
        "ensemble.group_size=5"
    )
    check_settings(loaded(place, *many, "ensemble.group_size=5"))
    assert refused(place, "ensemble.objective=adp", "ensemble.num_members=11").endswith(
        "use fewer members, or another objective"
    )


def test_every_worker_has_a_row_of_a_batch(place):
    small = ["ensemble.objective=joint", "ensemble.batch_size=2", "cluster.num_workers=3"]
    assert refused(place, *small) == (
        "ensemble.objective=joint: 3 workers share the 2 rows of a batch (ensemble.batch_size); use "
        "cluster.num_workers=2 or fewer"
    )
    check_settings(loaded(place, *small, "ensemble.num_members=6", "ensemble.group_size=2"))


def test_objectives_of_classes_are_not_for_a_regression(tmp_path):
    place = recipe(tmp_path, RECIPE.replace("source: digits, max_train_rows: 200", "source: wave"))
    for kind, words in (("adp", ()), ("trs", ()), ("dexdeepfm", DIVERSE[1:])):
        assert refused(place, f"ensemble.objective={kind}", *words).startswith(
            f"ensemble.objective={kind}: is for classification, and data.source=wave is a regression; use another"
        )
    for kind in ("joint", "negative_correlation"):
        run = loaded(place, f"ensemble.objective={kind}")
        check_settings(run)
        check_networks(run)


def test_a_network_without_gradients_by_its_inputs_is_refused(place, tmp_path, monkeypatch):
    (tmp_path / "steps.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from hydra_ray.models import Network\n"
        "class Steps(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return (x.flatten(1) > 0).float()\n"
        "def steps(input_shape, num_outputs):\n"
        "    return Network(nn.Sequential(Steps(), nn.Linear(64, 4)), nn.Linear(4, num_outputs), 4)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ["ensemble.architecture=steps:steps", "ensemble.options={}"]
    found = refused(place, "ensemble.objective=trs", *own)
    assert found.startswith("ensemble.objective=trs: steps:steps cannot be trained by it (")
    check_networks(loaded(place, "ensemble.objective=adp", *own))


def test_trs_has_no_use_for_a_compiled_network(place):
    assert refused(place, "ensemble.objective=trs", "ensemble.compile=true") == (
        "ensemble.objective=trs: a compiled network has no second derivatives; leave ensemble.compile out"
    )
