"""Exercise 16, capstone: a whole gateway. README.md has the task.

Build a gateway (FastAPI, Starlette, your own …). It is started as a program, and checked from outside only.

It finds its way by environment variables:

    SERVICE_A_URL   http://127.0.0.1:8001   where /service-a/… goes
    SERVICE_B_URL   http://127.0.0.1:8002   where /service-b/… goes, its WebSocket too
    PORT            8000                    where you listen

and for the bonus "configuration" (the other checks rely on what stands here):

    RATE_LIMIT        10    requests …
    RATE_WINDOW       60    … in so many seconds, maybe with a fraction
    CACHE_TTL         30    seconds for which an answer is kept, maybe with a fraction
    API_KEYS                such as alpha,beta: who asks must show one of them in X-API-Key; empty: nobody must
    BREAKER_FAILURES  5     failures in a row, until a service is left alone …
    BREAKER_OPEN_FOR  10    … for so many seconds, maybe with a fraction
"""

from __future__ import annotations

import os

SERVICE_A_URL = os.environ.get("SERVICE_A_URL", "http://127.0.0.1:8001")
SERVICE_B_URL = os.environ.get("SERVICE_B_URL", "http://127.0.0.1:8002")

# TODO: app = …


if __name__ == "__main__":
    import uvicorn

    # With "reload" or several workers uvicorn wants a name instead: "exercise:app".
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))  # noqa: F821
