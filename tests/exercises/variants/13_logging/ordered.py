# One try around everything, ids from `secrets`, sanity without a regular expression, a tuple per line.
import json
import secrets
from asyncio import CancelledError


class RequestLog:
    def __init__(self, clock):
        self.now = clock
        self.entries = []

    def lines(self):
        return [json.dumps(dict(entry), ensure_ascii=False) for entry in self.entries]

    async def __call__(self, exchange, call_next):
        start = self.now()
        given = [v for k, v in exchange.headers if k == b"x-request-id"]
        sane = len(given) == 1 and 0 < len(given[0]) < 129 and all(32 < byte < 127 for byte in given[0])
        exchange.request_id = given[0].decode() if sane else secrets.token_urlsafe(20)

        def over(status):
            self.entries.append(
                (
                    ("duration_ms", 1e3 * (self.now() - start)),
                    ("status", status),
                    ("level", "error" if status >= 500 else "info"),
                    ("event", "request"),
                    ("request_id", exchange.request_id),
                    ("client", exchange.client if exchange.identity is None else exchange.identity),
                    ("method", exchange.method),
                    ("path", "".join(map(chr, exchange.raw_path))),
                    ("service", exchange.service),
                    ("bytes_out", exchange.bytes_out),
                )
            )

        try:
            response = await call_next(exchange)
        except BaseException as error:
            over(0 if isinstance(error, CancelledError) else 500)
            raise
        response.headers += [(b"x-request-id", exchange.request_id.encode())]
        response.on_end(lambda error: over(response.status))
        return response
