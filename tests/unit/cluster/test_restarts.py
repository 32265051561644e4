"""When workers are started again: after a death, a preemption or lost room, and not after what will fail again."""

import pytest
from ray.exceptions import RayActorError
from ray.train import ControllerError, PreemptionError, PreemptionInfo, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from hydra_ray.cluster.workers import _Restarts
from hydra_ray.errors import UserError

DEATH = WorkerGroupError("", {0: RayActorError(error_msg="dead")})
PREEMPTED = WorkerGroupError("", {0: RuntimeError("gloo: connection closed"), 1: RayActorError(preempted=True)})
ANNOUNCED = PreemptionError(PreemptionInfo(0, {"node": [1]}))
NO_ROOM = ControllerError(WorkerGroupStartupTimeoutError(2))


def counted(most, *errors):
    restarts = _Restarts(most)
    for error in errors:
        restarts.count(error)
    return restarts


def test_deaths_are_counted_up_to_the_limit():
    assert str(counted(2, DEATH, DEATH)) == "2 of at most 2 times"
    with pytest.raises(WorkerGroupError):
        counted(2, DEATH, DEATH, DEATH)
    with pytest.raises(WorkerGroupError):
        counted(0, DEATH)


@pytest.mark.parametrize("error", [PREEMPTED, ANNOUNCED])
def test_preemptions_are_no_failures(error):
    restarts = counted(1, error, DEATH, error)
    assert str(restarts) == "restarted 3 times: 2 preempted"
    assert (restarts.number, restarts.preempted) == (3, 2)
    assert restarts.last == "a machine was taken back (preempted)"
    assert counted(0, error, error).number == 2


def test_room_that_others_took_is_no_failure_either():
    restarts = counted(0, NO_ROOM, NO_ROOM)
    assert restarts.number == 0
    assert restarts.last == "others took the room for the workers"


@pytest.mark.parametrize("same", [ValueError("no rows"), UserError("storage: the disk is full")])
def test_what_fails_twice_in_the_same_way_will_fail_again(same):
    error = WorkerGroupError("", {0: same})
    with pytest.raises(WorkerGroupError):
        counted(5, error, error)
