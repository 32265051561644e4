"""docs/cluster.md quotes messages as the code has them, and names keys that exist."""

import ast
import re

import pytest
import yaml
from support import REPO

from hydra_ray.config import Config, load_config

PAGE = (REPO / "docs" / "cluster.md").read_text()
SYMPTOMS = PAGE.split("## What one sees, why, and what to do")[1]
QUOTES = [one or two for two, one in re.findall(r"^\*\*(?:`` ?(.+?)``|`(.+?)`)", SYMPTOMS, re.MULTILINE)]
OTHERS = ("ModuleNotFoundError", "ray job submit", "kubectl get")
"""What Python, Ray and Kubernetes say."""
VARIABLE = re.compile(r"\bNAME\b|\.\.\.|[^\s(]*[\d{}=][^\s,;]*|[:;,()`]+|\b[CG]PUs?\b|AWS Error \w+|Connection refused")
"""Parts of a message that are not its own text."""


def texts_of(path):
    """The texts in a module; of an f-string each piece between its values."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


@pytest.fixture(scope="module")
def code() -> str:
    return "\n".join(text for path in sorted((REPO / "hydra_ray").rglob("*.py")) for text in texts_of(path))


def test_there_are_enough_symptoms():
    assert len(QUOTES) >= 20
    assert sum(not quote.startswith(OTHERS) for quote in QUOTES) >= 15


@pytest.mark.parametrize("quote", [quote for quote in QUOTES if not quote.startswith(OTHERS)])
def test_quoted_messages_are_ours(quote, code):
    pieces = [" ".join(piece.split()) for piece in VARIABLE.split(quote)]
    pieces = [piece for piece in pieces if " " in piece]
    assert pieces or quote == "CPUs alone"
    assert [piece for piece in pieces if piece not in code] == []


def test_named_keys_are_keys():
    sections = set(Config.model_fields)
    named = {
        word for quoted in re.findall(r"`([^`]+)`", PAGE) for word in re.findall(r"\b[a-z]+\.[a-z_.]+(?==)", quoted)
    }
    named |= {quoted for quoted in re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE) if quoted.split(".")[0] in sections}
    assert len(named) >= 9
    for key in named:
        section, name = key.split(".")[:2]
        assert name in Config.model_fields[section].annotation.model_fields, key


def test_the_page_knows_what_the_spot_file_says():
    entrypoint = yaml.safe_load((REPO / "configs" / "cluster" / "rayjob-spot.yaml").read_text())["spec"]["entrypoint"]
    words = [word for word in entrypoint.split()[3:] if "=" in word]
    assert load_config("cifar10", words).cluster.max_failures == 20
    assert "`rayjob-spot.yaml` has 20" in PAGE
