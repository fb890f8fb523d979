from __future__ import annotations

import socket
import warnings
from types import SimpleNamespace

import pytest
import pytest_socket
from tests.conftest import pytest_collection_modifyitems

pytestmark = pytest.mark.unit


def _item(*markers: str) -> SimpleNamespace:
    return SimpleNamespace(nodeid="test_x.py::test_x", get_closest_marker=lambda name: name in markers or None)


@pytest.mark.parametrize("markers", [(), ("unit", "integration"), ("slow",)])
def test_collection_when_a_test_has_not_exactly_one_tier_then_refuses(markers: tuple[str, ...]) -> None:
    with pytest.raises(pytest.UsageError, match="exactly one tier"):
        pytest_collection_modifyitems([_item(*markers)])  # type: ignore[list-item]


def test_collection_when_a_test_has_its_tier_then_accepts() -> None:
    pytest_collection_modifyitems([_item("dbt", "slow")])  # type: ignore[list-item]


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_unit_test_when_it_opens_a_socket_then_fails() -> None:
    with pytest.raises(pytest_socket.SocketBlockedError):
        socket.socket()


def test_warning_when_our_own_code_causes_it_then_is_an_error() -> None:
    with pytest.raises(DeprecationWarning):
        warnings.warn("an old name", DeprecationWarning, stacklevel=1)
