"""Teachers as ONNX graphs say what PyTorch, which exported them, says; layouts are told by shapes."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.teachers import answers, loaded, rows
from torch import nn

from hydra_ray.errors import UserError

pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
onnx = pytest.importorskip("onnx", reason="pip install onnx, to write graphs")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)
CLASSES = ("a", "b", "c", "d")


class Net(nn.Module):
    """Logits [B, 4], or of 2 members [B, 2, 4]; images in either layout, floats or pixels."""

    def __init__(self, *, last=False, members=None, pixels=False):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(3, 4 * (members or 1))
        self.last, self.members, self.pixels = last, members, pixels

    def forward(self, images):
        images = images.float() / 255 if self.pixels else images
        means = images.mean((1, 2) if self.last else (2, 3))
        found = self.body(means)
        return found if self.members is None else found.reshape(-1, self.members, 4)


def exported(path, net, example, axes=("x",)):
    names = {name: {0: "rows"} for name in (*axes, "y")}
    torch.onnx.export(
        net.eval(), example, str(path), input_names=list(axes), output_names=["y"], dynamic_axes=names, dynamo=False
    )
    return path


def expected(net, mean=0.0):
    net.pixels = False
    inputs = torch.tensor(IMAGES).float() / 255 - mean
    with torch.no_grad():
        return net(inputs if net.last else inputs.permute(0, 3, 1, 2)).numpy()


def teachers(*paths, **options):
    return loaded("onnx", *paths, classes=CLASSES, shape=IMAGES.shape[1:], options=options)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("pixels", [False, True])
def test_layout_and_type_are_those_of_the_graph(tmp_path, last, pixels):
    net = Net(last=last, pixels=pixels)
    shape = (1, 6, 7, 3) if last else (1, 3, 6, 7)
    path = exported(tmp_path / "m.onnx", net, torch.zeros(shape, dtype=torch.uint8 if pixels else torch.float32))
    found = answers(teachers(path, path), IMAGES)
    assert found.shape == (5, 2, 4)
    assert found[:, 1] == pytest.approx(expected(net), abs=1e-6)


def test_one_graph_may_hold_all_members_and_pixels_are_normalised(tmp_path):
    net = Net(members=2)
    path = exported(tmp_path / "m.onnx", net, torch.zeros(1, 3, 6, 7))
    found = answers(teachers(path, mean=[0.5]), IMAGES)
    assert found == pytest.approx(expected(net, mean=0.5), abs=1e-6)


def test_tables_are_one_array_or_an_input_a_column(tmp_path):
    X = rows(6)
    frame = pd.DataFrame(X, columns=list("wxyz"))
    net = nn.Linear(4, 4)
    path = exported(tmp_path / "one.onnx", net, torch.zeros(1, 4))
    with torch.no_grad():
        whole = net(torch.tensor(X)).numpy()
    assert answers(teachers(path), frame)[:, 0] == pytest.approx(whole, abs=1e-6)

    class OfColumns(nn.Module):
        def forward(self, z, x):
            return torch.cat([z, x, z + x, z - x], dim=1)

    two = (torch.zeros(1, 1), torch.zeros(1, 1))
    path = exported(tmp_path / "two.onnx", OfColumns(), two, axes=("z", "x"))
    found = answers(teachers(path, outputs="probabilities"), frame)[:, 0]
    assert np.array_equal(found, np.stack([X[:, 3], X[:, 1], X[:, 3] + X[:, 1], X[:, 3] - X[:, 1]], axis=1))
    with pytest.raises(UserError, match="the graph's input x is no column of the data set"):
        answers(teachers(path), frame.drop(columns="x"))


def test_regressions_are_means(tmp_path):
    net = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    path = exported(tmp_path / "m.onnx", net, torch.zeros(1, 4))
    found = loaded("onnx", path)
    assert found.outputs == "mean"
    with torch.no_grad():
        assert answers(found, rows(6))[:, 0, 0] == pytest.approx(net(torch.tensor(rows(6))).numpy(), abs=1e-6)
    assert loaded("onnx", path, options={"outputs": "mean_variance"}).outputs == "mean_variance"


def test_what_does_not_suit_is_one_line(tmp_path, monkeypatch):
    path = exported(tmp_path / "m.onnx", Net(), torch.zeros(1, 3, 6, 7))
    with pytest.raises(UserError, match=r"m.onnx has no output probs, but y \(tensor\(float\)\); name one by options"):
        teachers(path, output="probs")
    fixed = tmp_path / "fixed.onnx"
    torch.onnx.export(Net().eval(), torch.zeros(1, 3, 6, 7), str(fixed), dynamo=False)
    with pytest.raises(UserError, match=r"fixed.onnx takes 1 rows at a time; export it with a batch of any size"):
        teachers(fixed)
    (tmp_path / "none.onnx").write_text("nothing")
    with pytest.raises(UserError, match=r"kind=onnx: .*none.onnx cannot be loaded \(") as refused:
        teachers(tmp_path / "none.onnx")
    assert "\n" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"kind=onnx: needs onnxruntime; pip install onnxruntime"):
        teachers(path)
