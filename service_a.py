"""Service A: the HTTP service behind the gateway. Run it alone with `uvicorn service_a:app --port 8001`.

Items and users are invented by Faker from a fixed seed, so item 1 is the same item on every machine. The
other paths misbehave on request (`/slow`, `/status/503`) or show what the gateway did (`/headers`, `/stats`).
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lab.faults.target import faulty

if TYPE_CHECKING:
    from faker import Faker

SEED = "gateway-lab"
INVENTED = 1_000_000_000
"""Items with an id between minus and plus this exist from the start; those that clients post come after."""
MAX_STORED = 1000
"""Posted items that are kept; the oldest makes room for the newest."""
MAX_ITEM = 16_384
"""Bytes of a posted item, as JSON."""
MAX_PATHS = 1000
"""Paths that `/stats` counts one by one; requests for further ones are only in the total."""
BLOCK = 65_536
"""Bytes that a download sends at a time."""


# -- data ----------------------------------------------------------------------------------------------------


class NewItem(BaseModel):
    """What a client posts. Further fields are kept as they are."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    price: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    description: Annotated[str, Field(max_length=2000)] = ""

    @model_validator(mode="after")
    def _small(self) -> NewItem:
        if len(self.model_dump_json()) > MAX_ITEM:
            raise ValueError(f"an item of at most {MAX_ITEM} bytes was expected")
        return self


class Item(NewItem):
    id: int


class User(BaseModel):
    id: int
    name: str
    email: str
    city: str


class Upload(BaseModel):
    bytes: int
    sha256: str


class Stats(BaseModel):
    total: int
    paths: dict[str, int]


@cache
def faker() -> Faker:
    """The generator; importing it takes longer than the rest of the start, hence not at the top."""
    from faker import Faker

    return Faker("en_US")


def invent_item(item_id: int) -> Item:
    # Seeding for each item, not once, makes the item independent of what was asked for before it.
    fake = faker()
    fake.seed_instance(f"{SEED}/items/{item_id}")
    return Item(
        id=item_id,
        name=fake.catch_phrase(),
        price=fake.random_int(100, 50_000) / 100,
        description=fake.sentence(),
    )


def invent_user(user_id: int) -> User:
    fake = faker()
    fake.seed_instance(f"{SEED}/users/{user_id}")
    first, last = fake.first_name(), fake.last_name()
    return User(
        id=user_id,
        name=f"{first} {last}",
        email=f"{first}.{last}@example.org".lower(),
        city=fake.city(),
    )


stored: dict[int, Item] = {}
requests: Counter[str] = Counter()
total = 0


async def count(request: Request) -> None:
    """Runs before each counted path: how a test sees whether the gateway asked at all."""
    global total
    total += 1
    path = request.url.path
    if path in requests or len(requests) < MAX_PATHS:
        requests[path] += 1


# -- the shop ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Loads Faker beside the first health checks; a request that needs it earlier loads it itself.
    threading.Thread(target=faker, daemon=True).start()
    yield


api = FastAPI(title="Service A", lifespan=lifespan)
counted = APIRouter(dependencies=[Depends(count)])


@api.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@api.get("/stats")
async def stats(response: Response) -> Stats:
    """How many requests came in since the start, `/health` and this path itself not counted."""
    response.headers["Cache-Control"] = "no-store"
    return Stats(total=total, paths=dict(requests))


@counted.head("/items/{item_id}", include_in_schema=False)
@counted.get("/items/{item_id}")
async def get_item(item_id: int) -> Item:
    if item_id in stored:
        return stored[item_id]
    if abs(item_id) > INVENTED:
        raise HTTPException(404, f"there is no item {item_id}")
    return invent_item(item_id)


@counted.post("/items", status_code=201)
async def create_item(new: NewItem, response: Response) -> Item:
    item_id = max(stored, default=INVENTED) + 1
    item = Item(**{**new.model_dump(), "id": item_id})
    stored[item_id] = item
    if len(stored) > MAX_STORED:
        del stored[next(iter(stored))]
    response.headers["Location"] = f"/items/{item_id}"
    return item


@counted.get("/users")
async def list_users(limit: Annotated[int, Query(ge=1, le=100)] = 10) -> list[User]:
    return [invent_user(user_id) for user_id in range(1, limit + 1)]


# -- behaviour on request ------------------------------------------------------------------------------------


@counted.get("/slow")
async def slow(seconds: Annotated[float, Query(ge=0, le=60)] = 1.0) -> dict[str, float]:
    """Answers after so many seconds."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


@counted.delete("/status/{code}", include_in_schema=False)
@counted.put("/status/{code}", include_in_schema=False)
@counted.post("/status/{code}", include_in_schema=False)
@counted.get("/status/{code}")
async def status(code: Annotated[int, Path(ge=200, le=599)]) -> Response:
    """Answers with this status."""
    if code in (204, 304):
        return Response(status_code=code)
    return Response(f"status {code}\n", code, media_type="text/plain")


@counted.get("/headers")
async def headers(request: Request, response: Response) -> list[tuple[str, str]]:
    """The request's header fields as they arrived: what the gateway added, changed and took away."""
    response.headers["Cache-Control"] = "no-store"
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]


@counted.head("/cached", include_in_schema=False)
@counted.get("/cached")
async def cached(
    request: Request,
    control: Annotated[str, Query(pattern=r"^[\x21-\x7e ]*$")] = "max-age=60",
    vary: Annotated[str, Query(pattern=r"^[\x21-\x7e ]*$")] = "",
) -> Response:
    """An answer with this Cache-Control (and Vary) and an ETag; it knows If-None-Match."""
    fields = {"Cache-Control": control, "ETag": '"1"'}
    if vary:
        fields["Vary"] = vary
    if '"1"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=fields)
    return Response(f"request {total} to this service\n", headers=fields, media_type="text/plain")


# -- streams -------------------------------------------------------------------------------------------------


@counted.get("/stream")
async def stream(
    chunks: Annotated[int, Query(ge=1, le=1000)] = 5,
    pause: Annotated[float, Query(ge=0, le=10)] = 0.5,
) -> StreamingResponse:
    """So many lines with so many seconds between them."""

    async def lines() -> AsyncIterator[bytes]:
        for n in range(1, chunks + 1):
            if n > 1:
                await asyncio.sleep(pause)
            yield f"chunk {n} of {chunks}\n".encode()

    return StreamingResponse(lines(), media_type="text/plain")


@counted.head("/bytes/{n}", include_in_schema=False)
@counted.get("/bytes/{n}")
async def download(n: Annotated[int, Path(ge=0, le=2**40)]) -> StreamingResponse:
    """So many bytes, one block of them in memory at a time."""

    async def blocks() -> AsyncIterator[bytes]:
        block = bytes(range(256)) * (BLOCK // 256)
        for _ in range(n // BLOCK):
            yield block
        if n % BLOCK:
            yield block[: n % BLOCK]

    return StreamingResponse(
        blocks(), media_type="application/octet-stream", headers={"Content-Length": str(n)}
    )


@counted.post("/upload")
async def upload(request: Request) -> Upload:
    """Counts and hashes the request's body as it arrives, keeping none of it."""
    size, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        size += len(chunk)
        digest.update(chunk)
    return Upload(bytes=size, sha256=digest.hexdigest())


api.include_router(counted)
app = faulty(api)  # what the server runs; faults can be set on it: docs/faults.md


def reset() -> None:
    """Forget posted items and counts, as a restart does."""
    global total
    stored.clear()
    requests.clear()
    total = 0
