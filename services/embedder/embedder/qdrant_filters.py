"""Filters in Qdrant's words. Imported only once a store has started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock_contracts.requests import FilterValue
from penstock_kit.tenancy import TenantScope
from qdrant_client import models

__all__ = ["conditions", "equals", "tenant_filter"]

_EXACT_DOUBLE = 2**53
"""Integers up to here are exact as doubles, in which Qdrant compares ranges."""


def tenant_filter(
    scope: TenantScope,
    *,
    all_of: Sequence[models.Condition] = (),
    any_of: Sequence[models.Condition] = (),
) -> models.Filter:
    """The one way to a filter: inside the scope's tenant, whatever else is asked."""
    return models.Filter(
        must=[equals("tenant", scope.tenant), *all_of], should=list(any_of) or None
    )


def conditions(filters: Mapping[str, FilterValue]) -> list[models.Condition]:
    """What metadata must satisfy; names are quoted, so that dots and brackets are letters."""
    return [_condition(f'metadata."{name}"', value) for name, value in filters.items()]


def equals(key: str, value: str) -> models.FieldCondition:
    """The payload field has this text."""
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _condition(key: str, value: FilterValue) -> models.Condition:
    if isinstance(value, dict):
        return models.FieldCondition(key=key, range=models.Range(**value))
    if isinstance(value, list):
        return models.Filter(should=[_condition(key, one) for one in value])
    if isinstance(value, bool | str):
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    if isinstance(value, int) and abs(value) > _EXACT_DOUBLE:
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    # As a range, 3 also finds 3.0: in JSON the two are one number.
    return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
