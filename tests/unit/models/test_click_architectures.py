"""`xdeepfm` and `dexdeepfm` against literal slow versions in float64, and what attention and diversity must be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.errors import UserError
from hydra_ray.models import ModelSpec, StackedMembers, build_member, build_student, count_macs, num_parameters
from hydra_ray.models.click_architectures import (
    DiverseNetwork,
    Fields,
    Interactions,
    LayerAttention,
    map_diversity,
)
from hydra_ray.models.networks import build_network, check_architecture
from hydra_ray.randomness import seeded

CATEGORIES = (0, 5, 0, 3)
OPTIONS = {"embedding_dim": 3, "cin": [4, 4], "hidden": [6, 5]}
WITH_ATTENTION = {**OPTIONS, "attention": 7}
ROWS = torch.tensor([[0.5, 4, -1.0, 2], [2.0, 1, 0.3, 0], [-1.5, 0, 0.0, 1]])


def network(name, **options):
    given = {**(WITH_ATTENTION if name == "dexdeepfm" else OPTIONS), **options}
    with seeded(3):
        return build_network(name, (4,), 2, given, CATEGORIES)


# ---------------------------------------------------------------- fields


def test_a_field_is_a_vector_of_a_code_or_a_number_on_a_line():
    fields = Fields((4,), CATEGORIES, 3)
    first_order, embedded = fields(ROWS)
    assert first_order.shape == (3, 4)
    assert embedded.shape == (3, 4, 3)
    for row, values in enumerate(ROWS.tolist()):
        expected = [values[0] * fields.slopes[0] + fields.offsets[0], values[2] * fields.slopes[1] + fields.offsets[1]]
        expected += [fields.vectors[int(values[1])], fields.vectors[5 + int(values[3])]]
        torch.testing.assert_close(embedded[row], torch.stack(expected)[:, :3])
        torch.testing.assert_close(first_order[row], torch.stack(expected)[:, 3])


def test_a_code_that_a_category_has_not_is_other_and_never_another_categorys():
    fields = Fields((4,), CATEGORIES, 3)
    beyond = torch.tensor([[0.0, 5, 0.0, -1]])
    other = torch.tensor([[0.0, 1, 0.0, 1]])
    torch.testing.assert_close(fields(beyond), fields(other))


@pytest.mark.parametrize("categories", [(), (0, 0), (4, 3)])
def test_tables_of_numbers_or_of_categories_alone(categories):
    found = check_architecture("dexdeepfm", (2,), 2, WITH_ATTENTION, categories)
    assert found(torch.ones(5, 2)).shape == (5, 2)


# ---------------------------------------------------------------- interactions


def slow_interactions(layers, fields):
    """Equation 6 of Lian et al. for one row, one product at a time: list of [H_k, D]."""
    num_fields, size = fields.shape
    maps = fields
    found = []
    for layer in layers:
        weight = layer.weight.reshape(len(layer.weight), len(maps), num_fields)
        rows = []
        for h in range(len(weight)):
            total = layer.bias[h].expand(size)
            for i in range(len(maps)):
                for j in range(num_fields):
                    total = total + weight[h, i, j] * maps[i] * fields[j]
            rows.append(total.clamp(min=0))
        maps = torch.stack(rows)
        found.append(maps)
    return found


def test_interactions_are_equation_6_of_the_paper():
    with seeded(0):
        interactions = Interactions(3, [4, 2]).double()
        fields_BFD = torch.randn(2, 3, 5, dtype=torch.float64)
    for row in range(2):
        expected = slow_interactions(interactions.layers, fields_BFD[row])
        found = [maps_BDH[row].T for maps_BDH in interactions(fields_BFD)]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_interactions_have_the_gradients_of_finite_differences():
    with seeded(1):
        interactions = Interactions(3, [4, 3]).double()
        fields_BFD = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda fields: tuple(interactions(fields)), (fields_BFD,))


# ---------------------------------------------------------------- diversity


def slow_diversity(maps):
    """d of one row's maps [H, D], from lists of numbers."""
    rows = maps.tolist()
    length = math.sqrt(sum(value**2 for row in rows for value in row))
    rows = [[value / length for value in row] for row in rows]
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    distances = [math.sqrt(sum((a - b) ** 2 for a, b in zip(row, mean, strict=True))) for row in rows]
    return sum(distances) / len(rows)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_diversity_is_the_mean_distance_from_the_mean_map(num_maps, size, seed):
    generator = torch.Generator().manual_seed(seed)
    maps_BHD = torch.rand(3, num_maps, size, generator=generator, dtype=torch.float64) + 1e-3
    expected = torch.tensor([slow_diversity(maps) for maps in maps_BHD], dtype=torch.float64)
    found = map_diversity(maps_BHD.transpose(1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert (found <= num_maps**-0.5 + 1e-12).all()


def test_diversity_has_no_size_and_is_largest_for_maps_with_nothing_in_common():
    maps = torch.rand(2, 3, 4)
    torch.testing.assert_close(map_diversity(maps), map_diversity(100 * maps))
    assert map_diversity(torch.ones(1, 3, 4)).item() == pytest.approx(0, abs=1e-6)
    one_hot = torch.eye(50)[None]
    assert map_diversity(one_hot).item() == pytest.approx(50**-0.5, rel=0.02)


def test_diversity_has_the_gradients_of_finite_differences_and_none_where_all_maps_are_dead():
    with seeded(2):
        maps = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(map_diversity, (maps,))
    dead = torch.zeros(1, 3, 4, requires_grad=True)
    map_diversity(dead).sum().backward()
    assert torch.equal(dead.grad, torch.zeros(1, 3, 4))


# ---------------------------------------------------------------- attention


def test_weights_of_layers_add_up_to_one_and_differ():
    """A released version takes the softmax over an axis of size 1: all of its weights are 1."""
    with seeded(0):
        attention = LayerAttention(4, 7)
        pooled_BKH = torch.rand(6, 3, 4)
    weights_BK = attention(pooled_BKH)
    assert weights_BK.shape == (6, 3)
    torch.testing.assert_close(weights_BK.sum(1), torch.ones(6))
    assert ((weights_BK > 0) & (weights_BK < 1)).all()
    assert (weights_BK[:, 0] - weights_BK[:, 1]).abs().min() > 1e-5
    assert weights_BK.std(0).min() > 1e-5, "rows have weights of their own"


def test_weights_of_layers_are_the_papers():
    with seeded(0):
        attention = LayerAttention(4, 7).double()
        pooled_BKH = torch.rand(2, 3, 4, dtype=torch.float64)
    hidden, score = attention.hidden, attention.score
    for row in range(2):
        scores = [score.weight[0] @ (hidden.weight @ pooled_BKH[row, k] + hidden.bias).clamp(min=0) for k in range(3)]
        total = sum(each.exp() for each in scores)
        expected = torch.stack([each.exp() / total for each in scores])
        torch.testing.assert_close(attention(pooled_BKH)[row], expected, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("name", ["xdeepfm", "dexdeepfm"])
def test_the_output_is_the_line_of_first_order_terms_all_maps_and_the_deep_network(name):
    found = network(name).double()
    rows = ROWS.double()
    first_order, embedded = found.body.fields(rows)
    for row in range(len(rows)):
        maps = slow_interactions(found.body.interactions.layers, embedded[row])
        pooled = torch.stack([each.sum(1) for each in maps])
        weights = found.body.attention(pooled[None])[0] if name == "dexdeepfm" else torch.ones(2).double()
        hidden = embedded[row].flatten()
        for layer in (found.body.deep[1], found.body.deep[3]):
            hidden = (layer.weight @ hidden + layer.bias).clamp(min=0)
        features = torch.cat([first_order[row], (weights[:, None] * pooled).flatten(), hidden])
        expected = found.head.weight @ features + found.head.bias
        torch.testing.assert_close(found(rows)[row], expected, rtol=1e-10, atol=1e-12)


def test_a_diverse_network_says_how_diverse_it_is_while_it_learns_and_is_asked():
    found = network("dexdeepfm")
    assert isinstance(found, DiverseNetwork)
    assert found.train()(ROWS).shape == (3, 2)
    found.tells_diversity = True
    told = found(ROWS)
    assert told.shape == (3, 3)
    maps = found.body.interactions(found.body.fields(ROWS)[1])
    weights = found.body.attention(torch.stack([each.sum(1) for each in maps], 1))
    expected = sum(weights[:, k] * map_diversity(each) for k, each in enumerate(maps))
    torch.testing.assert_close(told[:, 2], expected)
    torch.testing.assert_close(found.eval()(ROWS), told[:, :2])


def test_parameters_and_multiply_adds_are_counted_by_hand():
    fields, size = 4, 3
    embeddings = (2 * 2 + 5 + 3) * (size + 1)
    cin = (fields * fields * 4 + 4) + (4 * fields * 4 + 4)
    deep = (fields * size * 6 + 6) + (6 * 5 + 5)
    head = (fields + 4 + 4 + 5) * 2 + 2
    attention = 4 * 7 + 7 + 7
    assert num_parameters(network("xdeepfm")) == embeddings + cin + deep + head
    assert num_parameters(network("dexdeepfm")) == embeddings + cin + deep + head + attention
    macs = size * (fields * fields * 4 + 4 * fields * 4) + (fields * size * 6 + 6 * 5) + (fields + 4 + 4 + 5) * 2
    assert count_macs(network("xdeepfm"), (4,)) == macs
    assert count_macs(network("dexdeepfm"), (4,)) == macs + 2 * (4 * 7 + 7)


def test_a_stack_says_what_its_members_say_alone():
    spec = ModelSpec("member", "dexdeepfm", (4,), 2, WITH_ATTENTION, categories=CATEGORIES)
    members = [build_member(spec, seed).train() for seed in (0, 1)]
    for member in members:
        member.network.tells_diversity = True
    stack = StackedMembers(members).train()
    found = stack(ROWS.expand(2, -1, -1))
    torch.testing.assert_close(found, torch.stack([member(ROWS) for member in members]))


@pytest.mark.parametrize("name", ["xdeepfm", "dexdeepfm"])
def test_as_a_students_body_it_gives_what_the_last_linear_map_reads(name):
    options = WITH_ATTENTION if name == "dexdeepfm" else OPTIONS
    spec = ModelSpec("student", name, (4,), 2, options, num_heads=3, head_width=4, head_depth=1, categories=CATEGORIES)
    student = build_student(spec, 0)
    assert student.features(ROWS).shape == (3, 4 + 4 + 4 + 5)
    assert student(ROWS).shape == (3, 3, 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("xdeepfm", {"cin": []}, r"options\.cin=\[\]: List should have at least 1 item"),
        ("xdeepfm", {"attention": 3}, r"options\.attention=3: unknown key"),
        ("xdeepfm", {"embedding_dim": 0}, r"options\.embedding_dim=0: must be greater"),
        ("dexdeepfm", {"cin": [4, 5]}, r"cin=\[4, 5\]: one attention reads all layers; give each as many feature maps"),
        ("xdeepfm", {"cin": [10_000_000, 10_000_000]}, "parameters or more, which take"),
    ],
)
def test_what_users_are_told(name, options, message):
    with pytest.raises(UserError, match=message) as raised:
        check_architecture(name, (4,), 2, options, CATEGORIES)
    assert "\n" not in str(raised.value)
