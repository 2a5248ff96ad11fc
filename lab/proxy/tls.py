"""Whom the gateway believes to be a service: one answer for requests and for WebSockets."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def context() -> ssl.SSLContext:
    """Trusts the system's certificates, or those that the environment's `SSL_CERT_FILE` holds.

    One for all connections: to load the certificates takes some twenty milliseconds, in which nothing else
    is served.
    """
    return ssl.create_default_context()
