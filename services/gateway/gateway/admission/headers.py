"""How quotas stand, in the header fields that clients read.

Source: draft-ietf-httpapi-ratelimit-headers-10 (`RateLimit-Policy`, `RateLimit`); the
`x-ratelimit-*` fields are those of OpenAI and tell of the quota that is nearest to its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.admission.rules import Quota
from gateway.admission.store import WindowState

__all__ = ["quota_headers"]


def quota_headers(quotas: Sequence[Quota], windows: Sequence[WindowState]) -> dict[str, str]:
    """Nothing where no quota applies. `t` is in seconds, until one more place is free."""
    if not quotas:
        return {}
    policies, states = [], []
    for quota, window in zip(quotas, windows, strict=True):
        seconds = math.ceil(quota.window.total_seconds())
        policies.append(f'"{quota.name}";q={quota.limit};w={seconds}')
        states.append(f'"{quota.name}";r={window.remaining};t={math.ceil(window.reset_s)}')
    nearest = min(range(len(quotas)), key=lambda at: (windows[at].remaining, -windows[at].reset_s))
    return {
        "ratelimit-policy": ", ".join(policies),
        "ratelimit": ", ".join(states),
        "x-ratelimit-limit-requests": str(quotas[nearest].limit),
        "x-ratelimit-remaining-requests": str(windows[nearest].remaining),
        "x-ratelimit-reset-requests": f"{math.ceil(windows[nearest].reset_s)}s",
    }
