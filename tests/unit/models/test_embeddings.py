"""Categories in networks: codes to embeddings, in members one by one and stacked, in students and in their files."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models import Ensemble, ModelSpec, Normalise, build_member, build_student, count_macs, num_parameters
from hydra_ray.models.embeddings import TableInputs, embedding_size
from hydra_ray.models.files import from_model_json, load_model, to_model_json, to_safetensors_bytes
from hydra_ray.models.networks import Network, build_network, check_architecture
from hydra_ray.models.own_code import code_of

CATEGORIES = (0, 5, 0, 3)
TABLE_ARCHITECTURES = {
    "mlp": {"hidden": [7]},
    "tabm": {"hidden": [7, 6], "num_submodels": 3, "dropout": 0.0},
    "tabular_resnet": {"width": 6, "hidden_dropout": 0.0},
}
each_architecture = pytest.mark.parametrize("architecture", TABLE_ARCHITECTURES)


def spec_of(architecture="mlp", kind="member", **changes) -> ModelSpec:
    heads = {"num_heads": 2, "head_width": 4, "head_depth": 1} if kind == "student" else {}
    options = TABLE_ARCHITECTURES[architecture]
    return replace(ModelSpec(kind, architecture, (4,), 3, options, categories=CATEGORIES, **heads), **changes)


def rows(num_rows=20) -> torch.Tensor:
    generator = np.random.default_rng(0)
    found = generator.normal(size=(num_rows, 4))
    found[:, 1] = generator.integers(0, 5, num_rows)
    found[:, 3] = generator.integers(0, 3, num_rows)
    return torch.tensor(found, dtype=torch.float32)


# ---------------------------------------------------------------- the layer


@pytest.mark.parametrize(("num_codes", "size"), [(2, 2), (5, 4), (25, 10), (100, 21), (1000, 77), (10**6, 600)])
def test_sizes_follow_the_rule(num_codes, size):
    assert embedding_size(num_codes) == size


def test_a_row_becomes_its_numbers_and_the_embedding_of_each_category():
    layer = TableInputs(CATEGORIES)
    made = layer(rows())
    first, second = (table.weight for table in layer.tables)
    assert (first.shape, second.shape) == ((5, 4), (3, 3))
    assert layer.width == made.shape[1] == 2 + 4 + 3
    for row, found in zip(rows(), made, strict=True):
        assert torch.equal(found, torch.cat([row[[0, 2]], first[int(row[1])], second[int(row[3])]]))


@pytest.mark.parametrize("code", [-1.0, 5.0, 1e9, -1e9])
def test_a_code_that_a_category_does_not_have_counts_as_other(code):
    layer = TableInputs(CATEGORIES)
    unseen, other = rows(1), rows(1)
    unseen[:, 1] = code
    other[:, 1] = 1
    assert torch.equal(layer(unseen), layer(other))


def test_a_table_of_categories_alone_and_one_of_a_single_category():
    assert TableInputs((4, 2))(torch.tensor([[3.0, 1.0], [0.0, 0.0]])).shape == (2, 3 + 2)
    assert TableInputs((2,))(torch.zeros(1, 1)).shape == (1, 2)


def test_only_the_embedding_of_a_rows_own_code_learns():
    layer = TableInputs(CATEGORIES)
    layer(torch.tensor([[0.5, 2.0, 0.5, 0.0]])).sum().backward()
    for table, code in zip(layer.tables, (2, 0), strict=True):
        assert table.weight.grad.any(1).nonzero().flatten().tolist() == [code]


def test_normalisation_leaves_codes_alone():
    normalise = Normalise.fit(rows().numpy(), CATEGORIES)
    made = normalise(rows())
    assert torch.equal(made[:, [1, 3]], rows()[:, [1, 3]])
    torch.testing.assert_close(made[:, [0, 2]].mean(0), torch.zeros(2), atol=1e-6, rtol=0)


# ---------------------------------------------------------------- networks with it


@each_architecture
def test_codes_are_names_not_numbers(architecture):
    """Exchanging two codes in the rows and in the embeddings changes nothing."""
    network = build_network(architecture, (4,), 3, TABLE_ARCHITECTURES[architecture], CATEGORIES).eval()
    before = network(rows())
    with torch.no_grad():
        table = network.body[0].tables[0].weight
        table[[2, 4]] = table[[4, 2]]
    swapped = rows()
    swapped[:, 1] = torch.tensor([0.0, 1.0, 4.0, 3.0, 2.0])[rows()[:, 1].long()]
    assert not torch.equal(network(rows()), before)
    torch.testing.assert_close(network(swapped), before)


@each_architecture
def test_without_categories_a_network_is_what_it_was(architecture):
    options = TABLE_ARCHITECTURES[architecture]
    plain, zeros = (ModelSpec("member", architecture, (4,), 3, options, categories=each) for each in ((), (0,) * 4))
    members = [build_member(each, 7).state_dict() for each in (plain, zeros)]
    assert list(members[0]) == list(members[1])
    assert all(torch.equal(value, members[1][name]) for name, value in members[0].items())


@each_architecture
@pytest.mark.parametrize("kind", ["member", "student"])
def test_files_bring_back_a_network_with_categories_bit_for_bit(architecture, kind):
    spec = spec_of(architecture, kind)
    normalise = Normalise.fit(rows().numpy(), CATEGORIES)
    model = (build_member if kind == "member" else build_student)(spec, 3, normalise).eval()
    content = json.loads(json.dumps(to_model_json(spec)))
    assert from_model_json(content) == spec
    loaded = load_model(from_model_json(content), to_safetensors_bytes(model))
    assert torch.equal(loaded(rows()), model(rows()))
    assert not [name for name in model.state_dict() if name.endswith(("_K", "numbers"))], (
        "what the spec says stands in no file"
    )


def test_files_of_older_versions_have_no_categories_and_new_ones_without_are_the_same():
    spec = spec_of(categories=())
    assert "categories" not in spec.to_json()
    assert from_model_json({"spec": spec.to_json()}).categories == ()


@each_architecture
def test_stacked_members_answer_as_one_by_one(architecture):
    members = [
        build_member(spec_of(architecture), seed, Normalise.fit(rows().numpy(), CATEGORIES)) for seed in range(3)
    ]
    stacked, single = (Ensemble(members, stacked=each)(rows()) for each in (True, False))
    assert stacked.shape == (20, 3, 3)
    torch.testing.assert_close(stacked, single, atol=1e-5, rtol=1e-5)


def test_looking_up_embeddings_costs_parameters_and_no_multiply_adds():
    member = build_member(spec_of(), 0)
    assert count_macs(member, (4,)) == 9 * 7 + 7 * 3
    assert num_parameters(member) == 5 * 4 + 3 * 3 + (9 * 7 + 7) + (7 * 3 + 3)


# ---------------------------------------------------------------- a user's own


@pytest.fixture
def users_module(monkeypatch):
    module = ModuleType("users_tables")
    monkeypatch.setitem(sys.modules, "users_tables", module)
    return module


def test_a_users_function_that_asks_for_categories_is_given_them(users_module):
    def wide(input_shape, num_outputs, *, width=3, categories=()):
        inputs = TableInputs(tuple(categories))
        body = nn.Sequential(inputs, nn.Linear(inputs.width, width))
        return Network(body, nn.Linear(width, num_outputs), width)

    users_module.wide = wide
    network = check_architecture("users_tables:wide", (4,), 2, {"width": 5}, CATEGORIES)
    assert network.num_features == 5
    with pytest.raises(UserError, match=r"options\.categories=.*unknown key"):
        check_architecture("users_tables:wide", (4,), 2, {"categories": [1]}, CATEGORIES)
    assert code_of("users_tables:wide", (4,), 2, {}, CATEGORIES) not in (None, "cannot be built")


def test_a_users_function_without_is_not_given_codes_for_numbers(users_module):
    users_module.plain = lambda input_shape, num_outputs: Network(nn.Flatten(), nn.Linear(4, num_outputs), 4)
    with pytest.raises(UserError, match="2 of the 4 features are categories, but the function has no parameter categ"):
        check_architecture("users_tables:plain", (4,), 2, {}, CATEGORIES)
    assert check_architecture("users_tables:plain", (4,), 2, {}).num_features == 4
