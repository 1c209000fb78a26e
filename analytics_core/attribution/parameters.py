"""What a run of attribution leaves open, which models there are, and the hash that names a choice of both."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from analytics_core.errors import InvalidInput

__all__ = (
    "DEFAULT_PARAMETERS",
    "MAX_DAYS",
    "Model",
    "Parameters",
    "parameters_hash",
    "parse_models",
    "parse_parameters",
)

MAX_DAYS: Final = 90
"""Days of a window, and of all that is weighed by age."""

_Days = Annotated[int, msgspec.Meta(ge=1, le=MAX_DAYS)]


class Model(enum.StrEnum):
    """How the credit of a conversion is shared among its touches; ``docs/methodology/attribution.md`` tells each."""

    FIRST = "first"
    LAST = "last"
    LINEAR = "linear"
    POSITION = "position"
    TIME_DECAY = "time_decay"
    SHAPLEY = "shapley"
    MARKOV = "markov"


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run leaves open.

    Attributes:
        half_life_days: Under time decay a touch counts half as much as one that came so many days later.
        counting_days: Of an action that counts once a customer, the first conversion keeps those of so many days after
            it from counting.
    """

    half_life_days: _Days = 7
    counting_days: _Days = 30


DEFAULT_PARAMETERS: Final = Parameters()


def parse_parameters(given: object, *, path: str = "/params") -> Parameters:
    """Read the parameters that somebody chose; what is not named has its default.

    Args:
        given: A table as it was decoded from JSON.
        path: Where it stands, for the error.

    Raises:
        InvalidInput: A name is unknown, or a value is not one of those that it may have.

    >>> parse_parameters({"half_life_days": 14})
    Parameters(half_life_days=14, counting_days=30)
    """
    if not isinstance(given, dict):
        raise InvalidInput(path, "has to be a table of parameters by name")
    names = Parameters.__struct_fields__
    for name in given:
        if name not in names:
            raise InvalidInput(
                f"{path}/{str(name)[:40]}", f"there is no such parameter; there are {', '.join(names)}", code="unknown"
            )
    # One at a time, so that the error names the one at fault.
    for name, value in given.items():
        try:
            msgspec.convert({name: value}, Parameters)
        except msgspec.ValidationError:
            raise InvalidInput(f"{path}/{name}", f"has to be a whole number of days, 1 to {MAX_DAYS}") from None
    return msgspec.convert(given, Parameters)


def parse_models(names: Iterable[str], *, path: str = "/models") -> tuple[Model, ...]:
    """Read the names of models, each once, in the order in which :class:`Model` has them.

    Raises:
        InvalidInput: There is none, or no model has that name.

    >>> [model.value for model in parse_models(["markov", "last", "last"])]
    ['last', 'markov']
    """
    known = {model.value: model for model in Model}
    chosen = set()
    for place, name in enumerate(names):
        if name not in known:
            raise InvalidInput(
                f"{path}/{place}",
                f"there is no model {name[:40]!r}; there are {', '.join(known)}",
                code="unknown_model",
            )
        chosen.add(known[name])
    if not chosen:
        raise InvalidInput(path, f"names no model; there are {', '.join(known)}")
    return tuple(model for model in Model if model in chosen)


def parameters_hash(models: Iterable[Model], parameters: Parameters) -> bytes:
    """Hash a choice of models and parameters: equal choices, however they were written, have equal hashes.

    Returns:
        32 bytes: BLAKE2b of the choice as JSON with sorted keys, parameters that were not named included.

    >>> asked = parse_parameters({"half_life_days": 7})
    >>> parameters_hash([Model.LAST, Model.FIRST], asked) == parameters_hash(Model, DEFAULT_PARAMETERS)
    False
    >>> parameters_hash([Model.LAST, Model.FIRST], asked) == parameters_hash([Model.FIRST, Model.LAST], Parameters())
    True
    """
    chosen = {"models": sorted(set(models)), "params": parameters}
    return hashlib.blake2b(msgspec.json.encode(chosen, order="sorted"), digest_size=32, person=b"attribution").digest()
