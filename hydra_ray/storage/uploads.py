"""Puts a whole file on an object store, so that nothing is left of an upload that fails.

pyarrow's client of S3 cannot abort an upload, and a stream of it that has failed may still, when it is forgotten, put
what it has in the file's place (tried with 26.0). So a file that fits into one request is sent in one, which happens or
does not; a larger one goes in parts, and where one of them fails, the upload is ended with the parts that are there and
the file deleted. Where the very last requests fail for good the stream is closed by then, and the upload stays open.
fsspec's file systems know how to abort; Google's and Azure's uploads count only once they are closed.
"""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.storage.failures import FAILURES
from hydra_ray.storage.opening import options_of

PART_BYTES = 10 << 20  # what pyarrow sends in one request is smaller
_ATTEMPTS_A_PART = 6  # by the client itself, for each request: a part that fails costs the whole upload


def upload(fs: pafs.FileSystem, path: str, content: pa.Buffer) -> None:
    """Put `content` at `path`; on failure nothing new is there.

    Raises:
        Exception: the store's own.
    """
    if isinstance(fs, pafs.PyFileSystem) and isinstance(fs.handler, pafs.FSSpecHandler):
        fs.handler.fs.pipe_file(path, content.to_pybytes())
    elif isinstance(fs, pafs.S3FileSystem) and content.size >= PART_BYTES:
        _in_parts(fs, path, content)
    else:
        with fs.open_output_stream(path, compression=None) as stream:
            stream.write(content)


def _in_parts(fs: pafs.S3FileSystem, path: str, content: pa.Buffer) -> None:
    strategy = pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS_A_PART)
    options = {**options_of(fs), "allow_delayed_open": False, "background_writes": False}
    client = pafs.S3FileSystem(**options, retry_strategy=strategy)
    stream = client.open_output_stream(path, compression=None)
    try:
        for start in range(0, content.size, PART_BYTES):
            stream.write(content[start : start + PART_BYTES])
        stream.close()
    except BaseException as error:
        # pyarrow completes an upload again when the first answer was late, and some stores know it no more by then
        if "NO_SUCH_UPLOAD" in str(error) and client.get_file_info(path).size == content.size:
            return
        with suppress(*FAILURES):
            _give_up(client, path, stream)
        raise


def _give_up(client: pafs.S3FileSystem, path: str, stream: pa.NativeFile) -> None:
    if not stream.closed:
        stream.write(b"\0")  # an upload without any part cannot be ended
        stream.close()
        client.delete_file(path)
