"""Entity tags, directives, and what may be kept, from header fields alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascada.integrations.conditional import (
    directives,
    not_modified,
    validator,
    why_not_kept,
)


def of_a_tag(text: bytes) -> bytes:
    return bytes(each for each in text if each > 34 and each != 127)


TAG_CHARACTERS = st.binary(max_size=12).map(of_a_tag)


@settings(max_examples=40)
@given(st.lists(st.tuples(TAG_CHARACTERS, st.booleans())), TAG_CHARACTERS, st.booleans())
def test_a_tag_is_found_in_any_list_by_what_stands_in_its_quotes(
    others: list[tuple[bytes, bool]], opaque: bytes, weak: bool
) -> None:
    tag = (b'W/"%s"' if weak else b'"%s"') % opaque
    said = b", ".join((b'W/"%s"' if each else b'"%s"') % text for text, each in others)
    assert not_modified([said], tag) == (opaque in {text for text, _ in others})
    assert not_modified([said, b'"%s"' % opaque], tag)


def test_a_tag_says_what_a_response_holds() -> None:
    plain = [(b"content-type", b"text/plain")]
    tags = [
        validator(b"a", plain), validator(b"b", plain), validator(b"a", []),
        validator(b"a", [*plain, (b"content-language", b"en")]),
    ]  # fmt: skip
    assert len(set(tags)) == 4
    assert validator(b"a", [*plain, (b"x-request-id", b"1")]) == tags[0]
    assert validator(b"a", [(b"etag", b'"own"')]) == b'"own"'
    for wrong in (b"own", b'"o"wn"', b'"a\r\nb"', b'w/"a"'):
        assert validator(b"a", [(b"etag", wrong)]) == tags[2]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (b"no-store", {b"no-store"}),
        (b'private="x, no-store", max-age = 5', {b"private", b"max-age"}),
        (b"No-Cache,,no-store;", {b"no-cache", b"no-store"}),
        (b"ext=no-store", {b"ext"}),
        (b"", set()),
    ],
)
def test_directives(said: bytes, names: set[bytes]) -> None:
    assert directives([said]) == names


def test_a_vary_may_name_what_tells_requests_apart() -> None:
    fields = [(b"vary", b"Accept-Language, X-Tenant-ID"), (b"vary", b"")]
    assert why_not_kept(200, fields, {b"accept-language", b"x-tenant-id"}) is None
    assert "'accept-language'" in str(why_not_kept(200, fields, {b"x-tenant-id"}))
