"""Who is calling."""

from __future__ import annotations

from penstock_kit.auth.bearer import bearer_token
from penstock_kit.auth.principal import Authenticator, AuthError, Principal
from starlette.requests import HTTPConnection

from gateway.errors import ApiError
from gateway.http import named_headers

__all__ = ["authenticated"]


def authenticated(authenticator: Authenticator, request: HTTPConnection) -> Principal:
    """Whose credentials the request carries.

    Raises:
        ApiError: a 401 of the registry.
    """
    try:
        return authenticator.authenticate(
            bearer_token(named_headers(request.scope).get("authorization"))
        )
    except AuthError as error:
        challenge = 'Bearer realm="penstock"'
        if error.code != "missing_credentials":
            challenge += f', error="invalid_token", error_description="{error.code}"'
        raise ApiError(error.code, str(error), headers={"www-authenticate": challenge}) from None
