"""Rights for paths: whatever a request needs has to be granted, and what nobody has listed is refused."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.stronghold import protocol
from examples.stronghold.permissions import Grant, Right, allows
from examples.stronghold.protocol import NEEDS, Question


def test_every_kind_of_request_says_what_it_needs() -> None:
    assert set(NEEDS) == set(get_args(Question))
    whole = [Grant(right) for right in get_args(Right)]
    assert not allows(whole, NEEDS, object())
    assert not allows(whole, NEEDS, None)
    assert allows(whole, NEEDS, protocol.Sign("a", "b"))


@pytest.mark.parametrize(
    ("grants", "asked", "expected"),
    [
        ("use:wallet", protocol.Sign("wallet/main", ""), True),
        ("use:wallet", protocol.Sign("wallet", ""), True),
        ("use:wallet", protocol.Sign("wallets/main", ""), False),
        ("use:wallet/main", protocol.Sign("wallet", ""), False),
        ("write:wallet", protocol.Sign("wallet/main", ""), False),
        ("use:wallet", protocol.Derive("wallet/main", "wallet/child", ""), False),
        ("use:wallet write:wallet", protocol.Derive("wallet/main", "other/child", ""), False),
        ("use:wallet write:wallet", protocol.Derive("wallet/main", "wallet/child", ""), True),
        ("write:wallet", protocol.Generate("wallet/main"), True),
        ("list", protocol.Revoke("wallet/main"), False),
        ("list:wallet", protocol.Paths(""), False),
        ("list:wallet", protocol.Paths("wallet"), True),
        ("read:notes", protocol.Read("notes/a"), True),
        ("read:notes", protocol.Write("notes/a", "b"), False),
        ("store:notes", protocol.Write("notes/a", "b"), True),
        ("", protocol.PublicKey("a"), False),
    ],
)
def test_a_request_passes_if_all_that_it_needs_was_granted(grants: str, asked: object, expected: bool) -> None:
    assert allows([Grant.parse(text) for text in grants.split()], NEEDS, asked) is expected


@given(st.text(max_size=20))
def test_a_grant_is_one_of_the_rights(text: str) -> None:
    try:
        grant = Grant.parse(text)
    except ValueError:
        return
    assert grant.right in get_args(Right)
    assert grant.covers(grant)


Paths = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map("/".join)


@given(Paths, Paths)
def test_a_grant_covers_its_path_and_what_is_below(granted: str, needed: str) -> None:
    below = needed.split("/")[: len(granted.split("/"))] == granted.split("/") or not granted
    assert Grant("use", granted).covers(Grant("use", needed)) == below
    assert not Grant("use", granted).covers(Grant("write", needed))
