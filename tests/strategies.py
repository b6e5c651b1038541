"""What property tests are fed with: JSON as it may come over the wire, and prompts that are accepted."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

# JSON text can hold half surrogate pairs, NaN and numbers of any size; so can what is decoded from it.
any_text = st.text(st.characters())
valid_text = st.text()

any_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)

kept_json: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | valid_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(valid_text, inner, max_size=4),
    max_leaves=12,
)

prompt_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
agent_names = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=64)
contents = valid_text.filter(lambda text: bool(text.strip()))
metadata = st.dictionaries(valid_text, kept_json, max_size=4)

prompt_fields = st.fixed_dictionaries(
    {"content": contents},
    optional={
        "id": prompt_ids,
        "author": st.text(min_size=1, max_size=200),
        "agent": agent_names,
        "mode": st.just("queue"),
        "metadata": metadata,
    },
)

# Objects that look like a prompt or a start input, with anything in their fields.
field_names = st.sampled_from(["id", "content", "author", "agent", "mode", "metadata", "owner", "tenant", "state", "x"])
near_misses = st.dictionaries(field_names, any_json, max_size=6)
