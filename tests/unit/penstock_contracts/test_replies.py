from __future__ import annotations

import pytest
from penstock_contracts.replies import BadReplyTo, ReplyAddress, reply_topic


def test_reply_topic_is_the_tenants() -> None:
    assert reply_topic("billing", "acme.eu") == "ai.replies.billing.acme.eu"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "ai.control.v1",
        "ai.jobs.events.v1",
        "ai.replies.billing",
        "ai.replies.billing.beta",
        "ai.replies.acme",
        "ai.replies..acme",
        "ai.replies.a.b.acme",
        "ai.replies.Billing.acme",
        "ai.replies.billing.acme.",
        "ai.replies." + "b" * 65 + ".acme",
        "x.ai.replies.billing.acme",
    ],
)
def test_topic_that_is_not_the_tenants_is_refused(topic: str) -> None:
    with pytest.raises(BadReplyTo, match="reply-to must be") as refused:
        ReplyAddress(topic).check("acme")

    assert refused.value.field == "reply-to"


@pytest.mark.parametrize("tenant", ["a@b", "a/b", "a:b", "t" * 249])
def test_tenant_that_no_topic_can_name_has_no_replies(tenant: str) -> None:
    with pytest.raises(BadReplyTo):
        reply_topic("billing", tenant)


def test_correlation_id_has_a_bound() -> None:
    with pytest.raises(BadReplyTo, match="longer than 1024"):
        ReplyAddress("ai.replies.billing.acme", "x" * 1025).check("acme")
