"""`evaluate.attacks` in a recipe: what it may say, what it changes, and which data it is refused for."""

import pytest
from helpers.finished import loaded, recipe
from support import REPO

from hydra_ray.config import AttacksConfig
from hydra_ray.config.load import load_config
from hydra_ray.errors import UserError
from hydra_ray.runs.preflight import check_networks, check_settings

RECIPES = (REPO / "docs" / "recipes.md").read_text()


@pytest.fixture
def place(tmp_path):
    return recipe(tmp_path)


def attacks(place, *words):
    return load_config(place, words).evaluate.attacks


def test_none_are_tried_unless_asked_for(place):
    assert attacks(place) is None


def test_defaults_are_those_of_the_protocol(place):
    found = attacks(place, "evaluate.attacks=[pgd]")
    assert found is not None
    assert found.kinds == ["pgd"]
    assert (found.steps, found.restarts, found.step_size, found.losses) == (50, 5, 1 / 5, ["ce", "cw"])
    assert (found.confidence, found.rows) == (0.1, 1000)


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate.attacks={kinds: [fgsm], eps: [0.1]}"],
        ["evaluate.attacks.kinds=[fgsm]", "evaluate.attacks.eps=[0.1]"],
        ["evaluate.attacks=[fgsm]", "evaluate.attacks.eps=[0.1]"],
        ["evaluate.attacks=fgsm", "evaluate.attacks.eps=[0.1]"],
    ],
)
def test_keys_are_set_in_any_way(place, words):
    assert attacks(place, *words) == AttacksConfig(kinds=["fgsm"], eps=[0.1])


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("evaluate.attacks=[cw]", "evaluate.attacks.kinds.0"),
        ("evaluate.attacks=[pgd, pgd]", "must name each once"),
        ("evaluate.attacks=[]", "evaluate.attacks.kinds"),
        ("evaluate.attacks={eps: [8]}", "evaluate.attacks.eps.0=8: must be less than or equal to 1"),
        (
            "evaluate.attacks={epsilon: [0.1]}",
            "unknown key; nearest: evaluate.attacks.eps",
        ),
        ("evaluate.attacks={power: 1}", "evaluate.attacks.power=1: unknown key; valid here: kinds, eps, rows"),
        ("evaluate.attacks={restarts: 0}", "evaluate.attacks.restarts=0: must be greater than or equal to 1"),
    ],
)
def test_mistakes_are_one_line(place, word, expected):
    with pytest.raises(UserError, match=expected.replace(".", r"\.")) as told:
        attacks(place, word)
    assert "\n" not in str(told.value)


def test_only_the_report_depends_on_them(place):
    before, after = loaded(place), loaded(place, "evaluate.attacks=[fgsm]")
    assert before.report().key["evaluate"] == {"bootstrap_samples": 200, "latency_repeats": 20}
    assert before.report().fingerprint != after.report().fingerprint
    for of in (lambda run: run.member(0), lambda run: run.shards("test"), lambda run: run.student("hydra")):
        assert of(before).fingerprint == of(after).fingerprint
    other = loaded(place, "evaluate.attacks={kinds: [fgsm], rows: 10}")
    assert other.report().fingerprint != after.report().fingerprint


def table(folder):
    path = folder / "shop.csv"
    lines = [f"{number % 7},{'abc'[number % 3]},{number % 2}" for number in range(90)]
    path.write_text("\n".join(["size,colour,label", *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("diabetes", "data.source=diabetes is a regression; leave it out"),
        ("spirals", "data.source=spirals has features, whose range is not known"),
        ("shop.csv", "has categories, which cannot be changed a little"),
    ],
)
def test_only_images_are_attacked(place, tmp_path, source, expected):
    where = table(tmp_path) if source == "shop.csv" else source
    run = loaded(place, f"data.source={where}", "data.max_train_rows=60", "evaluate.attacks=[fgsm]")
    with pytest.raises(UserError, match=r"^evaluate\.attacks: ") as told:
        check_settings(run)
    assert expected in str(told.value)
    assert "\n" not in str(told.value)


def test_members_have_to_be_there(place):
    teachers = "ensemble.teachers={kind: callable, function: 'own_teachers:linear', outputs: logits}"
    run = loaded(place, teachers, "evaluate.attacks=[fgsm]")
    with pytest.raises(UserError, match=r"evaluate\.attacks: needs the gradients of members that are trained here"):
        check_settings(run)


def test_networks_need_gradients(place):
    check_networks(loaded(place, "evaluate.attacks=[fgsm]"))
    words = [f"ensemble.architecture={__name__}:no_gradients", "ensemble.options={}", "distill.body=mlp"]
    run = loaded(place, "evaluate.attacks=[fgsm]", *words)
    with pytest.raises(UserError, match=r"evaluate\.attacks needs members with gradients to their inputs"):
        check_networks(run)


def no_gradients(input_shape, num_outputs):
    """A network that rounds its inputs away from any gradient."""
    from torch import nn

    from hydra_ray.models import Network

    class Cut(nn.Module):
        def forward(self, rows):
            return rows.detach().flatten(1)

    width = input_shape[0] * input_shape[1] * input_shape[2]
    return Network(Cut(), nn.Linear(width, num_outputs), width)


def test_every_key_is_documented():
    for name, field in AttacksConfig.model_fields.items():
        assert field.description, name
        assert f"`{name}`" in RECIPES, name
