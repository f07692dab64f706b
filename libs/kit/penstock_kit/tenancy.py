"""Isolation as a type: only a `TenantScope` can name what belongs to a tenant.

Redis keys, vector filters and subscriptions take a scope, never a tenant string, and a scope is
made only from a credential (`Principal.scope`), from a verified event (`VerifiedRequest.scope`) or
by the recorder, which folds all.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

__all__ = ["CONVERSATIONS_COMPLETE", "TenantScope"]

CONVERSATIONS_COMPLETE = "ps:conversations:complete"
"""Redis string: the view holds every conversation of the topic. A Redis that lost all lacks it."""

_CHUNK_NAMESPACE = UUID("6f1f8a52-3c0f-5c1d-9f55-7b8f0c8b2a11")
"""Namespace of vector point ids: a random UUID of this project."""


@dataclass(frozen=True, slots=True)
class TenantScope:
    """What one caller may see: all of a tenant, or (with `user`) one user's part of it."""

    tenant: str
    user: str | None = None

    def may_see(self, *, tenant: str, user: str | None) -> bool:
        """Whether something owned by that tenant and user lies inside this scope."""
        return tenant == self.tenant and (self.user is None or user == self.user)

    def job_key(self, job_id: str) -> str:
        """Redis hash of a job; `{...}` keeps a tenant's keys in one cluster slot."""
        return f"ps:{{{self.tenant}}}:job:{job_id}"

    def request_key(self, job_id: str) -> str:
        """Redis string of a job's kept request."""
        return f"{self.job_key(job_id)}:request"

    def events_key(self, job_id: str) -> str:
        """Redis stream of a job's recent events, ids `attempt-seq`."""
        return f"ps:{{{self.tenant}}}:events:{job_id}"

    def index_key(self, *, user: str | None = None) -> str:
        """Redis sorted set of job ids by creation time: of a user, or of the whole tenant."""
        owner = user if user is not None else self.user
        return (
            f"ps:{{{self.tenant}}}:jobs"
            if owner is None
            else f"ps:{{{self.tenant}}}:jobs:user:{owner}"
        )

    def counts_key(self) -> str:
        """Redis hash of job counts by status."""
        return f"ps:{{{self.tenant}}}:counts"

    def conversation_key(self, conversation: str) -> str:
        """Redis string and topic key of a conversation's last messages."""
        return f"ps:{{{self.tenant}}}:conversation:{conversation}"

    def idempotency_key(self, route: str, key: str) -> str:
        """Redis string of what an Idempotency-Key stands for."""
        return f"ps:{{{self.tenant}}}:idem:{route}:{key}"

    def admitted_key(self) -> str:
        """Redis sorted set of admitted jobs that the job table may not have yet, by instant."""
        return f"ps:{{{self.tenant}}}:admitted"

    def limit_key(self, rule: str, owner: str) -> str:
        """Redis log or counter of what a rule has let through for an owner inside the tenant."""
        return f"ps:{{{self.tenant}}}:limit:{rule}:{owner}"

    def shelf_key(self, kind: str, record_id: str) -> str:
        """Redis hash of a record that callers keep: a `file`, a `batch`."""
        return f"ps:{{{self.tenant}}}:{kind}:{record_id}"

    def shelf_index_key(self, kind: str, *, user: str | None = None) -> str:
        """Redis sorted set of such records by creation time: of a user, or of the whole tenant."""
        owner = "" if user is None else f":user:{user}"
        return f"ps:{{{self.tenant}}}:{kind}s{owner}"

    def batch_events_key(self, batch: str) -> str:
        """Redis stream of what happened to the lines of a batch."""
        return f"ps:{{{self.tenant}}}:batch-events:{batch}"

    def batch_lease_key(self, batch: str) -> str:
        """Redis string: which process runs the batch, with heartbeat."""
        return f"ps:{{{self.tenant}}}:batch-lease:{batch}"

    def batch_recall_key(self, batch: str) -> str:
        """Redis string: when the batch was called back."""
        return f"ps:{{{self.tenant}}}:batch-recall:{batch}"

    def point_id(self, *, collection: str, document: str, chunk: int) -> str:
        """UUIDv5 of a vector: tenants cannot overwrite each other's points."""
        return str(
            uuid5(_CHUNK_NAMESPACE, "\n".join((self.tenant, collection, document, str(chunk))))
        )
