"""The gateway, on one page.

A request comes in at the edge, passes these policies from top to bottom, is forwarded, and its answer comes
back up the same way. Each policy is `async (exchange, call_next) -> Response`: it may answer by itself, call
the next one, or call it again. Read a policy's file to see how it works; `docs/write-a-policy.md` shows how
to write one.
"""

import sys

from lab.control import Gateway
from lab.policies.access_log import AccessLog
from lab.policies.auth import Authentication
from lab.policies.breaker import CircuitBreaker
from lab.policies.bulkhead import Bulkhead
from lab.policies.cache import Cache
from lab.policies.rate_limit import RateLimit
from lab.policies.request_id import RequestId
from lab.policies.retry import Retry
from lab.settings import ConfigError, load

PIPELINE = [
    RequestId,  # every exchange gets a name …
    AccessLog,  # … one line in the log, and is counted
    Authentication,  # who is asking, and may they?   401, 403
    RateLimit,  # are they asking too often?    429
    Cache,  # do we know the answer?
    Bulkhead,  # is too much under way?        503
    CircuitBreaker,  # is the service failing?       503
    Retry,  # once more, if it is safe
]  # … and at last the request is forwarded to the service: 502, 504

try:
    app = Gateway(load(), PIPELINE)
except ConfigError as error:
    print(f"gateway: {error}", file=sys.stderr)
    sys.exit(2)
