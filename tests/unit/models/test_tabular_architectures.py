"""`tabm` and `tabular_resnet`: the papers' equations, what submodels share, and how their answers become one."""

import math

import pytest
import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models import ModelSpec, build_member, build_student, count_macs, num_parameters
from hydra_ray.models.networks import build_network, check_architecture
from hydra_ray.models.outputs import GaussianOutput, MeanOutput, combined, mean_of_submodels
from hydra_ray.models.tabular_architectures import ResidualBlock, SharedLinear, TabularResNetOptions
from hydra_ray.randomness import seeded

OPTIONS = {"num_submodels": 5, "hidden": [8, 6], "dropout": 0.0}
ROWS = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))


def tabm(**options):
    return build_network("tabm", (4,), 3, {**OPTIONS, **options})


# ---------------------------------------------------------------- tabm


def test_a_shared_layer_is_equation_1_of_the_paper():
    layer = SharedLinear(5, 4, 3, tells_apart=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    rows = torch.randn(7, 5, 4)
    for k in range(5):
        expected = layer.scale_out[k] * ((layer.scale_in[k] * rows[:, k]) @ layer.weight.T) + layer.bias[k]
        torch.testing.assert_close(layer(rows)[:, k], expected)


def test_scales_start_at_one_but_the_first_which_are_random_signs():
    first, second = (module for module in tabm().body if isinstance(module, SharedLinear))
    assert set(first.scale_in.unique().tolist()) == {-1.0, 1.0}
    for ones in (first.scale_out, second.scale_in, second.scale_out):
        assert torch.equal(ones, torch.ones_like(ones))
    assert torch.equal(second.bias, second.bias[:1].expand(5, -1)), "biases start alike"


def test_submodels_say_different_things_from_the_start_and_are_k_networks_in_one():
    network = tabm()
    outputs_BkC = network(ROWS)
    assert outputs_BkC.shape == (7, 5, 3)
    assert all(not torch.allclose(outputs_BkC[:, 0], outputs_BkC[:, k]) for k in range(1, 5))
    first, second = (module for module in network.body if isinstance(module, SharedLinear))
    hidden = ROWS
    for layer in (first, second):
        weight = layer.scale_out[2][:, None] * layer.weight * layer.scale_in[2]
        hidden = torch.relu(hidden @ weight.T + layer.bias[2])
    torch.testing.assert_close(outputs_BkC[:, 2], hidden @ network.head.weight[2] + network.head.bias[2])


def test_the_weights_are_shared_and_a_submodel_costs_its_scales_biases_and_head():
    shared = 4 * 8 + 8 * 6
    assert num_parameters(tabm()) == shared + 5 * ((4 + 8 + 8) + (8 + 6 + 6) + (6 * 3 + 3))
    assert count_macs(tabm(), (4,)) == 5 * (shared + 6 * 3)


def test_no_gradient_of_a_submodels_loss_reaches_the_scales_or_the_head_of_another():
    network = tabm()
    network(ROWS)[:, 2].square().sum().backward()
    first = network.body[2]
    for own in (first.scale_in, first.scale_out, first.bias, network.head.weight):
        assert own.grad[[0, 1, 3, 4]].abs().max() == 0
        assert own.grad[2].abs().max() > 0


def test_a_member_answers_with_the_mean_of_probabilities_whose_logarithms_are_its_logits():
    member = build_member(ModelSpec("member", "tabm", (4,), 3, OPTIONS), 0)
    each_BkC = member.train()(ROWS)
    answer_BC = member.eval()(ROWS)
    assert each_BkC.shape == (7, 5, 3)
    torch.testing.assert_close(answer_BC.softmax(-1), each_BkC.softmax(-1).mean(1))
    torch.testing.assert_close(answer_BC.exp().sum(-1), torch.ones(7))


def test_far_logits_keep_their_order():
    answer = mean_of_submodels("logits", torch.tensor([[[0.0, 300.0, -300.0], [0.0, 200.0, -200.0]]]))
    assert torch.isfinite(answer).all()
    assert answer[0].argsort().tolist() == [2, 0, 1]


def test_a_regression_answers_with_the_mean_and_variance_of_the_mixture():
    outputs_BkC = torch.tensor([[[1.0, math.log(2.0)], [4.0, math.log(4.0)]]])
    answer = mean_of_submodels("gaussian", outputs_BkC)
    torch.testing.assert_close(answer, torch.tensor([[2.5, math.log(3.0 + 1.5**2)]]))
    torch.testing.assert_close(mean_of_submodels("mean", outputs_BkC)[0], torch.tensor([2.5, math.log(2.0)]))


@pytest.mark.parametrize(("kind", "output"), [("gaussian", GaussianOutput(10.0, 3.0)), ("mean", MeanOutput(10.0, 3.0))])
def test_members_of_a_regression_answer_in_target_units(kind, output):
    spec = ModelSpec("member", "tabm", (4,), 2 if kind == "gaussian" else 1, OPTIONS, output=kind)
    member = build_member(spec, 0, output=output)
    each_Bk2 = member.train()(ROWS)
    answer_B2 = member.eval()(ROWS)
    assert each_Bk2.shape == (7, 5, 2)
    torch.testing.assert_close(answer_B2[:, 0], each_Bk2[..., 0].mean(1))
    assert (answer_B2[:, 1] >= each_Bk2[..., 1].min(1).values - 1e-5).all()


def test_outputs_of_one_network_are_left_as_they_are():
    outputs = torch.randn(3, 4)
    assert combined("logits", outputs, is_training=False) is outputs
    assert combined("logits", outputs, is_training=True) is outputs


def test_as_a_students_body_it_gives_the_features_of_all_submodels():
    spec = ModelSpec("student", "tabm", (4,), 3, OPTIONS, num_heads=2, head_width=4, head_depth=1)
    student = build_student(spec, 0)
    assert student.features(ROWS).shape == (7, 5 * 6)
    assert student(ROWS).shape == (7, 2, 3)


def test_dropout_is_there_where_it_is_asked_for():
    assert not [module for module in tabm().modules() if isinstance(module, nn.Dropout)]
    assert len([module for module in tabm(dropout=0.2).modules() if isinstance(module, nn.Dropout)]) == 2


# ---------------------------------------------------------------- tabular_resnet


def test_a_block_is_the_papers():
    block = ResidualBlock(TabularResNetOptions(width=6, expansion=1.5, hidden_dropout=0.1, residual_dropout=0.1))
    kinds = [type(module).__name__ for module in block.layers]
    assert kinds == ["BatchNorm1d", "Linear", "ReLU", "Dropout", "Linear", "Dropout"]
    rows = torch.randn(5, 6)
    block.eval()
    torch.testing.assert_close(block(rows), rows + block.layers(rows))
    assert block.layers[1].out_features == 9


def test_the_network_is_a_line_blocks_and_a_prediction():
    network = check_architecture("tabular_resnet", (4,), 3, {"width": 6, "num_blocks": 3})
    kinds = [type(module).__name__ for module in network.body]
    assert kinds == ["Flatten", "Linear", *["ResidualBlock"] * 3, "BatchNorm1d", "ReLU"]
    assert network.num_features == 6


@pytest.mark.parametrize("name", ["tabm", "tabular_resnet"])
def test_weights_follow_from_the_seed_alone(name):
    def weights(seed):
        with seeded(seed):
            return build_network(name, (4,), 3, {}).state_dict()

    first = weights(1)
    torch.rand(5)
    assert all(torch.equal(value, first[key]) for key, value in weights(1).items())
    assert any(not torch.equal(value, first[key]) for key, value in weights(2).items())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tabm", {"k": 3}, r"options\.k=3: unknown key"),
        ("tabm", {"hidden": []}, r"options\.hidden=\[\]: List should have at least 1 item"),
        ("tabm", {"num_submodels": 0}, r"options\.num_submodels=0: must be greater"),
        ("tabm", {"dropout": 1.0}, r"options\.dropout=1\.0: must be less than 1"),
        ("tabular_resnet", {"expansion": 0}, r"options\.expansion=0: must be greater than 0"),
    ],
)
def test_what_users_are_told(name, options, message):
    with pytest.raises(UserError, match=message):
        check_architecture(name, (4,), 3, options)
