"""Notes to the gateway's viewers: what a tool does to the system, with a beginning and an end.

A note whose action is `started` opens a band over the dashboard's charts, `stopped` closes it. They are
a courtesy: where the gateway is away or knows no token, the tool goes on without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from lab.launcher.runfile import Run

TIMEOUT = 1.0
"""Seconds after which a gateway that does not take a note is let be."""


class Notes:
    """Posts to one gateway's `/admin/notes` on behalf of `source`, such as `fault` or `load`."""

    def __init__(self, gateway_url: str, token: str, source: str) -> None:
        self._url = gateway_url.rstrip("/") + "/admin/notes"
        self._token = token
        self._source = source
        self._client: httpx.AsyncClient | None = None

    @classmethod
    def of(cls, run: Run, source: str) -> Notes:
        """Notes for the stack that the run file names."""
        return cls(run.gateway_url, run.admin_token, source)

    async def post(self, action: str, text: str = "", service: str = "", until: float | None = None) -> bool:
        """Post one note; `until` in Unix seconds. False where nobody took it."""
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT, verify=False, trust_env=False)
        note = {"action": action, "text": text, "source": self._source, "service": service, "until": until}
        try:
            answer = await self._client.post(
                self._url, json=note, headers={"Authorization": f"Bearer {self._token}"}
            )
        except httpx.HTTPError:
            return False
        return answer.is_success

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
