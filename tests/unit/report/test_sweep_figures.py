"""The picture of a sweep: each student's fidelity against the values of one key."""

import inspect

import pytest

from hydra_ray.report.sweep_figures import _drawn, _panels, sweep_picture

HEADS = "students.hydra.num_heads"


def mean(value, deviation=None):
    return {"mean": value, "deviation": deviation}


def group(deviation=None, **settings) -> dict:
    heads = settings.get(HEADS) or 20
    kept = {
        "nll_ratio": mean(1 + 1 / heads, deviation),
        "spearman_mutual_information": {"test": mean(1 - 1 / heads), "letters": mean(1 - 2 / heads)},
        "auroc_ratio": {"letters": mean(1.01)},
    }
    fidelity = {"hydra": kept, "hydra_raw": kept, "kd": {"nll_ratio": mean(1.2)}}
    return {"settings": settings, "figures": {"unknown": {"letters": {}}, "fidelity": fidelity}}


def sweep(*groups) -> dict:
    return {"task": "classification", "groups": list(groups)}


def over_heads(*numbers, **words) -> dict:
    return sweep(*(group(**{HEADS: number}, **words) for number in numbers))


def drawn(content) -> dict:
    """Heading of a panel -> the points of each of its lines."""
    whole = inspect.unwrap(_drawn)(content, HEADS, _panels(content))
    return {
        axes.get_title(loc="left") or axes.get_title(): [
            list(zip(*map(list, line.get_data()), strict=True)) for line in axes.get_lines()
        ]
        for axes in whole.axes
    }


def test_each_panel_has_a_curve_for_each_student_and_kind_of_rows():
    panels = drawn(over_heads(2, 4, 20))
    assert list(panels) == ["NLL / ensemble", "rho of MI", "AUROC of MI / ensemble"]
    assert panels["NLL / ensemble"] == [[(2, 1.5), (4, 1.25), (20, 1.05)], [(2, 1.2), (4, 1.2), (20, 1.2)]]
    assert panels["rho of MI"] == [[(2, 0.5), (4, 0.75), (20, 0.95)], [(2, 0), (4, 0.5), (20, 0.9)]]
    assert panels["AUROC of MI / ensemble"] == [[(2, 1.01), (4, 1.01), (20, 1.01)]]


def test_values_are_joined_in_their_order_and_all_of_a_key_stands_beside_numbers():
    assert drawn(over_heads(20, 2, 4))["rho of MI"][0] == [(2, 0.5), (4, 0.75), (20, 0.95)]
    assert drawn(over_heads(2, 4, None))["rho of MI"][0] == [(0, 0.5), (1, 0.75), (2, 0.95)]


def test_a_figure_that_one_setting_lacks_is_left_out_of_the_line():
    content = over_heads(2, 4, 20)
    del content["groups"][1]["figures"]["fidelity"]["hydra"]["nll_ratio"]
    assert drawn(content)["NLL / ensemble"][0] == [(2, 1.5), (20, 1.05)]


def test_seeds_spread_is_drawn_where_there_is_one():
    def bars(content):
        return [len(axes.collections) for axes in inspect.unwrap(_drawn)(content, HEADS, _panels(content)).axes]

    assert bars(over_heads(2, 4, 20)) == [0, 0, 0]
    assert bars(over_heads(2, 4, 20, deviation=0.1)) == [1, 0, 0]


@pytest.mark.parametrize("numbers", [(2,), (2, 4)])
def test_two_values_are_no_curve(numbers):
    assert sweep_picture(over_heads(*numbers)) is None


def test_several_keys_have_no_picture():
    assert sweep_picture(sweep(*(group(**{HEADS: number, "distill.temperature": 2}) for number in (2, 4, 20)))) is None


def test_seeds_alone_have_no_picture():
    assert sweep_picture(sweep(group())) is None


def test_without_a_student_there_is_nothing_to_draw():
    content = over_heads(2, 4, 20)
    for each in content["groups"]:
        del each["figures"]["fidelity"]
    assert sweep_picture(content) is None


def test_it_is_a_png_the_same_bytes_every_time():
    first, again = sweep_picture(over_heads(2, 4, 20)), sweep_picture(over_heads(2, 4, 20))
    assert first is not None
    assert first.startswith(b"\x89PNG")
    assert first == again
