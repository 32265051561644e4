"""Kinds of students as objects: each section of the configuration has its kind, with words and a colour of its own."""

from hydra_ray.config import STUDENTS
from hydra_ray.training.kinds import kind_named, kinds


def test_every_section_has_its_kind_in_the_module_of_its_name():
    for name, section in STUDENTS.items():
        kind = kind_named(name)
        assert kind.kind == name
        assert kind.__module__.endswith(f".kinds.{name}")
        assert set(kind.words) == set(section.tasks)


def test_no_two_kinds_have_one_colour():
    assert len({kind.colour for kind in kinds()}) == len(STUDENTS)
