"""Recipes that are no text of YAML: a folder, bytes, another encoding, nothing, a list."""

import pytest

from hydra_ray.config.load import load_config
from hydra_ray.config.yaml_files import SHORT_FORMS, assigned, flatten
from hydra_ray.errors import UserError

RECIPE = "name: x\ndata: {source: digits}\n"
FILES = {
    "binary": (bytes(range(256)), "cannot be read as YAML: 'utf-8' codec can't decode byte"),
    "zeros": (bytes(100), "cannot be read as YAML: unacceptable character #x0000"),
    "UTF-16": (RECIPE.encode("utf-16"), "cannot be read as YAML: 'utf-8' codec can't decode byte 0xff"),
    "empty": (b"", "a recipe is a mapping such as `data: {source: digits}`, this is empty"),
    "list": (b"- a\n- b\n", "a recipe is a mapping such as `data: {source: digits}`, this is a list"),
    "word": (b"digits", "this is a str"),
}


def refusal(path):
    with pytest.raises(UserError) as raised:
        load_config(path)
    text = str(raised.value)
    assert text.startswith(f"{path}: ")
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, name):
    path = tmp_path / "recipe.yaml"
    content, expected = FILES[name]
    path.write_bytes(content)
    assert expected in refusal(path)


def test_a_folder_is_no_recipe(tmp_path):
    assert "Is a directory" in refusal(tmp_path)


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8-sig")
    assert load_config(path).name == "x"


def test_a_short_form_and_a_key_beside_it_are_one_section():
    for key, short in SHORT_FORMS.items():
        tree = assigned(assigned({}, key, "pgd", "here"), f"{key}.other", 1, "here")
        assert flatten(tree) == {f"{key}.{short}": "pgd", f"{key}.other": 1}
