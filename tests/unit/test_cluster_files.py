"""The files in configs/cluster: each has only fields that its reader knows, and every command is one of ours."""

import json
import os
import re
import shlex
import subprocess
from argparse import ArgumentParser
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
import yaml
from support import REPO

from hydra_ray.cli import recipes
from hydra_ray.config import Config, load_config, shipped_recipes

FOLDER = REPO / "configs" / "cluster"
FILES = sorted(FOLDER.iterdir())
YAMLS = [path for path in FILES if path.suffix == ".yaml"]
RAY = re.search(r"^ray==(.+)$", (REPO / "constraints.txt").read_text(), re.MULTILINE)[1]
RAYJOBS = ["rayjob.yaml", "rayjob-spot.yaml"]
LAUNCHED = ["aws.yaml", "gcp.yaml"]
COMMANDS = {"rayjob.yaml": 1, "rayjob-spot.yaml": 1, "anyscale.yaml": 1, "sky.yaml": 1, "aws.yaml": 0, "gcp.yaml": 0}
"""File -> how many commands of ours it holds."""
PACKAGE_HOSTS = re.compile(r"pypi|pythonhosted|download\.pytorch|anaconda\.org|index-url|find-links|\.whl\b|conda\.io")
SECRETS = (
    re.compile(r"\bAKIA[0-9A-Z]{16}\b|-----BEGIN|\bhf_\w{20,}|\bgh[ps]_\w{20,}"),
    re.compile(r"\b[0-9a-fA-F]{32,}\b"),
    re.compile(r"(?i)(?:token|password|secret(?:_access)?_key|api_key): *[\"']?(?!null\b)[\w/+]{12,}"),
)

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
each_rayjob = pytest.mark.parametrize("name", RAYJOBS)
each_launched = pytest.mark.parametrize("name", LAUNCHED)


def read(name: str):
    return yaml.safe_load((FOLDER / name).read_text())


def texts(tree):
    """Every text in a tree of YAML."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts(value)


def commands_in(text: str) -> list[list[str]]:
    """The words of each `hydra-ray` line in a shell's text."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.lstrip().startswith("hydra-ray ")]


def parsed(words: list[str]) -> Config:
    """The configuration of a command line, which has to be `hydra-ray run` of a shipped recipe."""
    assert words[:2] == ["hydra-ray", "run"]
    parser = ArgumentParser()
    parser.set_defaults(command="run")
    recipes.add_arguments(parser)
    arguments = parser.parse_intermixed_args(words[2:])
    assert arguments.config in shipped_recipes()
    assert arguments.wait, "a retry would meet the lock of the command that was killed"
    return load_config(arguments.config, arguments.overrides)


def test_these_files_are_tested():
    names = {"Dockerfile", "job.sh", *RAYJOBS, *LAUNCHED, "anyscale.yaml", "sky.yaml", "grafana.json"}
    assert {path.name for path in FILES} == names


def test_none_is_a_recipe():
    assert not {path.stem for path in YAMLS} & set(shipped_recipes())


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix != ".json"], ids=lambda path: path.name)
def test_keys_are_explained(path):
    """At least one line of comment to three lines of settings."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    comments = [line for line in lines if line.lstrip().startswith("#")]
    assert 4 * len(comments) >= len(lines)
    assert max(map(len, lines)) <= 125


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_commands_in_yaml(path):
    found = [words for text in texts(read(path.name)) for words in commands_in(text)]
    assert len(found) == COMMANDS[path.name]
    for words in found:
        config = parsed(words)
        assert config.storage.startswith("s3://")
        has_gpus = "nvidia.com/gpu" in path.read_text() or path.name == "sky.yaml"
        assert config.cluster.use_gpu is (True if has_gpus else "auto"), "`auto` sees no GPU in a cluster from zero"


@pytest.mark.parametrize("own", [(), ("mnist", "cluster.num_workers=[2,8]")], ids=["demo", "own"])
def test_command_of_the_script(own, tmp_path):
    """Run with a `ray` that writes its words down."""
    stub = tmp_path / "ray"
    stub.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done\nprintf "%s" "$RAY_AUTH_MODE" >&2\n')
    stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STORAGE": "s3://my-bucket/runs"}
    done = subprocess.run(
        [FOLDER / "job.sh", *own], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    words = done.stdout.splitlines()
    before, command = words[: words.index("--")], words[words.index("--") + 1 :]
    assert done.stderr == "token"
    assert before[:2] == ["job", "submit"]
    runtime = json.loads(before[before.index("--runtime-env-json") + 1])
    assert set(runtime) <= {"env_vars", "excludes"}
    assert all(pattern.startswith("/") for pattern in runtime["excludes"]), "hydra_ray/data must not be left out"
    config = parsed(command)
    assert (config.name, config.storage) == (own[0] if own else "digits", "s3://my-bucket/runs")


def test_the_script_wants_a_storage(tmp_path):
    done = subprocess.run(
        [FOLDER / "job.sh"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "STORAGE=s3://my-bucket/runs" in done.stderr


@each_rayjob
def test_rayjobs_have_fields_of_the_crd(name):
    schema = yaml.safe_load((REPO / "tests" / "fixtures" / "rayjob_fields.yaml").read_text())
    job = read(name)
    jsonschema.validate(job, schema)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(job, schema)


@each_rayjob
def test_rayjobs_keep_the_operators_rules(name):
    """Those of ValidateRayJobSpec that concern what the files use."""
    spec = read(name)["spec"]
    cluster = spec["rayClusterSpec"]
    rules = spec["deletionStrategy"]["deletionRules"]
    assert "shutdownAfterJobFinishes" not in spec
    assert "ttlSecondsAfterFinished" not in spec
    assert all(rule["policy"] != "DeleteWorkers" for rule in rules), "not beside the autoscaler"
    conditions = [(rule["policy"], *(rule["condition"].keys() - {"ttlSeconds"}), *texts(rule)) for rule in rules]
    assert len(set(conditions)) == len(conditions)
    assert all(("jobStatus" in rule["condition"]) != ("jobDeploymentStatus" in rule["condition"]) for rule in rules)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert all(group["minReplicas"] == 0 for group in cluster["workerGroupSpecs"])
    assert isinstance(yaml.safe_load(spec["runtimeEnvYAML"]), dict)


@each_rayjob
def test_secrets_of_rayjobs_are_kubernetes_own(name):
    cluster = read(name)["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        for variable in group["template"]["spec"]["containers"][0]["env"]:
            is_secret = re.search("KEY|TOKEN|SECRET|PASSWORD", variable["name"])
            assert ("valueFrom" in variable) == bool(is_secret), variable["name"]


@each_launched
def test_launched_clusters_have_fields_of_rays_schema(name):
    schema = json.loads((Path(find_spec("ray").origin).parent / "autoscaler" / "ray-schema.json").read_text())
    cluster = read(name)
    jsonschema.validate(cluster, schema)
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert [each["min_workers"] for kind, each in types.items() if kind != cluster["head_node_type"]] == [0]
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    del cluster["cluster_name"]
    with pytest.raises(jsonschema.ValidationError, match="cluster_name"):
        jsonschema.validate(cluster, schema)


def test_images_have_the_ray_of_the_constraints():
    tag = re.compile(r"(?:hydra-ray:ray-|/ray:|rayVersion: \")(\d+[.]\d+[.]\d+)")
    tags = [found for path in FILES for found in tag.findall(path.read_text())]
    assert len(tags) >= 10
    assert set(tags) == {RAY}
    for path in YAMLS:
        images = [text for text in texts(read(path.name)) if re.search(r"/[\w-]+:", text) and "://" not in text]
        assert all(f":ray-{RAY}" in image for image in images if "arn:" not in image), images


@each_file
def test_no_host_of_packages_and_no_secret(path):
    text = path.read_text()
    assert not PACKAGE_HOSTS.search(text)
    for pattern in SECRETS:
        assert not pattern.search(text), pattern.search(text)
