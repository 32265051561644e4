"""The configuration: recipes load, and whatever is wrong with one is said in one line that a user can act on."""

import subprocess
import sys

import pytest
from helpers.recipes import recipe, refusal
from support import REPO

from hydra_ray.config.load import load_config, validate, with_overlay
from hydra_ray.config.messages import known_keys, section_at
from hydra_ray.config.tree import Config
from hydra_ray.config.yaml_files import flatten, parse_yaml
from hydra_ray.errors import UserError

RECIPES = sorted((REPO / "configs").glob("*.yaml"))
DIGITS = {"name": "digits", "data": {"source": "digits"}}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path):
    config = load_config(path)
    assert config.name == path.stem
    assert config.data.source


def test_there_are_shipped_recipes():
    assert RECIPES


def test_importing_the_configuration_imports_neither_torch_nor_ray():
    heavy = ("torch", "ray", "numpy", "pyarrow")
    check = f"import sys, hydra_ray.config; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", check], cwd=REPO, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# reading


def test_the_name_of_a_run_is_its_recipe_s_unless_given(digits):
    assert load_config(digits).name == "mine"
    assert load_config(digits, ["name=other"]).name == "other"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("3e-3", 0.003), ("1E5", 1e5), ("-2.5e+3", -2500.0), ("1.", 1.0), (".5", 0.5), ("7", 7),
        ("1_000", 1000), ("off", "off"), ("no", "no"), ("on", "on"), ("y", "y"), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None), ("010", "010"), ("1:30", "1:30"), ("2026-01-31", "2026-01-31"),
        ("1e", "1e"), ("e3", "e3"), (".", "."), ("-", [None]), ("'1e-3'", "1e-3"), ("[1e-3, off]", [0.001, "off"]),
    ],
)  # fmt: skip
def test_yaml_reads_as_people_expect(text, value):
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


def test_infinity_and_nan_are_numbers_that_no_key_takes(digits):
    assert "finite" in refusal(digits, "distill.temperature=.inf")
    assert "finite" in refusal(digits, "distill.temperature=.nan")


def test_tracking_can_be_switched_off_by_the_word(digits):
    assert load_config(digits, ["tracking.wandb=off"]).tracking.wandb == "off"


def test_overrides_reach_nested_keys_sections_that_are_not_there_and_free_options(digits):
    config = load_config(
        digits,
        [
            "distill.temperature=1e-1",
            "ensemble.options.hidden=[3, 4]",
            "distill.body_options.hidden=[5]",
            "predict.dtype=float32",
        ],
    )
    assert config.distill.temperature == 0.1
    assert config.ensemble.options == {"hidden": [3, 4]}
    assert config.distill.body_options == {"hidden": [5]}
    assert config.predict.dtype == "float32"
    assert config.ensemble.num_members == 5


def test_a_switch_that_is_off_is_as_if_it_were_not_there(digits):
    """So that fingerprints of students that were trained before there was such a key stay what they are."""
    off = load_config(digits, ["distill.standardise=false"])
    assert off == load_config(digits)
    assert off.distill.standardise is None
    assert load_config(digits, ["distill.standardise=true"]).distill.standardise is True


def test_the_last_of_two_overrides_counts(digits):
    assert load_config(digits, ["seed=1", "seed=2"]).seed == 2


def test_an_override_of_one_section_leaves_another_that_shares_its_yaml_alone(tmp_path):
    path = recipe(
        tmp_path,
        "data: {source: digits}\nensemble: {options: &shared {hidden: [9]}}\ndistill: {body_options: *shared}\n",
    )
    config = load_config(path, ["ensemble.options.hidden=[1]"])
    assert (config.ensemble.options, config.distill.body_options) == ({"hidden": [1]}, {"hidden": [9]})


def test_merge_keys_work(tmp_path):
    path = recipe(tmp_path, "data: {source: digits}\nensemble: &e {epochs: 3}\ndistill: {<<: *e, batch_size: 8}\n")
    assert load_config(path).distill.epochs == 3


# what is refused, and how


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("distill.temprature=2", "command line: distill.temprature=2: unknown key; nearest: distill.temperature"),
        ("temperature=2", "command line: temperature=2: unknown key; nearest: distill.temperature"),
        (
            "tracking.api_key=0123456789abcdef",
            "command line: tracking.api_key=...: unknown key; valid here: wandb, project; secrets stay in the "
            "environment, W&B's key in WANDB_API_KEY",
        ),
        ("ensemble.nummembers=3", "command line: ensemble.nummembers=3: unknown key; nearest: ensemble.num_members"),
        ("T=2", "command line: T=2: unknown key; valid here: name, storage, seed"),
        ("distill.K=2", "command line: distill.K=2: unknown key; valid here: epochs, batch_size"),
        ("zzz.yyy=1", 'command line: zzz={"yyy": 1}: unknown key; valid here: name'),
        ("ensemble.augment={vew: affine}", "nearest: ensemble.augment.view"),
        ("transfer.views=[{view: a, conut: 2}]", "views.0.conut=2: unknown key; nearest: transfer.views.0.count"),
        ("data.unknown={a: {vew: affine}}", "data.unknown.a.vew=\"affine\": unknown key; nearest: data.unknown.a.view"),
        ("data.unknown.a.view=3", "data.unknown.a.view=3: must be a word: put it in quotes"),
        ("data.unknown.a=3", "data.unknown.a=3: must be a word: put it in quotes"),
        ("data.unknown.a={view: x, count: 0}", "data.unknown.a.count=0: must be greater than or equal to 1"),
        ("distill.temperature=hot", 'command line: distill.temperature="hot": must be a valid number'),
        ("ensemble.num_members=2.5", "command line: ensemble.num_members=2.5: must be a valid integer"),
        ("cluster.local=maybe", "command line: cluster.local=\"maybe\": must be a valid boolean, or 'auto'"),
        ("ensemble.stack_size=0", "command line: ensemble.stack_size=0: must be greater than or equal to 1, or 'auto'"),
        ("ensemble.num_members=true", "command line: ensemble.num_members=true: must be a valid integer"),
        ("ensemble.num_members='5'", 'command line: ensemble.num_members="5": must be a valid integer'),
        ("distill.temperature=0", "command line: distill.temperature=0: must be greater than 0"),
        ("distill.temperature=-1", "command line: distill.temperature=-1: must be greater than 0"),
        ("distill.average=0.4", "command line: distill.average=0.4: must be less than or equal to 0.28"),
        ("distill.average=0", "command line: distill.average=0: must be greater than 0"),
        (
            "distill.disagreement_sampling=0.5",
            "command line: distill.disagreement_sampling=0.5: must be greater than or equal to 1",
        ),
        ("ensemble.num_members=0", "command line: ensemble.num_members=0: must be greater than or equal to 1"),
        ("cluster.num_workers=0", "command line: cluster.num_workers=0: must be greater than or equal to 1"),
        ("seed=-1", "command line: seed=-1: must be greater than or equal to 0"),
        ("cluster.object_store_mb=10", "command line: cluster.object_store_mb=10: must be greater than or equal to 75"),
        ("students=[hydra, teacher]", "command line: students.1=\"teacher\": must be one of hydra, kd"),
        ("students=[kd, kd]", "kd stands there more than once"),
        ("data=digits", 'command line: data="digits": must be a section with the keys source, torchvision_root'),
        ("tune=null", "command line: tune=null: must be a section with the keys"),
        ("data.source=7", "command line: data.source=7: must be a word: put it in quotes"),
        ("data.source.x=1", "command line: data.source.x: data.source is a value, not a section"),
        ("transfer.views.0.count=2", "transfer.views={\"0\": {\"count\": 2}}: must be a valid list"),
        ("transfer.views=[]", "command line: transfer.views=[]: List should have at least 1 item"),
        ("name=a/b", 'command line: name="a/b": becomes a folder\'s name'),
        ("name=..", "becomes a folder's name"),
        ("name=.hidden", "becomes a folder's name"),
        ("name=", "command line: name=null: must be a valid string"),
        ("storage=''", "command line: storage=\"\": String should have at least 1 character"),
        ("ensemble.num_members", "command line: 'ensemble.num_members' is not key=value, e.g. ensemble.num_members=20"),
        ("=3", "command line: '=3' is not key=value"),
        ("a..b=3", "command line: 'a..b=3' is not key=value"),
        ("students=[hydra", "command line: 'students=[hydra': the value is not YAML; put it in quotes"),
        ("students.hydra.num_heads=9", "students.hydra.num_heads=9, but ensemble.num_members=5: use 5 heads"),
        ("cluster.num_workers=65", "distill.batch_size=64, but cluster.num_workers=65: some workers would have no row"),
        ("tune.workers_per_trial=100", "tune.workers_per_trial=100: some workers would have no row; use distill."),
    ],
)  # fmt: skip
def test_one_line_names_place_key_value_and_way_out(digits, override, expected):
    text = refusal(digits, override)
    assert expected in text
    assert text.startswith("command line: ")


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("ensemble.num_members", 10_000),
        ("ensemble.stack_size", 10_000),
        ("students.hydra.num_heads", 10_000),
        ("distill.head_width", 100_000),
        ("distill.head_depth", 10_000),
        ("tune.num_trials", 10_000),
        ("cluster.num_workers", 10_000),
        ("evaluate.bootstrap_samples", 100_000),
        ("cluster.object_store_mb", 100_000_000),
        *[
            (f"{section}.{key}", 1_000_000_000)
            for section in ("ensemble", "distill")
            for key in ("epochs", "batch_size")
        ],
        ("predict.rows_per_shard", 1_000_000_000),
        ("evaluate.latency_repeats", 1_000_000_000),
    ],
)
def test_a_number_too_many_digits_long_is_refused_with_the_limit(digits, key, most):
    for value in (most + 1, 10**12, 10**30):
        assert f"{key}={value}: must be " in refusal(digits, f"{key}={value}")
        assert str(most) in refusal(digits, f"{key}={value}")


def test_a_name_too_long_is_refused_with_the_limit(digits):
    assert "at most 100" in refusal(digits, f"name={'n' * 300}")


def test_an_error_in_the_file_names_the_file_though_something_else_is_overridden(digits):
    path = recipe(digits.parent, "data: {source: digits}\nensemble: {epochs: no}\n", "bad.yaml")
    assert refusal(path, "seed=3").startswith(f'{path}: ensemble.epochs="no": must be a valid integer')
    path = recipe(digits.parent, "data: {source: digits}\nstudents: [{kind: hydra, num_heads: 9}]\n", "heads.yaml")
    assert refusal(path, "seed=3").startswith(f"{path}: students.hydra.num_heads=9, but ensemble.num_members=8")
    assert refusal(digits, "students.hydra.num_heads=6").startswith("command line: students.hydra.num_heads=6")


def test_missing_keys_are_named_with_what_is_needed_below_them(tmp_path):
    path = recipe(tmp_path, "seed: 1\n")
    assert refusal(path) == f"{path}: data.source is missing: add data.source"
    assert load_config(path, ["data.source=digits"]).data.source == "digits"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {source: [\n", "cannot be read as YAML"),
        ("data: {source: digits}\nseed: 1\nseed: 2\n", "the key seed stands twice"),
        (
            "data: {source: digits}\nensemble: {epochs: 1}\nensemble: {num_members: 2}\n",
            "the key ensemble stands twice",
        ),
        ("- a\n- b\n", "a recipe is a mapping such as `data: {source: digits}`, this is a list"),
        ("", "this is empty"),
        ("just words", "this is a str"),
        ("? [a, b]\n: 1\n", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['true']\n", "cannot be read as YAML"),
        ("a: \x07\n", "cannot be read as YAML"),
    ],
)
def test_what_is_not_a_recipe(tmp_path, text, expected):
    path = recipe(tmp_path, text)
    assert refusal(path).startswith(f"{path}: ")
    assert expected in refusal(path)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as YAML" in refusal(tmp_path / "bytes.yaml")
    assert "cannot be read" in refusal(tmp_path)
    recipe(tmp_path, "", "mnist.yaml")
    assert refusal(tmp_path / "mnits.yaml").endswith(f"no such recipe; nearest: {tmp_path}/mnist.yaml")
    monkeypatch.chdir(tmp_path)
    shipped = sorted(path.stem for path in (REPO / "configs").glob("*.yaml"))
    assert refusal("elsewhere/x.yaml") == f"elsewhere/x.yaml: no such recipe; valid: {', '.join(shipped)}"


# overlays and flat keys


def test_an_overlay_changes_its_keys_alone():
    config = validate(DIGITS | {"ensemble": {"options": {"hidden": [3]}}}, "here")
    found = with_overlay(config, {"distill": {"temperature": 3.0, "head_width": 8}}, "best.yaml")
    assert (found.distill.temperature, found.distill.head_width) == (3.0, 8)
    assert found.model_copy(update={"distill": config.distill}) == config


def test_an_overlay_replaces_options_whole():
    config = validate(DIGITS | {"distill": {"body": "mlp", "body_options": {"hidden": [3]}}}, "here")
    found = with_overlay(config, {"distill": {"body": "cnn", "body_options": {"widths": [4]}}}, "best.yaml")
    assert found.distill.body_options == {"widths": [4]}


def test_a_bad_overlay_names_its_place():
    with pytest.raises(UserError, match=r"^best.yaml: distill.temperature=0: must be greater than 0$"):
        with_overlay(validate(DIGITS, "here"), {"distill": {"temperature": 0}}, "best.yaml")
    with pytest.raises(UserError, match=r"^best.yaml: distil=\{.*\}: unknown key; nearest: distill$"):
        with_overlay(validate(DIGITS, "here"), {"distil": {"temperature": 1}}, "best.yaml")


def test_flatten():
    tree = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}}
    assert flatten(tree) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": None, "g": {}}
    assert flatten({}) == {}


def test_a_dump_is_a_valid_configuration_again():
    config = validate(DIGITS | {"tune": {"num_trials": 1, "space": {"temperature": {"low": 1, "high": 2}}}}, "here")
    assert Config.model_validate(config.model_dump()) == config
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_every_key_is_documented():
    keys = known_keys(Config)
    assert {"distill.temperature", "ensemble.augment.view", "transfer.views", "tracking.wandb"} <= set(keys)
    assert "students.proxy_end2.max_precision" in keys
    for key in keys:
        *above, name = key.split(".")
        section = section_at(Config, above)
        assert section is not None
        assert section.model_fields[name].description, key


def test_a_configuration_cannot_be_changed():
    config = validate(DIGITS, "here")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
