"""Look-ups that hang: who waits for them, and who does not."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
from notifier.webhooks.lookups import TENANT_LOOKUPS, Lookups

from tests.support.waiting import until


class Names:
    """Names beginning with `dead` hang until they are let go, and then do not resolve."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failed: list[str] = []
        self._released = threading.Event()

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if not host.startswith("dead"):
            return [f"of {host}"]
        self._released.wait(30)
        self.failed.append(host)
        raise OSError("nobody answers")

    def let_go(self) -> None:
        self._released.set()


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def lookups(names: Names) -> AsyncIterator[Lookups]:
    made = Lookups(names)
    yield made
    names.let_go()
    made.close()


def ask(lookups: Lookups, host: str, tenant: str) -> asyncio.Task[Sequence[str]]:
    return asyncio.create_task(lookups.addresses(host, tenant=tenant))


async def leave(*tasks: asyncio.Task[Sequence[str]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_tenant_with_dead_names_has_its_share_of_threads_and_no_more(
    lookups: Lookups, names: Names
) -> None:
    dead = [ask(lookups, f"dead{number}", "evil") for number in range(100)]
    await until(lambda: len(names.asked) == TENANT_LOOKUPS)

    assert await lookups.addresses("good", tenant="acme") == ["of good"]

    assert sorted(names.asked) == sorted(["good", *(f"dead{n}" for n in range(TENANT_LOOKUPS))])
    names.let_go()
    told = await asyncio.gather(*dead, return_exceptions=True)
    assert all(isinstance(one, OSError) for one in told)


async def test_look_up_that_nobody_waits_for_any_more_still_counts(
    lookups: Lookups, names: Names
) -> None:
    dead = [ask(lookups, f"dead{number}", "evil") for number in range(TENANT_LOOKUPS)]
    await until(lambda: len(names.asked) == TENANT_LOOKUPS)
    await leave(*dead)

    more = ask(lookups, "good", "evil")
    await lookups.addresses("other", tenant="acme")
    assert "good" not in names.asked

    names.let_go()
    assert await more == ["of good"]


async def test_failure_that_nobody_waits_for_any_more_is_no_complaint(
    lookups: Lookups, names: Names
) -> None:
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    asked = ask(lookups, "dead", "acme")
    await until(lambda: bool(names.asked))
    await leave(asked)
    del asked

    names.let_go()
    await until(lambda: names.failed == ["dead"])
    await lookups.addresses("good", tenant="acme")  # behind it on the loop
    gc.collect()

    assert complaints == []


async def test_name_is_looked_up_once_for_all_who_ask_meanwhile(
    lookups: Lookups, names: Names
) -> None:
    asked = [ask(lookups, "dead", tenant) for tenant in ("acme", "acme", "rival")]
    await until(lambda: bool(names.asked))
    await leave(asked[0])

    names.let_go()
    told = await asyncio.gather(*asked[1:], return_exceptions=True)

    assert all(isinstance(one, OSError) for one in told)
    assert names.asked == ["dead"]


async def test_nothing_is_remembered_beyond_its_end(lookups: Lookups, names: Names) -> None:
    for _ in range(2 * TENANT_LOOKUPS):
        await lookups.addresses("good", tenant="acme")

    assert names.asked == ["good"] * 2 * TENANT_LOOKUPS
