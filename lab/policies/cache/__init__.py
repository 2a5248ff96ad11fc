"""The cache: an answer that is known need not be asked for again.

`ttl` is the textbook table, `http` a shared cache by RFC 9111. Both stand in one stage, `Cache`.
"""

from lab.policies.cache.core import CacheCore, Decision, Store, Verdict
from lab.policies.cache.entry import Entry
from lab.policies.cache.http import HttpCache
from lab.policies.cache.stage import ALGORITHMS, Cache
from lab.policies.cache.ttl import TtlCache

__all__ = [
    "ALGORITHMS",
    "Cache",
    "CacheCore",
    "Decision",
    "Entry",
    "HttpCache",
    "Store",
    "TtlCache",
    "Verdict",
]
