"""With a client, from which all habits of a browser are taken."""

import httpx

from lab.model import Response

DROP = "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
DROP += "transfer-encoding upgrade"


class Nothing(httpx.Cookies):
    def extract_cookies(self, response):
        pass


def kept(pairs):
    pairs = [(name.lower(), value) for name, value in pairs]
    drop = set(DROP.encode().split())
    for name, value in pairs:
        if name == b"connection":
            drop.update(token.strip().lower() for token in value.split(b","))
    return [pair for pair in pairs if pair[0] not in drop]


class Forward:
    def __init__(self, url):
        self.url = url
        self.client = httpx.AsyncClient(timeout=5, trust_env=False)
        self.client._cookies = Nothing()

    async def aclose(self):
        await self.client.aclose()

    async def __call__(self, exchange):
        async def chunks():
            async for chunk in exchange.body:
                yield chunk

        target = exchange.rest + (b"?" + exchange.query if exchange.query else b"")
        request = self.client.build_request(
            exchange.method,
            self.url,
            content=None if exchange.body.empty else chunks(),
            extensions={"target": target},
        )
        own = httpx.URL(self.url).netloc
        headers = [(b"host", own)] + [pair for pair in kept(exchange.headers) if pair[0] != b"host"]
        if "transfer-encoding" in request.headers and exchange.header(b"content-length") is None:
            headers.append((b"transfer-encoding", b"chunked"))
        request.headers = httpx.Headers(headers)
        try:
            response = await self.client.send(request, stream=True)
        except httpx.RequestError:
            return Response(502, [(b"content-length", b"0")], failure="connection_terminated")

        async def stream():
            try:
                async for chunk in response.aiter_raw():
                    yield chunk
            finally:
                await response.aclose()

        return Response(response.status_code, kept(response.headers.raw), stream=stream())
