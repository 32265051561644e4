"""Two publishers of one result, interleaved at every step: what is done is whole, and nothing else looks done."""

import threading
import uuid
from contextlib import suppress
from itertools import product

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hydra_ray.errors import UserError
from hydra_ray.storage.artifact import Artifact
from hydra_ray.storage.folder import Folder

KEY = {"a": 1}
STEPS = ("create_dir", "open_output_stream", "open_input_stream", "move", "delete_file", "delete_dir", "get_file_info")
_MOST_STEPS = 60


class Turns:
    """Lets one of two threads take its file system's steps at a time, in a given order."""

    def __init__(self, first: int, second: int) -> None:
        """Publisher 0 takes `first` steps, then 1 takes `second`, then 0 ends, then 1."""
        self.left = [first, second]
        self.turn = 0
        self.ended = [False, False]
        self.condition = threading.Condition()
        self.taken = [0, 0]

    def step(self, who: int) -> None:
        with self.condition:
            if self.turn == who and self.left[who] == 0:
                self._pass_on(who)
            while self.turn != who:
                assert self.condition.wait(30)
            self.left[who] -= 1
            self.taken[who] += 1

    def end(self, who: int) -> None:
        with self.condition:
            self.ended[who] = True
            self._pass_on(who)

    def _pass_on(self, who: int) -> None:
        if not self.ended[1 - who]:
            self.turn = 1 - who
        self.condition.notify_all()


def _taking_turns(base: type) -> type:
    def stepping(name):
        def method(self, *args, **kwargs):
            self.turns.step(self.who)
            return getattr(base, name)(self, *args, **kwargs)

        return method

    names = [*STEPS, "get_file_info_selector"] if base is pafs.FSSpecHandler else STEPS
    return type(f"Turns{base.__name__}", (base,), {name: stepping(name) for name in names})


_Local, _FSSpec = _taking_turns(pafs.LocalFileSystem), _taking_turns(pafs.FSSpecHandler)


class TurnsMemory(MemoryFileSystem):
    """fsspec's memory, in which putting a file is a step."""

    cachable = False

    def pipe_file(self, *args, **kwargs):
        self.turns.step(self.who)
        return super().pipe_file(*args, **kwargs)


def in_turns(folder: Folder, turns: Turns, who: int) -> Folder:
    if folder.is_local:
        fs = found = _Local()
    else:
        memory = TurnsMemory()
        memory.turns, memory.who = turns, who
        found = _FSSpec(memory)
        fs = pafs.PyFileSystem(found)
    found.turns, found.who = turns, who
    return Folder(fs, folder.path)


def publish(folder: Folder, turns: Turns, who: int, own: bool, outcomes: list) -> None:
    """Write two files and publish them; the other publisher's have other bytes."""
    try:
        turns.step(who)
        result = Artifact(in_turns(folder, turns, who) / "one", KEY if own else {**KEY, "who": who}, "model.json")
        with suppress(FileNotFoundError):  # the attempt has gone to its place with the other's files
            for name in ("a", "b"):
                result.attempt.write(name, f"{name}{who}".encode())
        result.publish({"who": who}, ["a", "b"])
        outcomes[who] = "published"
    except UserError as error:
        outcomes[who] = str(error)
    except BaseException as error:
        outcomes[who] = error
    finally:
        turns.end(who)


def run_both(folder: Folder, first: int, second: int, own: bool) -> tuple[list, Turns]:
    turns, outcomes = Turns(first, second), [None, None]
    threads = [threading.Thread(target=publish, args=(folder, turns, who, own, outcomes)) for who in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes, turns


def assert_whole_or_nothing(folder: Folder, outcomes: list, case: object) -> None:
    for outcome in outcomes:
        assert isinstance(outcome, str), (case, outcomes)
    found = False
    for key in (KEY, {**KEY, "who": 0}, {**KEY, "who": 1}):
        result = Artifact(folder / "one", key, "model.json")
        if result.status() == "done":
            found = True
            assert_read_or_noticed(result, case)
            assert result.require()["files"].keys() == {"a", "b"}, case
    if set(outcomes) == {"published"} and folder.is_local:
        assert found, (case, outcomes)


def assert_read_or_noticed(result: Artifact, case: object) -> None:
    """Who replaces a file of the other's attempt after it was hashed is noticed: at once locally, else by who reads."""
    try:
        found = [result.read(name)[:1] for name in ("a", "b")]
    except UserError as error:
        noticed = "not the bytes that were published" in str(error)
        assert noticed, case
        assert not result.folder.is_local, case
    else:
        assert found == [b"a", b"b"], case


@pytest.mark.parametrize("own", [True, False], ids=["one key", "two keys"])
@pytest.mark.parametrize("place", ["local", "memory"])
@pytest.mark.parametrize("published_before", [False, True])
def test_two_publishers_at_every_step(tmp_path, place, own, published_before):
    _, turns = run_both(new_folder(place, tmp_path, published_before, own), _MOST_STEPS, _MOST_STEPS, own)
    steps = turns.taken[0]
    assert 8 < steps < _MOST_STEPS
    grid = [(first, _MOST_STEPS) for first in range(steps + 1)]
    grid += list(product(range(1, steps, 4), range(1, steps, 4))) if published_before else []
    for first, second in grid:
        folder = new_folder(place, tmp_path, published_before, own)
        outcomes, _ = run_both(folder, first, second, own)
        assert_whole_or_nothing(folder, outcomes, (first, second))
        again = Artifact(folder / "one", KEY, "model.json")
        for name in ("a", "b"):
            again.attempt.write(name, name.encode())
        again.publish({})
        assert again.is_done, "whatever was left, it can be published again"


def new_folder(place: str, tmp_path, published_before: bool, own: bool) -> Folder:
    name = uuid.uuid4().hex
    folder = Folder.open(str(tmp_path / name) if place == "local" else f"memory://{name}")
    if published_before:
        old = Artifact(folder / "one", {"old": own}, "model.json")
        old.attempt.write("c", b"old")
        old.publish({})
    return folder


def test_a_result_without_one_of_its_files_is_not_published(tmp_path):
    result = Artifact(Folder.open(str(tmp_path)) / "one", KEY)
    result.attempt.write("a", b"1")
    with pytest.raises(UserError, match="not published, its files were touched meanwhile"):
        result.publish({}, ["a", "b"])
    with pytest.raises(UserError, match="not published"):
        Artifact(Folder.open(str(tmp_path)) / "two", KEY).publish({})
    assert result.status() == "missing"


def test_only_the_files_that_are_named_are_published(tmp_path):
    result = Artifact(Folder.open(str(tmp_path)) / "one", KEY)
    for name in ("a", "checkpoint"):
        result.attempt.write(name, b"1")
    result.publish({}, ["a"])
    assert sorted(result.folder.files()) == ["a", "manifest.json"]


def test_an_attempt_that_was_published_by_another_command_is_as_good(tmp_path):
    """Two that finish one member together: the second finds it done."""
    folder = Folder.open(str(tmp_path))
    first, second = Artifact(folder / "one", KEY), Artifact(folder / "one", KEY)
    first.attempt.write("a", b"1")
    first.publish({}, ["a"])
    second.publish({}, ["a"])
    assert second.read("a") == b"1"
