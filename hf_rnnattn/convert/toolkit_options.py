"""Options of other toolkits: which values have a counterpart here, as tables of rules."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

LARGEST = 2**16  # of widths and numbers of layers


class Rule(NamedTuple):
    """One option.

    Args:
        key: its name; dots lead into nested options.
        default: what the toolkit takes where it is absent.
        values: those that have a counterpart; an empty list or mapping and None count as each other.
        why: what to say of any other.
    """

    key: str
    default: Any
    values: Sequence[Any]
    why: str


def option(options: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The value of an option, whose key may lead through nested options: ``"model.encoder.type"``."""
    value: Any = options
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def check_options(options: Mapping[str, Any], rules: Sequence[Rule], source: str) -> None:
    """Refuses every option whose value has no counterpart.

    Raises:
        ValueError: names the option, its value, and what is read.
    """
    for rule in rules:
        value = option(options, rule.key, rule.default)
        if not any(_alike(value, known) for known in rule.values):
            absent = " (the toolkit's default)" if option(options, rule.key, rule) is rule else ""
            raise ValueError(f"{rule.key} is {value!r}{absent} in {source}: {rule.why}")


def number(options: Mapping[str, Any], key: str, default: int | None, source: str) -> int:
    """An option that must be a positive integer, at most ``LARGEST``.

    Raises:
        ValueError: it is not.
    """
    value = option(options, key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise ValueError(f"{key} must be an integer in [1, {LARGEST}], got {value!r} in {source}")
    return value


def flag(options: Mapping[str, Any], key: str, default: bool, source: str) -> bool:
    """An option that must be true or false, or 1 or 0.

    Raises:
        ValueError: it is neither.
    """
    value = option(options, key, default)
    if value not in (True, False):
        raise ValueError(f"{key} must be true or false, got {value!r} in {source}")
    return bool(value)


def agree(options: Mapping[str, Any], keys: Sequence[str], default: Any, source: str, why: str) -> Any:
    """The one value of several options.

    Raises:
        ValueError: they differ.
    """
    values = [option(options, key, default) for key in keys]
    if any(value != values[0] for value in values):
        got = ", ".join(f"{key} {value!r}" for key, value in zip(keys, values, strict=True))
        raise ValueError(f"{why}, got {got} in {source}")
    return values[0]


def _alike(value: Any, known: Any) -> bool:
    if known is None:
        return value is None or (isinstance(value, (list, tuple, dict, str)) and not value)
    # 0 is False and 1 is True for Python, and for these toolkits
    return bool(value == known)
