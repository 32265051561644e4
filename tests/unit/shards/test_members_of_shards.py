"""A split's shards: when they serve an ensemble, and which members' predictions are used again."""

import uuid

import pytest

from hydra_ray.errors import UserError
from hydra_ray.shards.artifact import Shards
from hydra_ray.storage.folder import Folder


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return Folder.open(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def shards(folder, members, *, moved=False, **key):
    full = {"data": "d", "split": "test", **key, "members": list(members)}
    return Shards(folder / "predictions" / "test", full, members=tuple(members), rows_follow_members=moved)


@pytest.fixture
def five(folder):
    """Published shards of five members."""
    result = shards(folder, "abcde")
    result.attempt.write("part-000.parquet", b"1")
    result.publish({"rows": 3})
    return folder


@pytest.mark.parametrize(
    ("members", "status", "reusable"),
    [
        ("abcde", "done", (0, 1, 2, 3, 4)),
        ("abc", "done", (0, 1, 2)),
        ("abcdefg", "stale", (0, 1, 2, 3, 4, None, None)),
        ("axcde", "stale", (0, None, 2, 3, 4)),
        ("xbcdefg", "stale", (None, 1, 2, 3, 4, None, None)),
        ("acb", "stale", (0, 2, 1)),
        ("bc", "stale", (1, 2)),
        ("xy", "stale", (None, None)),
    ],
)
def test_shards_serve_their_first_members_and_each_is_used_again(five, members, status, reusable):
    result = shards(five, members)
    assert (result.status(), result.reusable()) == (status, reusable)


@pytest.mark.parametrize("members", ["abc", "abcdefg", "axcde"])
def test_shards_whose_rows_members_have_moved_serve_no_other_ensemble(five, members):
    assert shards(five, "abcde", moved=True).status() == "done"
    result = shards(five, members, moved=True)
    assert (result.status(), set(result.reusable())) == ("stale", {None})
    assert result.digest_of(range(3)) != shards(five, "abcde", moved=True).digest_of(range(3)), (
        "rows are of all members"
    )


def test_shards_of_other_rows_are_stale_whatever_their_members(five):
    result = shards(five, "abc", seed=1)
    assert (result.status(), set(result.reusable())) == ("stale", {None})
    assert "seed: None -> 1" in result.changes()


def test_shards_that_are_not_there(folder):
    assert (shards(folder, "ab").status(), shards(folder, "ab").reusable()) == ("missing", (None, None))


def test_more_members_are_said_in_numbers(five):
    assert shards(five, "abcdefg").changes()[0] == "members: 5 entries -> 7 entries"


def test_what_a_student_of_the_first_members_depends_on(folder):
    one, more = shards(folder, "abc"), shards(folder, "abcde")
    assert one.digest_of(range(3)) == more.digest_of(range(3))
    assert more.digest_of(range(5)) != more.digest_of(range(3))
    assert one.digest_of([2, 0]) == more.digest_of([2, 0]) != more.digest_of([0, 2])
    assert shards(folder, "abd").digest_of(range(3)) != one.digest_of(range(3))


def test_cut_short_shards_are_an_error(five):
    result = shards(five, "abc")
    result.files.write("part-000.parquet", b"")
    with pytest.raises(UserError, match="has 0 bytes, was published with 1"):
        result.status()
