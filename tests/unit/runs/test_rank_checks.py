"""Networks that several workers train together: whose result would depend on them is refused; no fingerprint does."""

import pytest
from helpers.finished import loaded, recipe

from hydra_ray.errors import UserError
from hydra_ray.runs import check_networks
from hydra_ray.runs.fingerprints import member_key, student_key

pytestmark = pytest.mark.usefixtures("one_thread")
TEXT = """
data: {source: digits, max_train_rows: 200}
ensemble: {epochs: 1, num_members: 2, architecture: cnn, options: {widths: [2, 4]}}
transfer: {views: [{view: identity}]}
distill: {batch_size: 64, epochs: 1, mean_phase_epochs: 1, head_width: 2}
cluster: {num_workers: 2, use_gpu: false, object_store_mb: 100}
"""
TEAM = "ensemble.workers_per_member=2"


@pytest.fixture
def path(tmp_path):
    return recipe(tmp_path, TEXT)


def test_batch_norm_on_cpus_is_refused_where_it_would_make_another_member(path):
    with pytest.raises(UserError, match=r"workers_per_member=2: cnn has BatchNorm.*options.norm=group.*leave"):
        check_networks(loaded(path, TEAM))
    for word in ("ensemble.options.norm=group", "ensemble.train=head", "cluster.use_gpu=true"):
        check_networks(loaded(path, TEAM, word))


def test_no_fingerprint_says_how_many_workers_trained_a_network_or_what_each_kept(path):
    one = loaded(path)
    team = loaded(path, TEAM, "ensemble.strategy=fsdp", "distill.strategy=fsdp")
    assert member_key(team, 0) == member_key(one, 0)
    assert student_key(team, "hydra") == student_key(one, "hydra")


def test_a_number_without_a_dimension_cannot_be_shared_out(path, own_scaled):
    members = [TEAM, "ensemble.strategy=fsdp", f"ensemble.architecture={own_scaled}", "ensemble.options={}"]
    student = ["distill.strategy=fsdp", f"distill.body={own_scaled}", "distill.body_options={}"]
    for words in (members, student):
        with pytest.raises(UserError, match=r"strategy=fsdp: body.scale is a number without a dimension"):
            check_networks(loaded(path, *words))


@pytest.fixture
def own_scaled(tmp_path, monkeypatch):
    """A network of the user's own with a scale that is one number."""
    (tmp_path / "scaled_net.py").write_text(
        """
import torch
from torch import nn


class Body(nn.Module):
    def __init__(self, width_in):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.line = nn.Linear(width_in, 4)

    def forward(self, images):
        return self.scale * self.line(images.flatten(1))


def build(input_shape, num_outputs):
    network = nn.Module()
    network.body = Body(64)
    network.head = nn.Linear(4, num_outputs)
    network.num_features = 4
    return network
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "scaled_net:build"
