"""What has been sent of an answer, and what of a later attempt is new."""

from __future__ import annotations

from collections.abc import Hashable

from gateway.errors import ApiError

__all__ = ["SentText", "stream_reset"]


class SentText:
    """Texts by key. A second attempt begins anew: while it says the same, nothing is new."""

    def __init__(self) -> None:
        self._sent: dict[Hashable, list[str]] = {}
        self._repeats: dict[Hashable, str] = {}

    def knows(self, key: Hashable) -> bool:
        """Whether anything was sent under the key, be it empty."""
        return key in self._sent

    @property
    def is_first_telling(self) -> bool:
        """Whether nothing that was sent is told again; an empty piece is news only then."""
        return not self._repeats

    def begin_anew(self) -> None:
        """From here on the answer is told from its begin."""
        self._repeats = {key: "".join(texts) for key, texts in self._sent.items()}

    def fresh(self, key: Hashable, text: str) -> str:
        """What of a piece has not been sent; the same object where that is all of it.

        Raises:
            ApiError: stream_reset, the piece is not what was sent.
        """
        sent = self._sent.get(key)
        if sent is None:
            sent = self._sent[key] = []
        elif self._repeats:
            known = self._repeats.get(key, "")
            if known.startswith(text):
                self._repeats[key] = known[len(text) :]
                if known:
                    return ""
            elif text.startswith(known):
                self._repeats[key] = ""
                text = text[len(known) :]
            else:
                raise stream_reset()
        sent.append(text)
        return text

    def check_all_told(self) -> None:
        """After a whole answer: all that was sent is part of it.

        Raises:
            ApiError: stream_reset.
        """
        if any(self._repeats.values()):
            raise stream_reset()


def stream_reset() -> ApiError:
    """The error that ends a stream whose job now answers otherwise."""
    message = (
        "the job was tried again and now answers otherwise than what was sent already; send the "
        "request again with its Idempotency-Key (use one to be able to) to get the whole answer"
    )
    return ApiError("stream_reset", message)
