"""`ensemble.members` and `ensemble.weights`: what follows from them, and what is refused where two places disagree."""

import pytest

from hydra_ray.config import OptionModels, load_config, validate
from hydra_ray.errors import UserError
from hydra_ray.models import architecture_options
from hydra_ray.views import view_options

TWO = "[{architecture: cnn, options: {widths: [4, 8]}, count: 3}, {architecture: mlp, count: 2}]"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: {source: digits}\nensemble: {epochs: 1}\n")
    return tmp_path / "mine.yaml"


def test_number_and_the_students_body_follow_from_the_groups(path):
    ensemble = load_config(path, [f"ensemble.members={TWO}"]).ensemble
    assert (ensemble.num_members, ensemble.architecture, ensemble.options) == (5, "cnn", {"widths": [4, 8]})
    assert [ensemble.group_of(number) for number in range(5)] == [0, 0, 0, 1, 1]
    assert [group.architecture for group in ensemble.groups] == ["cnn", "mlp"]


def test_members_that_are_alike_are_one_group(path):
    ensemble = load_config(path, ["ensemble.architecture=cnn", "ensemble.num_members=3"]).ensemble
    (group,) = ensemble.groups
    assert (group.architecture, group.count, ensemble.group_of(2)) == ("cnn", 3, 0)


def test_a_resolved_configuration_is_one_too(path):
    config = load_config(path, [f"ensemble.members={TWO}", "tune.num_trials=2", "tune.space.head_width=[4, 8]"])
    assert validate(config.model_dump(), "again") == config


@pytest.mark.parametrize(
    ("weights", "architecture"),
    [
        ("ResNet18_Weights.DEFAULT", "resnet18"),
        ("ViT_B_16_Weights.IMAGENET1K_V1", "vit_b_16"),
        ("folder/model.safetensors", "mlp"),
    ],
)
def test_an_architecture_follows_from_published_weights(path, weights, architecture):
    assert load_config(path, [f"ensemble.weights={weights}"]).ensemble.architecture == architecture
    if architecture != "mlp":
        ensemble = load_config(path, [f"ensemble.members=[{{weights: {weights}, count: 2}}]"]).ensemble
        assert (ensemble.architecture, ensemble.weights, ensemble.num_members) == (architecture, weights, 2)


def test_every_name_of_torchvision_leads_to_its_network():
    from torchvision import models

    from hydra_ray.config.member_groups import architecture_of

    for name in models.list_models(module=models):
        for entry in models.get_model_weights(name):
            assert architecture_of(str(entry)) == name


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([f"ensemble.members={TWO}", "ensemble.num_members=6"], "ensemble.num_members=6, but the counts in ensemble."),
        ([f"ensemble.members={TWO}", "ensemble.architecture=mlp"], "ensemble.architecture=mlp, but ensemble.members.0"),
        ([f"ensemble.members={TWO}", "ensemble.options={}"], "ensemble.options={}, but ensemble.members.0.options="),
        (["ensemble.members=[]"], "ensemble.members=[]"),
        (["ensemble.members=3"], "ensemble.members=3: must be a valid list"),
        (["ensemble.members=[{count: 3}]"], "ensemble.members.0.architecture is missing"),
        (["ensemble.members=[{architecture: mlp, count: 0}]"], "ensemble.members.0.count=0"),
        (["ensemble.members=[{architecture: mlp, cout: 2}]"], "ensemble.members.0.cout=2: unknown key"),
        (
            ["ensemble.members=[{architecture: mlpp}]"],
            'ensemble.members.0.architecture="mlpp": not known; did you mean',
        ),
        (["ensemble.members=[{architecture: mlp, options: {hiden: [3]}}]"], "ensemble.members.0.options.hiden"),
        (["ensemble.weights=model.pt"], 'ensemble.weights="model.pt": must be the path of a .safetensors file'),
        (["ensemble.weights=ResNet18_Weights.DEFAULT", "ensemble.architecture=cnn"], "are of resnet18, but ensemble."),
        (["ensemble.train=head", "predict.shards=x"], "ensemble.train=head: no member is trained here"),
        (["ensemble.train=heads"], "ensemble.train"),
    ],
)
def test_what_does_not_agree_is_one_line(path, words, expected):
    with pytest.raises(UserError) as raised:
        load_config(path, words, option_models=lambda: OptionModels(view_options, architecture_options))
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ensemble.min_members=9"], "ensemble.min_members=9, but ensemble.num_members=8: use fewer"),
        (["ensemble.min_members=0"], "ensemble.min_members=0: must be greater than or equal to 1"),
        (["ensemble.objective=joint"], "none can fail alone; leave it out"),
        (
            ["ensemble.folds=4"],
            "ensemble.min_members=3 with ensemble.folds=4: the rows of a fold would have no teacher",
        ),
        (["predict.shards=/shards"], "ensemble.min_members=3: no member is trained here, others answer in their place"),
        (["distill.members=[0, 2]"], "distill.members=[0, 2] with ensemble.min_members=3: one of these members may be"),
    ],
)
def test_a_quorum_that_makes_no_sense(path, words, message):
    with pytest.raises(UserError) as raised:
        load_config(path, ["ensemble.min_members=3", *words])
    assert message in str(raised.value)
