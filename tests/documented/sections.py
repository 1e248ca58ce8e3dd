"""Which sections of a document have a test that is named after them."""

from collections.abc import Iterable


def without_a_test(document: str, sections: Iterable[str], names: Iterable[str]) -> list[str]:
    """The sections for which there is no `test_<document>_<section>...` among `names`."""
    tests = [name for name in names if name.startswith("test_")]
    return [
        section
        for section in sections
        if not any(f"{name}_".startswith(f"test_{document}_{section}_") for name in tests)
    ]
