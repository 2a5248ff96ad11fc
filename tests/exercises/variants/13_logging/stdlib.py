# The standard library's logging, with a formatter that makes JSON and a handler that keeps the lines.
import asyncio
import json
import logging
import os


class AsJson(logging.Formatter):
    def format(self, record):
        level = {"INFO": "info", "ERROR": "error"}[record.levelname]
        return json.dumps({"level": level, "event": record.msg, **record.values})


class Keeping(logging.Handler):
    def __init__(self):
        super().__init__()
        self.setFormatter(AsJson())
        self.kept = []

    def emit(self, record):
        self.kept.append(self.format(record))


class RequestLog:
    def __init__(self, clock):
        self.clock = clock
        self.handler = Keeping()
        self.log = logging.Logger("requests")
        self.log.addHandler(self.handler)

    def lines(self):
        return self.handler.kept[:]

    def name(self, headers):
        ids = [value.decode("latin-1") for field, value in headers if field == b"x-request-id"]
        if len(ids) != 1:
            return os.urandom(16).hex()
        (one,) = ids
        good = one.isascii() and one.isprintable() and " " not in one and 1 <= len(one) <= 128
        return one if good else os.urandom(16).hex()

    async def __call__(self, exchange, call_next):
        since = self.clock()
        exchange.request_id = self.name(exchange.headers)
        status = 500
        response = None
        try:
            response = await call_next(exchange)
            response.headers.insert(0, (b"x-request-id", exchange.request_id.encode("latin-1")))
        except asyncio.CancelledError:
            status = 0
            raise
        finally:
            if response is None:
                self.write(exchange, status, since)
        response.on_end(lambda error: self.write(exchange, response.status, since))
        return response

    def write(self, exchange, status, since):
        values = {
            "request_id": exchange.request_id,
            "client": exchange.identity or exchange.client,
            "method": exchange.method,
            "path": exchange.raw_path.decode("latin-1"),
            "service": exchange.service,
            "status": status,
            "duration_ms": round((self.clock() - since) * 1000, 3),
        }
        self.log.log(logging.ERROR if status >= 500 else logging.INFO, "request", extra={"values": values})
