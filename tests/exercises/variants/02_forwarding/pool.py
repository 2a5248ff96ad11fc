"""With httpcore, the layer below httpx: a pool that is asked for a connection each time."""

import httpcore

from lab.model import Response, problem

LOCAL = {
    b"host",
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
}
LOCAL |= {b"te", b"trailer", b"transfer-encoding", b"upgrade"}


class Forward:
    def __init__(self, url):
        self.pool = httpcore.AsyncConnectionPool()
        self.origin = httpcore.URL(url)

    async def aclose(self):
        await self.pool.aclose()

    def strip(self, headers):
        local = set(LOCAL)
        for name, value in headers:
            if name.lower() == b"connection":
                local |= {part.strip().lower() for part in value.split(b",")}
        return [(name.lower(), value) for name, value in headers if name.lower() not in local]

    async def __call__(self, exchange):
        target = exchange.rest
        if exchange.query:
            target += b"?" + exchange.query
        url = httpcore.URL(scheme=b"http", host=self.origin.host, port=self.origin.port, target=target)
        headers = [(b"Host", b"%s:%d" % (self.origin.host, self.origin.port)), *self.strip(exchange.headers)]
        request = httpcore.Request(exchange.method, url, headers=headers, content=exchange.body)
        try:
            response = await self.pool.handle_async_request(request)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            return problem(502, "bad-gateway", "the service does not answer", failure="connection_refused")
        return Response(response.status, self.strip(response.headers), stream=response.aiter_stream())
