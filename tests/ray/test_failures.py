"""What Ray raises, in one line: through tasks, actors of Ray Data, and processes that were killed."""

import os
import signal

import pytest
import ray

from hydra_ray.cluster.failures import explained, is_from_ray
from hydra_ray.errors import StageError, UserError

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("ray_session")]


def explanation_of(call):
    with pytest.raises(Exception) as raised:  # noqa: PT011  (whatever Ray makes of it)
        call()
    assert is_from_ray(raised.value)
    return explained(raised.value, "predict", "runs/x/error.log")


def in_task(function):
    return lambda: ray.get(ray.remote(max_retries=0)(function).remote({}))


def in_data(function):
    import ray.data

    def call():
        list(ray.data.range(2).map_batches(function, num_cpus=0.25).iter_rows())

    return call


def refuse(batch):
    raise UserError("a.key=1: too small; use 2")


def fail(batch):
    return {}["nothing"]


def die(batch):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("way", [in_task, in_data])
def test_what_the_user_can_mend_comes_out_as_it_was_raised(way):
    error = explanation_of(way(refuse))
    assert isinstance(error, UserError)
    assert str(error) == "a.key=1: too small; use 2"


@pytest.mark.parametrize("way", [in_task, in_data])
def test_a_failure_is_told_with_type_message_and_place(way):
    error = explanation_of(way(fail))
    assert isinstance(error, StageError)
    assert str(error).startswith(f"predict: KeyError: 'nothing' ({__file__}:")
    assert str(error).endswith("in fail); traceback in runs/x/error.log")


def test_a_killed_process_is_told_as_that():
    error = explanation_of(in_task(die))
    assert str(error).startswith("predict: a worker died: killed, out of memory")


@pytest.mark.parametrize(
    "words",
    [
        "f: not the bytes that were published",
        "f: [Errno 30] Failed to open local file 'f'. Detail: [errno 30] Read-only file system: choose another place",
    ],
)
def test_what_ray_data_adds_to_a_users_error_is_left_out(words):
    """And nothing else: pyarrow's own words begin like Ray's."""
    import ray.data

    with pytest.raises(UserError) as raised:
        ray.data.range(1).map_batches(Refusing(words)).materialize()
    assert "DataContext" in str(raised.value)
    assert str(explained(raised.value, "predict", "log")) == words


class Refusing:
    """As a stage's: what it answers, it answers piece by piece."""

    def __init__(self, words):
        self.words = words

    def __call__(self, batch):
        yield batch
        raise UserError(self.words)
