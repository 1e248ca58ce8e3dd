"""What a provider of embeddings returned, checked before anybody gets or stores it.

A provider is somebody else's code behind a network. It may answer with an error document, with one
vector too few, or with nan for an empty text; and what is stored is served for a day. So there is
one vector for each text. Each is a list of finite numbers, and all are of one length.

`api/embeddings.py` calls it. A vector that is wrong by itself comes back as an error in its place,
so that the others can still be stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from cascada.codecs.arrays import is_array, is_storable
from cascada.codecs.public import lists_of
from cascada.engine.loading.loaders import call
from cascada.model.door import arguments
from cascada.model.door.plain import number_of
from cascada.model.door.shown import described
from cascada.model.errors import BadInput

DATA_TYPE: Final = "embedding"


async def vectors_of(provider: Callable[..., Any], texts: list[str]) -> list[Any]:
    """What the provider returned for the texts: vectors, and the errors that single ones were."""
    answer = await call(provider, list(texts))
    if isinstance(answer, Iterator):  # made while it is read, which may take as long as a call
        answer = await call(list, islice(answer, len(texts) + 1))
    elif is_array(answer) and not arguments.is_several(answer):
        answer = lists_of(answer)  # a tensor, which has no length of its own
    vectors: list[Any] | None = None
    if arguments.is_several(answer) and not isinstance(answer, set | frozenset):
        with suppress(Exception):  # an array without a dimension cannot be iterated, for one
            vectors = list(answer)
    if vectors is None:
        raise BadInput(
            f"the provider returned {described(answer)} for {len(texts)} texts; "
            "it has to return a list with one vector for each, in their order"
        )
    checked: list[tuple[Any, int] | BadInput] = []
    for each in vectors:
        try:
            checked.append(checked_vector(each, "a vector of the provider"))
        except BadInput as error:
            none = BadInput("the provider returned None where a vector was asked for")
            checked.append(none if each is None else error)
    lengths = {each[1] for each in checked if not isinstance(each, BadInput)}
    if len(lengths) > 1:
        raise BadInput(
            f"the provider returned vectors of {min(lengths)} to {max(lengths)} numbers; "
            "all vectors of one model have equally many"
        )
    return [each if isinstance(each, BadInput) else each[0] for each in checked]


def checked_vector(vector: Any, what: str = "embedding") -> tuple[Any, int]:
    """A vector as it is stored (an array as it is, anything else as a list of floats), and how many
    numbers it has: a tensor has no length of its own."""
    try:
        listed = lists_of(vector)
        ordered = arguments.is_several(listed) and not isinstance(listed, set | frozenset)
        numbers = list(listed) if ordered else None
    except Exception as error:
        raise arguments.refused(what, vector, "a list of numbers, or an array") from error
    if numbers is None:
        raise arguments.refused(what, vector, "a list of numbers, or an array")
    if not numbers:
        raise BadInput(f"{what} is empty; a vector has at least one number")
    if not {float}.issuperset(map(type, numbers)):
        given, numbers = numbers, list(map(number_of, numbers))
        if None in numbers:
            wrong = given[numbers.index(None)]
            raise arguments.refused(f"a number of {what}", wrong, "a float")
    # One pass in C: a number that is not finite leaves a sum that is not, either.
    if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
        raise BadInput(f"{what} holds a number that is not finite (nan or inf)")
    # As an array, if it is one that can be stored: an array of objects, say, cannot.
    return vector if is_storable(vector) else numbers, len(numbers)
