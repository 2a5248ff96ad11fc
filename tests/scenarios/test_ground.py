"""A stack of one's own, where somebody else may be faster to take a port."""

import socket

import pytest

from lab.launcher import ports
from lab.launcher.ports import PortInUse
from lab.scenarios import ground


@pytest.fixture
def taken():
    """Ports of which one is in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield {**ports.free(), "gateway": listener.getsockname()[1]}


async def test_other_ports_are_tried_where_one_was_taken_meanwhile(tmp_path, monkeypatch, taken):
    offered = [taken, ports.free()]
    monkeypatch.setattr(ground.port_table, "free", lambda: offered.pop(0))
    async with ground.own_stack(tmp_path) as place:
        assert offered == []
        assert set(place.services) == {"service-a", "service-b"}


async def test_but_not_for_ever(tmp_path, monkeypatch, taken):
    monkeypatch.setattr(ground.port_table, "free", lambda: taken)
    with pytest.raises(PortInUse):
        async with ground.own_stack(tmp_path):
            pass
