"""`students`: kinds of students with their own keys, by name or as sections, on the command line by their kind."""

import pytest

from hydra_ray.config import STUDENTS, load_config, overlay_of, with_overlay
from hydra_ray.config.sections import DistillConfig
from hydra_ray.errors import UserError

TEXT = "data: {source: digits}\nensemble: {num_members: 5}\nstudents: [{kind: hydra, head_init_noise: 0.3}, kd]\n"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "mine.yaml").write_text(TEXT)
    return tmp_path / "mine.yaml"


def test_a_bare_name_means_defaults_and_the_command_line_addresses_an_entry_by_its_kind(path):
    config = load_config(path, ["students.hydra.num_heads=4", "distill.kind=hydra"])
    hydra, kd = config.students
    assert (hydra.num_heads, hydra.head_init_noise) == (4, 0.3)
    assert kd == STUDENTS["kd"](kind="kd")
    assert config.student_kinds == ["hydra"]
    assert config.members_learnt_from("hydra") == [0, 1, 2, 3]
    assert config.members_learnt_from("kd") == [0, 1, 2, 3, 4]


def test_students_of_a_team_learn_from_its_members_in_its_order(path):
    config = load_config(path, ["students.hydra.num_heads=2", "distill.members=[4, 0, 2]"])
    assert config.members_learnt_from("hydra") == [4, 0]
    assert config.members_learnt_from("kd") == [4, 0, 2]


def test_options_of_a_recipe_without_students(tmp_path):
    (tmp_path / "short.yaml").write_text("data: {source: digits}\n")
    config = load_config(tmp_path / "short.yaml", ["students.hydra.num_heads=2"])
    assert [entry.model_dump()["num_heads"] for entry in config.students] == [2]


ONE_OF = f"must be one of {', '.join(STUDENTS)}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["students.kd.num_heads=4"], "students.kd.num_heads=4: unknown key; nearest: students.hydra.num_heads"),
        (["students.hydra.smoothing=0.1"], "hydra.smoothing=0.1: unknown key; nearest: students.end2.smoothing"),
        (["students.hydra.num_hads=4"], "students.hydra.num_hads=4: unknown key; nearest: students.hydra.num_heads"),
        (["students.end2.smoothing=0.1"], "students.end2.smoothing: end2 is not in students=[hydra, kd]: add it"),
        (["students=[kd]", "students.hydra.num_heads=4"], "hydra is not in students=[kd]: add it there"),
        (["distill.members=[0, 5]"], "distill.members=[0, 5]: there is no member 5; members are 0 to 4"),
        (["distill.members=[1, 0, 1]"], "distill.members=[1, 0, 1]: a member stands there more than once"),
        (["distill.members=[]"], "distill.members=[]: "),
        (["distill.members=[-1]"], "distill.members.0=-1: must be greater than or equal to 0"),
        (
            ["distill.members=[1, 3]", "students.hydra.num_heads=3"],
            "students.hydra.num_heads=3, but distill.members=[1, 3]: use 2 heads or fewer, or take more members",
        ),
        (["distill.members=[2]", "students=[end2]"], "learns how members disagree, but distill.members=[2]: use 2"),
        (
            [
                "distill.members=[0, 2]",
                "ensemble.folds=2",
                "transfer.views=[{view: identity, held_out: true}]",
            ],
            "none of the first 2 of distill.members=[0, 2] leaves out fold 1 of 2: add member 1 there",
        ),
        (["students.hydra=3"], "students.hydra: is a section: give one of its keys, students.hydra.KEY=..."),
        (["students.hydra.num_heads=x"], 'students.hydra.num_heads="x": must be a valid integer'),
        (["students=[{num_heads: 4}]"], "kind is missing: write the name of a kind, or {kind: NAME, ...}"),
        (["students=[{kind: teacher}]"], f'students.0={{"kind": "teacher"}}: {ONE_OF}'),
        (["students=[3]"], f"students.0=3: {ONE_OF}"),
        (["students=[kd, {kind: kd}]"], "kd stands there more than once; name it once"),
        (["distill.kind=end2"], "distill.kind=end2 is not in students=[hydra, kd]: add it there, or leave it out"),
        (["distill.kind=ed2"], f'distill.kind="ed2": {ONE_OF}'),
        (["distill.num_heads=4"], "distill.num_heads=4: is called students.hydra.num_heads now"),
        (["distill.diversity_weight=1"], "distill.diversity_weight=1: is called students.hydra.diversity_weight now"),
        (["distill.dirichlet.smoothing=0"], "is called students.end2 (first_temperature, smoothing) and stud"),
        (["students=[end2]", "ensemble.num_members=1"], "students: end2 learns how members disagree, but"),
        (["students.hydra.terms=[{import_path: x, weight: 1}]"], 'hydra.terms.0.import_path="x": String should'),
        (["students.hydra.terms=[{import_path: 'a:b'}]"], "students.hydra.terms.0.weight is missing"),
    ],
)  # fmt: skip
def test_one_line_and_the_way_out(path, words, line):
    with pytest.raises(UserError) as raised:
        load_config(path, words)
    assert str(raised.value).startswith("command line: ")
    assert line in str(raised.value)


def test_parameters_of_a_trial_are_an_overlay_for_its_kind(path):
    config = load_config(path)
    overlay = overlay_of("hydra", {"num_heads": 2, "temperature": 3.0})
    assert overlay == {"distill": {"temperature": 3.0}, "students": {"hydra": {"num_heads": 2}}}
    found = with_overlay(config, overlay, "best.yaml")
    assert (found.members_learnt_from("hydra"), found.distill.temperature) == ([0, 1], 3.0)
    assert found.student("hydra").model_dump()["head_init_noise"] == 0.3
    assert overlay_of("kd", {"temperature": 3.0}) == {"distill": {"temperature": 3.0}}


@pytest.mark.parametrize("section", STUDENTS.values(), ids=STUDENTS)
def test_a_kind_names_keys_that_are_there_and_has_none_of_the_name_of_a_shared_one(section):
    assert section.reads <= DistillConfig.model_fields.keys()
    assert not section.own_keys() & DistillConfig.model_fields.keys()
