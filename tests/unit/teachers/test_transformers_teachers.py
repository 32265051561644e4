"""Teachers of transformers: folders of image classifiers, answered as the library answers."""

import sys

import numpy as np
import pytest
import torch
from helpers.teachers import answers, loaded

from hydra_ray.errors import UserError
from hydra_ray.teachers.network_inputs import device_here

transformers = pytest.importorskip("transformers", reason="pip install transformers")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), np.uint8)
NAMES = {0: "b", 1: "c", 2: "a"}
IN_ORDER = [2, 0, 1]


def saved(folder, seed, names=NAMES):
    torch.manual_seed(seed)
    known = {} if names is None else {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        **(known or {"num_labels": 3}),
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6])
    processor.save_pretrained(folder)
    return model, processor


def teachers(*paths, classes=("a", "b", "c"), **options):
    return loaded("transformers", *paths, classes=classes, shape=(20, 24, 3), options=options)


def test_folders_are_members_with_their_own_preprocessing_and_class_names(tmp_path):
    made = [saved(tmp_path / str(seed), seed) for seed in (1, 2)]
    found = answers(teachers(tmp_path / "1", tmp_path / "2"), IMAGES)
    device = device_here()
    for place, (model, processor) in enumerate(made):
        inputs = processor(images=list(IMAGES), return_tensors="pt").to(device)
        with torch.no_grad():
            expected = model.to(device)(**inputs).logits.cpu().numpy()[:, IN_ORDER]
        assert found[:, place] == pytest.approx(expected, abs=1e-5)


def test_models_without_names_have_the_data_sets_order_or_the_one_that_is_said(tmp_path):
    saved(tmp_path / "1", 1, names=None)
    plain = answers(teachers(tmp_path / "1"), IMAGES)
    order = {"classes": ["a", "b", "c"]}
    said = answers(loaded("transformers", tmp_path / "1", classes=("c", "a", "b"), options=order), IMAGES)
    assert np.array_equal(said, plain[..., [2, 0, 1]])


def test_grey_images_become_three_channels(tmp_path):
    saved(tmp_path / "1", 1)
    grey = IMAGES[..., :1]
    assert np.array_equal(
        answers(teachers(tmp_path / "1"), grey), answers(teachers(tmp_path / "1"), grey.repeat(3, axis=-1))
    )


def test_what_does_not_suit_is_one_line(tmp_path, monkeypatch):
    saved(tmp_path / "1", 1)
    with pytest.raises(UserError, match="its classes are b, c, a, those of the data set are x, y, z; they must"):
        teachers(tmp_path / "1", classes=("x", "y", "z"))
    with pytest.raises(UserError, match="answers for classifications; the data set is a regression"):
        teachers(tmp_path / "1", classes=())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"kind=transformers: .*empty cannot be loaded \(OSError") as refused:
        teachers(tmp_path / "empty")
    assert "\n" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"kind=transformers: needs transformers; pip install transformers"):
        teachers(tmp_path / "1")
