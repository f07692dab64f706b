from __future__ import annotations

from gateway.openai.asking import surface_value
from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.surface import Surface

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    echo=st.dictionaries(st.text(max_size=5), json, max_size=3),
    first_item=st.integers(0, 3),
    kept=st.booleans(),
    told=st.booleans(),
)
def test_surface_value_is_what_the_model_dumps(
    echo: dict[str, object], first_item: int, kept: bool, told: bool
) -> None:
    surface = Surface.model_validate(
        {"kind": "response", "echo": echo, "first_item": first_item, "kept": kept, "told": told}
    )

    assert surface_value(surface) == surface.model_dump(mode="json", exclude_defaults=True)
    assert set(Surface.model_fields) == {"kind", "echo", "first_item", "kept", "told"}
