"""Clusters of several nodes, of which each is a raylet of its own on this machine."""

import pytest
from helpers.nodes import Nodes
from support import TESTS


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(TESTS / "cluster"):
            item.add_marker(pytest.mark.nodes)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture
def start_nodes():
    """A head with these CPUs and kinds of nodes (see `Nodes`); it ends with the test."""
    started = []

    def start(**arguments):
        started.append(Nodes(**arguments))
        return started[-1]

    yield start
    for nodes in started:
        nodes.end()
