from __future__ import annotations

import pytest
from penstock.dev.keeper import describe_end, restart_pause_s


@pytest.mark.parametrize(
    ("deaths", "pause_s"), [(1, 0), (2, 0.5), (3, 1), (4, 2), (5, 4), (6, 8), (7, 10), (50, 10)]
)
def test_restart_pause_after_deaths_in_a_row_grows_to_ten_seconds(
    deaths: int, pause_s: float
) -> None:
    assert restart_pause_s(deaths) == pause_s


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (0, "ended with status 0"),
        (1, "ended with status 1"),
        (-9, "killed by SIGKILL"),
        (-64, "killed by SIGRTMAX"),
        (-200, "killed by signal 200"),
    ],
)
def test_end_of_a_process_is_told_in_words(returncode: int, words: str) -> None:
    assert describe_end(returncode) == words
