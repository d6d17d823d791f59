"""Choose the replica of a request, and emulate its prompt cache.

Routing is sticky: by `prompt_cache_key`, else by `user`, else by a hash of the content.

Source: Together API, dedicated model inference. The handling of a full or busy replica is not
documented. Here requests with a key use their replica until it has no free slot; those without a
key use another as soon as it is busier than the others.
"""

import math
import zlib
from dataclasses import dataclass

from together_emulator.state.store import Deployment, Replica, Step

_BLOCK_CHARS = 256
_BLOCK_TOKENS = 64
_CACHED_BLOCKS = 8192
_BALANCE = 1.25
"""Without a key, a replica with more than this multiple of the average load is skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """The key by which requests are routed to the same replica.

    Attributes:
        named: Whether the client set it (`prompt_cache_key` or `user`).
    """

    key: bytes
    named: bool


def pick_replica(deployment: Deployment, slots: int, sticky: Sticky | None) -> Replica | None:
    """Return a serving replica with a free slot, or None.

    Args:
        slots: Concurrent requests per replica; 0 for no limit.
        sticky: Requests with equal keys use the same replica while it has a slot; None takes the
            least loaded one.
    """
    steps = (Step.READY,) if deployment.ready else (Step.DRAINING,)
    serving = [r for r in deployment.replicas if r.step in steps and r.bills]
    free = [r for r in serving if slots == 0 or r.in_flight < slots]
    if not free:
        return None
    if sticky is not None and len(serving) > 1:
        # Rendezvous hashing: few keys move when replicas are added or removed.
        home = max(serving, key=lambda replica: _weight(sticky.key, replica))
        load = sum(replica.in_flight for replica in serving)
        bound = math.ceil(_BALANCE * (load + 1) / len(serving))
        if home in free and (sticky.named or home.in_flight < bound):
            return home
    return min(free, key=lambda replica: replica.in_flight)


def _weight(key: bytes, replica: Replica) -> int:
    # The low bits of a CRC are linear in its input: without the multiplication, similar keys would
    # prefer the same replica.
    digest = zlib.crc32(replica.id.encode(), zlib.crc32(key))
    return digest * 0x9E3779B1 & 0xFFFFFFFF


def cached_tokens(replica: Replica, prompt: str) -> int:
    """Return the length of a prompt's cached prefix on a replica, in tokens; cache the prompt.

    Source: automatic prefix caching of vLLM: whole blocks from the beginning, evicted least
    recently used first.
    """
    seen, known, digest = replica.prefixes, 0, 0
    unbroken = True
    for start in range(0, len(prompt) - _BLOCK_CHARS + 1, _BLOCK_CHARS):
        digest = zlib.crc32(prompt[start : start + _BLOCK_CHARS].encode(), digest)
        if digest in seen:
            seen.move_to_end(digest)
            known += unbroken
        else:
            unbroken = False
            seen[digest] = None
    while len(seen) > _CACHED_BLOCKS:
        seen.popitem(last=False)
    return known * _BLOCK_TOKENS
