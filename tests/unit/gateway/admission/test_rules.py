"""limits.yaml: what it may say, and the sentences about what it may not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from gateway.admission.rules import BadLimitsFile, LimitBook, Quota, load_limits
from penstock_contracts.credentials import Scope
from penstock_kit.auth.principal import Principal

ANN = Principal(tenant="acme", user="ann", level=Scope.USER, credential="key1")
BOB = Principal(tenant="other", user="bob", level=Scope.USER, credential="key2")
TASKS = ("chat", "embed")
HOUR = timedelta(hours=1)


def book(folder: Path, text: str) -> LimitBook:
    path = folder / "limits.yaml"
    path.write_text(text)
    return load_limits(path, tasks=TASKS)


def test_load_when_there_is_no_file_bounds_backlogs_alone() -> None:
    limits = load_limits(None, tasks=TASKS)

    assert limits.quotas(ANN, "chat") == ()
    assert limits.tenant_backlog("acme") == 20_000
    assert limits.backlog.total == 100_000


def test_quotas_name_whom_they_count(tmp_path: Path) -> None:
    limits = book(
        tmp_path,
        """
        limits:
          - {scope: user, task: chat, limit: 50, per: 1h}
          - {scope: tenant, limit: 900, per: 1h}
          - {scope: api_key, limit: 9, per: 1h, name: keys}
        """,
    )

    assert limits.quotas(ANN, "chat") == (
        Quota("user-chat", "ann", 50, HOUR),
        Quota("tenant", "", 900, HOUR),
        Quota("keys", "key1", 9, HOUR),
    )
    assert [quota.name for quota in limits.quotas(ANN, "embed")] == ["tenant", "keys"]


def test_quotas_when_a_tenant_has_its_own_use_them(tmp_path: Path) -> None:
    limits = book(
        tmp_path,
        """
        limits:
          - {scope: user, task: chat, limit: 50, per: 1h}
          - {scope: user, limit: 5, per: 1s}
        backlog: {tenant: 10}
        tenants:
          acme: {limits: {user-chat: 500, user: null}, backlog: 70}
        """,
    )

    assert [quota.limit for quota in limits.quotas(ANN, "chat")] == [500]
    assert [quota.limit for quota in limits.quotas(BOB, "chat")] == [50, 5]
    assert (limits.tenant_backlog("acme"), limits.tenant_backlog("other")) == (70, 10)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("limits: [{scope: user, limit: 0, per: 1h}]", "limits.0.limit: Input should be greater"),
        ("limits: [{scope: planet, limit: 1, per: 1h}]", "limits.0.scope: Input should be 'user'"),
        ("limits: [{scope: user, limit: 1, per: 8d}]", "a window from 1s to 7d"),
        ("limits: [{scope: user, limit: 1}]", "limits.0.per: Field required"),
        ("limits: [{scope: user, limit: 1, per: 1h, burst: 2}]", "limits.0.burst"),
        (
            "limits: [{scope: user, limit: 1, per: 1h}, {scope: user, limit: 2, per: 2h}]",
            "2 limits are called 'user'; give each a name of its own with `name:`",
        ),
        (
            "tenants: {acme: {limits: {chats: 5}}}",
            "tenants.acme.limits: no limit is called 'chats'; there are: none",
        ),
        ("limits: [{scope: user, task: cat, limit: 1, per: 1h}]", "no task is called 'cat'; known"),
        ("limits: {", "cannot use the limits file"),
    ],
)
def test_load_when_an_entry_makes_no_sense_says_which(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(BadLimitsFile) as refused:
        book(tmp_path, text)

    assert sentence in str(refused.value)
    assert "docs/limits.md" in str(refused.value)


def test_load_when_the_file_is_missing_names_it(tmp_path: Path) -> None:
    with pytest.raises(BadLimitsFile, match=r"nowhere\.yaml"):
        load_limits(tmp_path / "nowhere.yaml", tasks=TASKS)
