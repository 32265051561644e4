"""An object store on loopback for whoever asks for it."""

import pytest
from helpers.s3 import s3_store

from hydra_ray.storage.retrying import _Store


@pytest.fixture
def s3(monkeypatch):
    """A store with S3's protocol, which URIs s3://bucket/... reach."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3_store() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{store.host}")
        yield store


@pytest.fixture(autouse=True)
def nobody_has_answered():
    """As in a new process."""
    _Store.answers = False
