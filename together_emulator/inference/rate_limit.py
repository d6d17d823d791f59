"""A limit on requests per second, and its headers.

Dedicated endpoints have no hard limit, so there is none by default.

Source: Together API, rate limits.
"""

from together_emulator.http.errors import ApiError
from together_emulator.state.store import Store


class RateLimit:
    """A token bucket for one second of requests, in emulated time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._left = store.settings.requests_per_s
        self._at_s = 0.0

    def take(self) -> dict[str, str]:
        """Admit a request; return the headers of its response (429 beyond the limit)."""
        rate = self._store.settings.requests_per_s
        if rate <= 0:
            return {}
        now_s = self._store.now_s
        self._left = min(max(rate, 1.0), self._left + (now_s - self._at_s) * rate)
        self._at_s = now_s
        headers = {"x-ratelimit-limit": f"{rate:g}"}
        if self._left < 1:
            wait_s = (1 - self._left) / rate
            raise ApiError(
                429,
                f"more than {rate:g} requests per second",
                code="dynamic_request_limited",
                kind="rate_limit",
                headers=headers
                | {"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{wait_s:.3f}"},
            )
        self._left -= 1
        return headers | {"x-ratelimit-remaining": str(int(self._left))}
