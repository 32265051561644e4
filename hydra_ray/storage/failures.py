"""Errors of file systems as one line: the place, the reason, and the way out.

Errors of local disks are recognised by their numbers, which pyarrow passes on or puts into its text; those of object
stores by their wording. FileNotFoundError is left as it is.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from hydra_ray.errors import StorageError, reason_of

FAILURES = (OSError, pa.ArrowException, NotImplementedError)
NOT_THERE = (FileNotFoundError, NotADirectoryError)

_GOES_ON = "what is there is kept, and the same command goes on from it"
_NO_ROOM = f"make room there; {_GOES_ON}"
_NO_RIGHT = "give this user the right to write there, or choose another place"
_BROKEN = f"look after that disk or mount; {_GOES_ON}"
_WAYS_OUT = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: f"raise the limit of a file's size (ulimit -f); {_GOES_ON}",
    errno.EROFS: _NO_RIGHT,
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.ENAMETOOLONG: "choose a shorter path or name",
    errno.EIO: _BROKEN,
    errno.ESTALE: _BROKEN,
    errno.ENOTCONN: _BROKEN,
}
_OF_STORES = (
    (r"Failed to flush response stream",  # an error that is longer than the file has no room in pyarrow's buffer
     "the store's answer was an error that is not passed on: check the right to read there, and whether it is busy"),
    (r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|EXPIRED|TOKEN|Forbidden|Unauthorized|PERMISSION|credential",
     "check the credentials in the environment, and their right to list and write there"),
    (r"NO_SUCH_BUCKET|Bucket '.*' not found|bucket does not exist", "make the bucket, or mend its name"),
    (r"NETWORK_CONNECTION|curlCode|resolv|connect|imed out|imeout|HTTP status 5..|UNAVAILABLE|no answer",
     "nothing answers: check the network, the region and the endpoint (AWS_ENDPOINT_URL, or ?endpoint_override=...)"),
    (r"SLOW_DOWN|SlowDown|THROTTL|Throttl|reduce your request rate", f"it is busy: wait a while; {_GOES_ON}"),
    (r"AWS Error|google::cloud|Azure|^store: ", f"ask its owner; {_GOES_ON}"),
)  # fmt: skip
_PASSING = re.compile(
    r"NETWORK_CONNECTION|INTERNAL_FAILURE|InternalError|SLOW_DOWN|SlowDown|reduce your request rate|THROTTL|Throttl"
    r"|REQUEST_TIMEOUT|RequestTimeout|SERVICE_UNAVAILABLE|ServiceUnavailable|ServerBusy|OperationTimedOut"
    r"|HTTP status (429|5\d\d)|curlCode|imed out|onnection (reset|refused|aborted|was closed)|isconnected"
    r"|Status\((UNAVAILABLE|INTERNAL|ABORTED|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED)"
    r"|(429|5\d\d) (Too|Internal|Bad|Serv|Gate)"
)
_PASSING_NUMBERS = (errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE)
_NUMBER = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)


def way_out_of(error: BaseException, *, is_local: bool = True) -> str | None:
    """What the user can do about an error; None if it is not about the storage, or only says that a file is missing."""
    if isinstance(error, NOT_THERE) or not isinstance(error, FAILURES):
        return None
    if isinstance(error, OSError) and error.errno in _WAYS_OUT:
        return _WAYS_OUT[error.errno]
    if isinstance(error, PermissionError):  # without a number, from fsspec
        return _NO_RIGHT
    found = _NUMBER.search(str(error))
    if found and int(found[1]) in _WAYS_OUT:
        return _WAYS_OUT[int(found[1])]
    if is_local and "AWS Error" not in str(error):
        return None
    return next((way for words, way in _OF_STORES if re.search(words, str(error))), None)


def can_pass(error: BaseException) -> bool:
    """Whether the same call to a store may succeed a moment later: it is busy, or the network between."""
    if isinstance(error, NOT_THERE) or not isinstance(error, FAILURES):
        return False
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_NUMBERS:
        return True
    return _PASSING.search(str(error)) is not None


def as_storage_error(error: BaseException, place: object, *, is_local: bool = True) -> StorageError | None:
    """The error as a `StorageError` about `place`; None if it is not about the storage."""
    way_out = way_out_of(error, is_local=is_local)
    return StorageError(f"{place}: {reason_of(error)}: {way_out}") if way_out else None


@contextmanager
def storage_errors(place: object, *, is_local: bool = True) -> Iterator[None]:
    """Raise the storage's errors in the `with` block as one line about `place`.

    Raises:
        StorageError: in place of the storage's own error; other exceptions are left as they are.
    """
    try:
        yield
    except FAILURES as error:
        clear = as_storage_error(error, place, is_local=is_local)
        if clear is None:
            raise
        raise clear from error
