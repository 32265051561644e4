"""Work in this process: the same functions, called in order, with torch's threads put back and errors told apart."""

import pyarrow as pa
import pytest
import torch

from hydra_ray.cluster.place_of_work import LocalWorkError, fit, progress, shared, stream, submit
from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config.cluster import ClusterConfig
from hydra_ray.errors import UserError

HERE = ClusterConfig(local=True, cpus_per_worker=3)
ITEMS = [{"item": place} for place in range(3)]


@pytest.fixture(autouse=True)
def threads_are_put_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == 2


def test_a_loop_is_called_once_as_the_only_rank():
    seen = []
    fit(
        lambda job, ranks, device: seen.append((job, ranks.rank, ranks.num_ranks, device.type)), "job", HERE, None, None
    )
    assert seen == [("job", 0, 1, "cpu")]


def test_a_function_is_called_when_its_answer_is_asked_for():
    seen = []

    def ask(value):
        set_up_worker(HERE)
        seen.append((value, torch.get_num_threads()))
        return len(seen)

    answers = [submit(ask, HERE, shared(value, HERE)) for value in "ab"]
    assert seen == []
    assert [answer() for answer in answers] == [1, 2]
    assert seen == [("a", 3), ("b", 3)]


def whole(items):
    set_up_worker(HERE)
    return items.append_column("rows", pa.array([7]))


def in_pieces(items):
    yield whole(items)
    yield whole(items)


@pytest.mark.parametrize(("make", "times"), [(whole, 1), (in_pieces, 2)])
def test_items_are_made_one_after_the_other(make, times):
    assert list(stream(ITEMS, HERE, make)) == [{**item, "rows": 7} for item in ITEMS for _ in range(times)]


def test_events_arrive_before_the_next_step():
    seen = []
    with progress(seen.append, HERE) as sender:
        sender.send({"event": "epoch"})
        assert seen == [{"event": "epoch"}]
        sender.send({"event": "member"}, wait=True)
    assert [each["event"] for each in seen] == ["epoch", "member"]


def divide(*_):
    set_up_worker(HERE)
    return 1 / 0


def refuse(*_):
    set_up_worker(HERE)
    raise UserError("a.key=1: too small; use 2")


WAYS = {
    "fit": lambda function: fit(function, "job", HERE, None, None),
    "submit": lambda function: submit(function, HERE)(),
    "stream": lambda function: list(stream(ITEMS, HERE, function)),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_work_raises_is_told_from_a_fault_of_the_stage(way):
    with pytest.raises(LocalWorkError) as raised:
        WAYS[way](divide)
    assert isinstance(raised.value.cause, ZeroDivisionError)
    with pytest.raises(UserError, match=r"^a\.key=1: too small; use 2$"):
        WAYS[way](refuse)
