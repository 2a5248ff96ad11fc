"""Which header fields pass, both ways: hop-by-hop fields stop, forwarding fields are rebuilt."""

from __future__ import annotations

import random
import re
import time
from email.utils import formatdate
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from lab.model import Exchange, Headers

PSEUDONYM = f"gateway-lab-{random.SystemRandom().getrandbits(24):06x}"
"""This gateway's name in Via (RFC 9110 §7.6.3): one a process, so that a chain of two labs is no loop."""

VIA = f"1.1 {PSEUDONYM}".encode()

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Meant for one connection only (RFC 9110 §7.6.1), and the credentials of a proxy (§11.7)."""

_REBUILT = frozenset(
    {
        b"host",
        b"via",
        b"expect",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-forwarded-server",
        b"x-real-ip",
        b"x-request-id",
        b"x-api-key",
        b"x-gateway-client",
        b"traceparent",
    }
)
"""What the service gets from the gateway or not at all: a client's own word counts for nothing here."""

_REQUEST_STOPS = HOP_BY_HOP | _REBUILT
_RESPONSE_STOPS = HOP_BY_HOP | {b"x-request-id", b"x-gateway-service"}
_WEBSOCKET = b"sec-websocket-"

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_KEEP = (b"keep-alive", b"close", b"upgrade")


class Plain(set[bytes]):
    """Names of header fields that need no second look: lower case, valid, and none of `special`.

    The same few names come again and again, and to find one here is cheaper than to check it once more. There
    are never more than `most`, whatever clients and services invent.
    """

    most = 1000

    def __init__(self, special: frozenset[bytes]) -> None:
        super().__init__()
        self._special = special

    def check(self, name: bytes) -> bytes | None:
        """The lower-case name if it is a special one, else None. Raises ValueError for what is no name."""
        lower = name.lower()
        if lower in self._special:
            return lower
        if _TOKEN.fullmatch(name) is None:
            raise ValueError("not a field name")
        if lower == name and len(self) < self.most:
            self.add(name)
        return None


_date = (0, b"")


def date() -> bytes:
    """Now, as the Date field has it (RFC 9110 §6.6.1); it is made once a second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = second, formatdate(second, usegmt=True).encode("ascii")
    return _date[1]


def request_headers(exchange: Exchange, host: bytes, admin_token: bytes | None = None) -> Headers:
    """The header fields that the service gets for this exchange; `host` is its own authority."""
    stops = _REQUEST_STOPS
    via = VIA
    traceparent: bytes | None = None
    forwarded_for = forwarded = b""
    replaced_trace = False
    for name, value in exchange.headers:
        if name not in stops and name != b"authorization":
            continue
        if name == b"connection":
            if value.lower() not in _KEEP:
                stops = stops | {token.strip().lower() for token in value.split(b",")}
        elif name == b"via":
            via = value + b", " + via if via is VIA else via[: -len(VIA)] + value + b", " + VIA
        elif name == b"traceparent":
            if traceparent is None and not replaced_trace and _valid_traceparent(value):
                traceparent = value
            else:
                replaced_trace = True
        elif name == b"x-forwarded-for":
            forwarded_for += value + b", "
        elif name == b"forwarded":
            forwarded += value + b", "
        elif name == b"authorization" and admin_token is not None and admin_token in value:
            stops = stops | {b"authorization"}  # however it is written
    if replaced_trace:
        # W3C Trace Context §3.2: what cannot be parsed is started anew, and its tracestate goes with it.
        traceparent = f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00".encode()
        stops = stops | {b"tracestate"}
    if exchange.kind == "websocket":
        fields = [f for f in exchange.headers if f[0] not in stops and not f[0].startswith(_WEBSOCKET)]
    else:
        fields = [field for field in exchange.headers if field[0] not in stops]

    if not exchange.trusted:
        forwarded_for = forwarded = b""
    peer, scheme, element = _hop(exchange.peer, exchange.host, exchange.scheme)
    fields.insert(0, (b"host", host))
    fields += (
        (b"via", via),
        (b"x-request-id", exchange.request_id.encode("ascii")),
        (b"x-forwarded-for", forwarded_for + peer),
        (b"x-forwarded-proto", scheme),
        (b"x-forwarded-host", exchange.host),
        (b"forwarded", forwarded + element),
    )
    if exchange.identity is not None:
        fields.append((b"x-gateway-client", exchange.identity.encode("ascii")))
    if traceparent is not None:
        fields.append((b"traceparent", traceparent))
    return fields


@lru_cache(maxsize=1000)
def _hop(peer: str, host: bytes, scheme: str) -> tuple[bytes, bytes, bytes]:
    """The peer and the scheme as bytes, and both with the host as an element of Forwarded (RFC 7239 §4)."""
    address = peer.encode("ascii", "replace") or b"unknown"
    node = b'"[' + address + b']"' if b":" in address else address
    protocol = scheme.encode("ascii")
    return address, protocol, b"for=%s;host=%s;proto=%s" % (node, _quoted(host), protocol)


def _valid_traceparent(value: bytes) -> bool:
    """W3C Trace Context §3.2: version 00 has exactly four fields, a later one may have more."""
    return _TRACEPARENT.fullmatch(value) is not None and (not value.startswith(b"00") or len(value) == 55)


_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _quoted(value: bytes) -> bytes:
    """A value as a token or a quoted string (RFC 7239 §4): a host with its port needs quotes."""
    if _TOKEN.fullmatch(value):
        return value
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def response_headers(headers: Headers) -> Headers:
    """The header fields of a service's response that the client gets, with our Via."""
    stops: frozenset[bytes] | set[bytes] = _RESPONSE_STOPS
    via = VIA
    for name, value in headers:
        if name == b"connection" and value.lower() not in _KEEP:
            stops = stops | {token.strip().lower() for token in value.split(b",")}
        elif name == b"via":
            via = via[: -len(VIA)] + value + b", " + VIA
            stops = stops | {b"via"}
    fields = [field for field in headers if field[0] not in stops]
    fields.append((b"via", via))
    return fields


def looped(headers: Headers) -> bool:
    """True where the request has been through this very gateway before."""
    name = PSEUDONYM.encode()
    return any(key == b"via" and name in value for key, value in headers)


Network = IPv4Network | IPv6Network


def trusted(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether `address` lies in one of the networks; what is no address does not."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any(ip in network or (mapped is not None and mapped in network) for network in networks)


def client_address(peer: str, forwarded_for: list[bytes], networks: tuple[Network, ...]) -> str:
    """The client: the right-most address of X-Forwarded-For that is not a trusted proxy of ours.

    Read from the right, since each hop appends whom it saw: what stands left of the first untrusted address
    is that client's own invention. Text that is no address ends the search at the hop before it. The answer
    is in the canonical spelling, so that a client is one client whatever way its address is written.
    """
    client = peer
    hops = b",".join(forwarded_for).split(b",")
    for hop in reversed(hops):
        try:
            ip = ip_address(_bare(hop.strip().decode("latin-1")))
        except ValueError:
            return client
        client = str(getattr(ip, "ipv4_mapped", None) or ip)
        if not trusted(client, networks):
            return client
    return client


def _bare(hop: str) -> str:
    """`1.2.3.4:80` → `1.2.3.4`, `[::1]:80` → `::1`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
