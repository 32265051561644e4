"""`compile: true` compiles a network once in a process: the next member of the same architecture runs what is there."""

import pytest
import torch
from helpers.checkpoints import checkpoints_in
from helpers.shards import synthetic

from hydra_ray.config.sections import EnsembleConfig
from hydra_ray.models.members import ModelSpec
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.stacked import StackSlot, fit_stacked

SETTINGS = EnsembleConfig(epochs=2, batch_size=16, compile=True)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def compiled(monkeypatch):
    """The graphs that were compiled, by a compiler that runs them as they are."""
    graphs, compiler = [], torch.compile

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda module: compiler(module, backend=keep))
    return graphs


@pytest.fixture
def member_spec():
    return MemberSpec.of(CLASSIFICATION, ModelSpec("member", "mlp", (6,), 4, {"hidden": [5]}), *arrays(rows()))


def rows():
    found = synthetic(40, shape=(6,), dtype="float32")
    return LabelledRows(*(torch.from_numpy(part) for part in (found.row_id, found.inputs, found.labels)))


def arrays(found):
    return found.inputs.numpy(), found.labels.numpy()


def test_the_second_member_compiles_nothing(tmp_path, compiled, member_spec):
    for member in range(3):
        kept = checkpoints_in(tmp_path / str(member), owner=str(member))
        fit_member(member, SETTINGS, 5, member_spec, rows(), rows(), kept, lambda figures: None)
        assert len(compiled) == 1


def test_the_second_stack_compiles_nothing(tmp_path, compiled, member_spec):
    for members in ((0, 1, 2), (3, 4, 5)):
        kept = {member: checkpoints_in(tmp_path / str(member), owner=str(member)) for member in members}
        slots = [StackSlot(member, torch.arange(40), kept[member]) for member in members]
        fit_stacked(slots, SETTINGS, 5, member_spec, rows(), rows(), lambda figures: None)
        assert len(compiled) == 1
