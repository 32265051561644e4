"""Members: the same bits after an interruption, in any order, and whoever else is trained."""

from itertools import count

import pytest
import torch
from helpers.bits import assert_same_bits
from helpers.checkpoints import checkpoints_in
from helpers.mortal import Killed
from helpers.shards import synthetic

from hydra_ray.config.load import validate
from hydra_ray.models.members import ModelSpec
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = ModelSpec("member", "mlp", (4, 4, 1), 4, {"hidden": [8]})


def labelled(num_rows, seed=0):
    rows = synthetic(num_rows, seed=seed)
    return LabelledRows(*(torch.from_numpy(part) for part in (rows.row_id, rows.inputs, rows.labels)))


def ensemble_settings(**changed):
    tree = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, **changed}
    return validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble


def member(folder, number=0, report=lambda figures: None, **changed):
    train = labelled(70)
    member_spec = MemberSpec.of(CLASSIFICATION, SPEC, train.inputs.numpy(), train.labels.numpy())
    model, figures = fit_member(
        number, ensemble_settings(**changed), 5, member_spec, train, labelled(30, seed=1), folder, report
    )
    return model.state_dict(), figures


def places(tmp_path):
    return (checkpoints_in(tmp_path / f"attempt-{number}") for number in count())


AUGMENT = {"augment": {"view": "affine", "options": {}}}


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd"}, AUGMENT], ids=["adamw", "sgd", "augment"])
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_member_goes_on_at_its_last_epoch_with_the_same_bits(tmp_path, options, killed_after):
    folders = places(tmp_path)
    whole, figures = member(next(folders), **options)
    attempt, seen = next(folders), []

    def die(figures):
        seen.append(figures["epoch"])
        if len(seen) == killed_after:
            raise Killed

    with pytest.raises(Killed):
        member(attempt, report=die, **options)
    again = member(attempt, report=lambda figures: seen.append(figures["epoch"]), **options)
    assert seen == [*range(1, killed_after + 1), *range(killed_after, 4)], "the epoch it was in is all it lost"
    assert_same_bits(again[0], whole)
    assert again[1] == figures


def test_a_member_that_was_fitted_but_not_published_is_not_fitted_again(tmp_path):
    folder = next(places(tmp_path))
    whole, figures = member(folder)
    seen = []
    again = member(folder, report=seen.append)
    assert seen == []
    assert_same_bits(again[0], whole)
    assert again[1] == figures


def test_members_differ_and_do_not_depend_on_each_other_or_on_their_order(tmp_path):
    folders = places(tmp_path)
    forwards = [member(next(folders), number)[0] for number in (0, 1)]
    torch.manual_seed(1234)
    backwards = [member(next(folders), number)[0] for number in (1, 0)]
    assert_same_bits(forwards[0], backwards[1])
    assert_same_bits(forwards[1], backwards[0])
    assert not torch.equal(forwards[0]["network.head.weight"], forwards[1]["network.head.weight"])


def test_members_learn_and_say_how_well(tmp_path):
    seen = []
    figures = member(next(places(tmp_path)), report=seen.append, epochs=25)[1]
    assert [each["epoch"] for each in seen] == list(range(1, 26))
    assert seen[-1]["loss"] < 0.5 * seen[0]["loss"]
    assert figures == {name: seen[-1][name] for name in figures}
