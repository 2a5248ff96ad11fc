"""Row → the tests to run (for pytest's -k), and what to replace by what in which file of `lab`."""

from __future__ import annotations

Edit = tuple[str, str, str]

TARGET = "target = service.prefix + exchange.rest"
ASKED = "fields = [field for field in exchange.headers if field[0] not in stops]"
HOST = 'fields.insert(0, (b"host", host))'

VARIANTS: dict[int, tuple[str, *tuple[Edit, ...]]] = {
    1: ("row_1_", ("proxy/forward.py", TARGET, TARGET + '.replace(b"%2F", b"/")')),
    2: ("row_2_", ("proxy/edge.py", 'path[1:].partition("/")', 'path.lstrip("/").partition("/")')),
    3: ("row_3_", ("proxy/server.py", 'match[1] or b"/", match[2] or b""', 'b"/" + url, b""')),
    4: (
        "row_4_",
        ("proxy/server.py", 'self._stop(400, "the target is no path")', 'raw_path, query = b"/" + url, b""'),
    ),
    5: (
        "row_5_decoded",
        (
            "proxy/forward.py",
            TARGET,
            '__import__("urllib.parse")\n        import urllib.parse\n        '
            "target = service.prefix + urllib.parse.unquote_to_bytes(exchange.rest)",
        ),
    ),
    6: ("row_6_dot", ("proxy/edge.py", "_DOTS.search(path)", "not path")),
    7: ("row_7_", ("proxy/forward.py", TARGET, TARGET + '.replace(b"//", b"/")')),
    8: (
        "row_8_",
        ("proxy/forward.py", 'b"?" + exchange.query', 'b"?" + b"&".join(sorted(exchange.query.split(b"&")))'),
    ),
    9: (
        "row_9_hop",
        ("proxy/headers.py", 'b"keep-alive",\n        b"proxy-auth', 'b"x-keep",\n        b"proxy-auth'),
    ),
    10: ("row_10_", ("proxy/headers.py", 'b"proxy-authorization",', 'b"x-proxy-authorization",')),
    11: (
        "row_11_",
        (
            "proxy/headers.py",
            "fields = [field for field in headers if field[0] not in stops]",
            "fields = list({n: (n, v) for n, v in headers if n not in stops}.values())",
        ),
    ),
    12: (
        "row_12_repeated_request",
        (
            "proxy/headers.py",
            ASKED,
            "fields = list({n: (n, v) for n, v in exchange.headers if n not in stops}.values())",
        ),
    ),
    13: (
        "row_13_",
        (
            "proxy/headers.py",
            HOST,
            'jar = request_headers.__dict__.setdefault("jar", [])\n    '
            'jar += [f for f in fields if f[0] == b"cookie"]\n    '
            "fields += [f for f in jar if f not in fields]\n    " + HOST,
        ),
    ),
    14: ("row_14_", ("proxy/headers.py", HOST, HOST + '\n    fields.append((b"user-agent", b"gateway"))')),
    15: ("row_15_forwarding", ("proxy/headers.py", "if not exchange.trusted:", "if exchange.trusted:")),
    16: ("row_16_via", ("proxy/headers.py", '(b"via", via),', '(b"via", VIA),')),
    17: (
        "row_17_",
        ("proxy/headers.py", "return _TRACEPARENT.fullmatch(value) is not None and", "return True or"),
    ),
    18: (
        "row_18_coded",
        (
            "proxy/headers.py",
            'fields.append((b"via", via))',
            'fields = [f for f in fields if f[0] != b"content-encoding"]',
        ),
    ),
    19: ("row_19_statuses", ("proxy/cycle.py", "status == 204 or status == 304 or self.scope", "self.scope")),
    20: (
        "row_20_one",
        (
            "proxy/cycle.py",
            'lines.append(b"content-length: " + length)',
            'lines.append(b"content-length: " + length)\n'
            '            if b"x-gateway-service" in dict(headers):\n'
            '                lines.append(b"transfer-encoding: chunked")',
        ),
    ),
    21: (
        "row_21_",
        ("proxy/connection.py", "self.transport.write(_chunk(piece))", "self.transport.write(piece)"),
    ),
    22: (
        "row_22_",
        ("proxy/edge.py", "if framed or chunked:", 'if (framed or chunked) and exchange.method != "GET":'),
    ),
    23: (
        "row_23_a",
        (
            "proxy/cycle.py",
            "protocol.cut(reset=self.started and until_close and not self.bodiless)",
            "self._remaining = None\n            self._body(b'', False)",
        ),
    ),
    24: ("row_24_an_interim", ("proxy/connection.py", "if 100 <= status < 200:", "if 100 <= status < 103:")),
    25: (
        "row_25_",
        (
            "proxy/edge.py",
            "status = response.status",
            "status = 200 if response.status < 304 else response.status",
        ),
    ),
    26: ("row_26_trace", ("proxy/edge.py", 'if exchange.method == "TRACE" or', "if")),
    27: ("row_27_a_missing", ("proxy/edge.py", "hosts > 1 or (", "(")),
    28: ("row_28_each", ("proxy/cycle.py", "self.protocol.front.flush_later(self)", "pass")),
    29: (
        "row_29_an_upload",
        (
            "proxy/forward.py",
            "return self._body.__aiter__()",
            "return self._whole()\n\n    async def _whole(self):\n"
            '        yield b"".join([piece async for piece in self._body])',
        ),
        ("proxy/forward.py", "stream=body, replay=replay", "stream=body and _Upload(body), replay=replay"),
    ),
    30: ("row_30_a_slow_reader", ("proxy/connection.py", "if self._size > HIGH_WATER and", "if False and")),
    31: (
        "row_31_a_client",
        ("proxy/server.py", "for cycle in self.pipeline:\n            cycle.client_gone()", "pass"),
    ),
    32: ("row_32_refused", ("proxy/forward.py", 'return problem(502, "bad', 'return problem(500, "bad')),
    33: (
        "row_33_nor",
        (
            "proxy/forward.py",
            'f"{name} does not accept connections"',
            'f"{name}: {error.__cause__}"',
        ),
    ),
    34: (
        "row_34_others",
        ("policies/retry.py", 'frozenset({"GET", "HEAD"', 'frozenset({"POST", "PATCH", "LOCK", "GET"'),
    ),
    35: ("row_35_a_stale", ("proxy/upstream.py", "if not connection.stale or", "if True or")),
    36: (
        "row_36_authorization",
        ("policies/cache/rules.py", 'return "public" in found or', "return True or"),
    ),
    37: ("row_37_no_store", ("policies/cache/rules.py", 'elif "no-store" in found:', "elif False:")),
    38: (
        "row_38_vary_is",
        (
            "policies/cache/http.py",
            "return not entry.vary or fields.selecting(entry.vary, exchange) == entry.selected",
            "return True",
        ),
        (
            "policies/cache/rules.py",
            "entry.selected = fields.selecting(entry.vary, exchange)",
            "entry.selected = ()",
        ),
    ),
    39: ("row_39_", ("policies/cache/rules.py", "if not says_so and any(", "if False and any(")),
    40: (
        "row_40_",
        (
            "policies/cache/core.py",
            "exchange.service.encode() + exchange.rest",
            'exchange.service.encode() + exchange.rest.replace(b"%2F", b"/")',
        ),
    ),
    41: (
        "row_41_a_304",
        (
            "policies/cache/rules.py",
            "return [field for field in stored if field[0] not in renewed] + update",
            "return stored",
        ),
    ),
    42: (
        "row_42_a_successful",
        ("policies/cache/stage.py", "self._void(self.core.invalidate(exchange, response, address))", "pass"),
    ),
    43: ("row_43_must", ("policies/cache/entry.py", "return not self.strict and", "return")),
    44: ("row_44_one", ("policies/cache/stage.py", "if wanted is None or not", "if True or not")),
    45: (
        "row_45_conditional",
        ("policies/cache/entry.py", "if entry.status == 200 and not_modified(exchange, entry):", "if False:"),
    ),
    46: (
        "row_46_exactly",
        ("policies/rate_limit/__init__.py", "limit=limit, window", "limit=limit + 1, window"),
    ),
    47: (
        "row_47_the_sliding",
        (
            "policies/rate_limit/__init__.py",
            '"sliding_window": SlidingWindow',
            '"sliding_window": FixedWindow',
        ),
    ),
    48: (
        "row_48_",
        ("policies/rate_limit/__init__.py", "self._clock = context.clock", "self._clock = context.wall"),
    ),
    49: (
        "row_49_",
        ("policies/rate_limit/__init__.py", "max_clients=options.max_clients", "max_clients=10**9"),
    ),
    50: (
        "row_50_",
        ("proxy/edge.py", "if self._networks and trusted(exchange.peer, self._networks):", "if True:"),
    ),
    51: (
        "row_51_the_fields",
        (
            "policies/rate_limit/__init__.py",
            'b"x-ratelimit-remaining", b"%d" % verdict.remaining',
            'b"x-ratelimit-remaining", b"%d" % (verdict.remaining + 1)',
        ),
    ),
    52: ("row_52_half", ("policies/breaker/states.py", "self._in_flight += 1\n", "pass\n")),
    53: (
        "row_53_below",
        ("policies/breaker/failure_rate.py", "if calls < self.minimum_calls:", "if calls < 2:"),
    ),
    54: ("row_54_4xx", ("policies/breaker/__init__.py", "response.status >= 500", "response.status >= 400")),
    55: (
        "row_55_",
        (
            "policies/breaker/states.py",
            "if permission.generation != self._permission.generation:",
            "if False:",
        ),
    ),
    56: ("row_56_retry", ("policies/breaker/__init__.py", "core.retry_after(now))", "0.0)")),
    57: ("row_57_the_service", ("proxy/websocket.py", "subprotocols=offered", "subprotocols=[]")),
    58: (
        "row_58_extensions",
        ("proxy/headers.py", '_WEBSOCKET = b"sec-websocket-"', '_WEBSOCKET = b"sec-websocket-k"'),
        ("proxy/websocket.py", 'or name.startswith(b"sec-websocket-")', 'or name == b"sec-websocket-key"'),
    ),
    59: (
        "row_59_close",
        (
            "proxy/websocket.py",
            "await tunnel.aclose(1001 if code == ABNORMAL else code, reason)",
            "await tunnel.aclose()",
        ),
    ),
    60: (
        "row_60_fragments",
        ("proxy/endpoint.py", "self._fragments += data", "self._fragments = bytearray(data)"),
    ),
    61: ("row_61_", ("proxy/endpoint.py", "if self._frames.writes:", "if False:")),
    62: (
        "row_62_a_refused",
        ("proxy/websocket.py", "return Response(answer.status, answer", "return Response(403, answer"),
    ),
    63: ("row_63_a_slow", ("proxy/endpoint.py", "if self._queued > self.high_water:", "if False:")),
    64: (
        "row_64_a_websocket",
        ("proxy/session.py", "self._endpoint.begin_close(1012,", "self._endpoint.begin_close(1000,"),
    ),
}
