"""`gateway:app` with its slow clocks hurried, for what takes half a minute in earnest."""

import os

from gateway import app
from lab.proxy.endpoint import Endpoint
from lab.proxy.server import Front, GatewayProtocol
from lab.proxy.services import Directory

assert 2 * Endpoint.silence <= 60  # row 63: a dead peer is noticed within 60 s

if hurry := os.environ.get("WIRE_HURRY"):
    for name in hurry.split():
        if name == "endpoint":
            Endpoint.silence = Endpoint.close_timeout = 1.0
        elif name == "clients":
            GatewayProtocol.head_timeout = GatewayProtocol.body_timeout = GatewayProtocol.write_timeout = 0.3
            Front.sweep = 0.05
        elif name == "checks":
            Directory.CHECK_EVERY = Directory.RETRY_EVERY = 0.05
            Directory.DOWN_AFTER = 0.2

__all__ = ["app"]
