"""Options of commands, each declared once: its type and range, and in one line what it means.

The options of a command are a pydantic model, with groups of options in it. Their values stand in conf/; `read` takes a
composed config into the model, and says in one line what is wrong with it. `nas_runtime.help` prints them.

>>> class Ray(Options):
...     num_cpus: float = Field(ge=0, le=10_000, description="CPUs that one evaluation takes")
>>> class SearchOptions(CommandOptions):
...     command, config = "nas.search", "search"
...     ray: Ray
>>> options = read(SearchOptions, plain(compose("search", ["ray.num_cpus=2"])))
>>> options.ray.num_cpus
2.0
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo

from nas_runtime.console import brief, did_you_mean
from nas_runtime.declared import settings_class, settings_fields
from nas_runtime.kinds import Among, Kind, kind_of, written
from nas_runtime.plain import is_mapping
from nas_runtime.registry import Registry

__all__ = [
    "CommandOptions",
    "Declared",
    "DeclaredBy",
    "Options",
    "declared",
    "groups_of",
    "no_option",
    "read",
    "read_plain",
    "settings_in",
]


class Options(BaseModel):
    """A group of options. Values are taken as they are: 3.0 is no whole number, true no number, "3" neither."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class CommandOptions(Options):
    """All options of a command, whose first line of text is what the command does.

    Attributes:
        command: behind ``python -m``.
        config: the name of its file in conf/.
    """

    command: ClassVar[str]
    config: ClassVar[str]
    _written: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _given: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def written(self) -> Mapping[str, Any]:
        """The composed config, plain, as ``config.yaml`` of a run keeps it."""
        return self._written

    def are_of(self, config: Mapping[str, Any], arguments: Sequence[str]) -> None:
        """Keeps what these options were read from."""
        self._written = MappingProxyType(dict(config))
        self._given = frozenset(argument.lstrip("+~").partition("=")[0] for argument in arguments)

    def given(self, name: str) -> bool:
        """Whether the command line sets `name` itself: ``dataset=...``, but not ``dataset.path=...``."""
        return name in self._given


@dataclass(frozen=True)
class Declared:
    """What is known of an option."""

    kind: Kind
    meaning: str


@dataclass(frozen=True)
class DeclaredBy:
    """Marks a `nas_runtime.kinds.Free` option whose values are declared by what the group's ``name`` stands for.

    Attributes:
        of: the declarations for that name; none where they are not known.
    """

    of: Callable[[str], Mapping[str, Declared]]


_UNKNOWN = "extra_forbidden"  # pydantic's error of an option that there is not


class _Setting(Kind):
    """What a field of a dataclass may be: what its metadata says, else its type."""

    def __init__(self, allowed: object) -> None:
        self._allowed = str(allowed)

    @property
    def words(self) -> str:
        return self._allowed.removeprefix("a ")

    def refusal(self, value: Any) -> str:
        return f": it must be {self._allowed}"


def settings_in(registry: Registry) -> DeclaredBy:
    """Marks the settings of what `registry` knows, which its dataclass declares (`nas_runtime.declared`). A field says
    in its metadata what is ``allowed``, and its ``meaning``.
    """

    def of(name: str) -> Mapping[str, Declared]:
        try:
            kind = settings_class(registry.get(name), f"{registry.kind} {name}")
        except ValueError:  # said when it is made
            return {}
        return {
            each.name: Declared(_Setting(_allowed(each)), each.metadata.get("meaning", ""))
            for each in (settings_fields(kind) if kind else ())
        }

    return DeclaredBy(of)


def _allowed(field: Field[Any]) -> object:
    """What its metadata says that a setting may be, else the name of its type."""
    return field.metadata.get("allowed") or getattr(field.type, "__name__", field.type)


C = TypeVar("C", bound=CommandOptions)
G = TypeVar("G", bound=Options)


def read(kind: type[C], config: Mapping[str, Any], arguments: Sequence[str] = ()) -> C:
    """The options in a composed config, as `nas_runtime.compose.plain` gives it.

    Args:
        arguments: of the command line that it was composed from.

    Raises:
        ValueError: the first value that is missing or not allowed, or an option that there is not.
    """
    known = dict(declared(kind, config))
    if missing := [name for name in known if _at(config, name) == "???"]:
        raise ValueError(f"no {missing[0]}: add {missing[0]}=, {known[missing[0]].meaning}")
    options = _model(kind, config, "", known)
    options.are_of(config, arguments)
    return options


def declared(kind: type[Options], values: Any, prefix: str = "", about: str = "") -> Iterator[tuple[str, Declared]]:
    """The dotted names of all options and what is declared of them, for the groups that `values` has chosen.

    What a field that is a group says `about` it stands before the meanings of its options.
    """
    for name, field in _fields(kind):
        value = values.get(name) if is_mapping(values) else None
        if groups := _groups(field):
            if value is not None or type(None) not in get_args(field.annotation):
                its = dict(declared(_chosen(groups, value), value, f"{prefix}{name}.", field.description or ""))
                if len(groups) > 1:
                    its[f"{prefix}{name}.name"] = _any_name(groups)
                yield from its.items()
        elif marks := [mark for mark in field.metadata if isinstance(mark, DeclaredBy)]:
            for setting, its in marks[0].of(str(_at(values, "name"))).items():
                yield f"{prefix}{name}.{setting}", its
        else:
            meaning = ": ".join(filter(None, [about, field.description]))
            yield f"{prefix}{name}", Declared(kind_of(field), meaning)


def groups_of(kind: type[Options]) -> dict[str, Callable[[str], bool]]:
    """The groups in `kind`, and whether each can have that ``name``."""
    fitting: dict[str, Callable[[str], bool]] = {}
    for name, field in _fields(kind):
        if groups := _groups(field):
            fields = [group.model_fields.get("name") for group in groups]
            fitting[name] = partial(_fits, [get_args(its.annotation) if its else () for its in fields])
    return fitting


def _fits(named: Sequence[Sequence[str]], file: str) -> bool:
    """Whether a file of this name is for one of the groups with these names; a group without any takes every name."""
    return not all(named) or any(file in names for names in named)


def read_plain(kind: type[G], arguments: Sequence[str]) -> G:
    """The options ``name=value`` of a command that has no file in conf/; those that are not given have the defaults of
    their declarations.

    Raises:
        ValueError: the first value that is not allowed, or an option that there is not.
    """
    options = dict(declared(kind, {}))
    given: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name not in options:
            hint = did_you_mean(name, options) if equals else ""
            raise ValueError(f"{brief(argument)!r} is not known{hint}; allowed: {', '.join(f'{n}=' for n in options)}")
        given[name] = _scalar(value)
    return _model(kind, given, "", options)


def no_option(name: str, known: Sequence[str]) -> str:
    """What is said of an option that there is not, where `known` are."""
    name = brief(name)
    if close := did_you_mean(name, [k for k in known if not name.startswith(f"{k}.")]):
        return f"no setting {name!r}{close}; --cfg job shows all settings"
    of, dot, own = name.rpartition(".")
    if dot and of in known and not any(k.startswith(f"{of}.") for k in known):
        return f"no setting {name!r}: {of} is set as a whole; where it takes names, write '{of}={{{own}: ...}}'"
    return f"no setting {name!r}; allowed: {', '.join(k for k in known if '.' not in k)}"


def _fields(kind: type[Options]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in kind.model_fields.items():
        yield field.alias or name, field


def _groups(field: FieldInfo) -> list[type[Options]]:
    """The groups, of which the field's value is one; none if it is no group."""
    types = [field.annotation, *get_args(field.annotation)]
    return [kind for kind in types if isinstance(kind, type) and issubclass(kind, Options)]


def _chosen(groups: Sequence[type[Options]], value: Any) -> type[Options]:
    """That of `groups` whose ``name`` is that of `value`; the last, where there is none."""
    name = value.get("name") if is_mapping(value) else None
    named = [kind for kind in groups[:-1] if name in get_args(kind.model_fields["name"].annotation)]
    return (*named, groups[-1])[0]


def _any_name(groups: Sequence[type[Options]]) -> Declared:
    """The option ``name`` by which one of `groups` is chosen."""
    fields = [kind.model_fields["name"] for kind in groups]
    kinds = [kind for field in fields if isinstance(kind := kind_of(field), Among)]
    among = kinds[-1] if kinds[-1].more else Among(lambda: [name for kind in kinds for name in kind.names()])
    return Declared(among, fields[0].description or "")


def _model(kind: type[G], values: Mapping[str, Any], prefix: str, options: Mapping[str, Declared]) -> G:
    """The group `kind` with its `values`, of which those that are not there are null.

    Args:
        prefix: of its options' names, among all the `options`.
    """
    found = dict(values)
    for name, field in _fields(kind):
        if field.is_required():
            found.setdefault(name, None)
        value = found.get(name)
        if (groups := _groups(field)) and is_mapping(value):
            found[name] = _model(_chosen(groups, value), value, f"{prefix}{name}.", options)
    try:
        return kind.model_validate(found)
    except ValidationError as e:
        raise ValueError(_said(e, found, prefix, options)) from None


def _said(refused: ValidationError, values: Mapping[str, Any], prefix: str, options: Mapping[str, Declared]) -> str:
    """What is wrong with the `values` of a group, in one line: its name first, then options that there are not."""
    errors = sorted(refused.errors(include_url=False), key=lambda e: (e["loc"] != ("name",), e["type"] != _UNKNOWN))
    if not errors[0]["loc"]:  # values that do not go with each other
        return str(errors[0].get("ctx", {})["error"])
    key = str(errors[0]["loc"][0])
    name = f"{prefix}{key}"
    if errors[0]["type"] == _UNKNOWN:
        return no_option(name, sorted(_names(options)))
    if name in options:
        return f"{name}={written(values[key])}{options[name].kind.refusal(values[key])}"
    return f"{name}={written(values[key])}: it must be names with values; leave it out, or set {name}.NAME="


def _names(options: Iterable[str]) -> set[str]:
    """Those of options and of the groups that they are in."""
    return {".".join(name.split(".")[:i]) for name in options for i in range(1, name.count(".") + 2)}


def _scalar(text: str) -> Any:
    """The number, truth value or text that is written so."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "null": None}.get(text, text)


def _at(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if is_mapping(values) else None
    return values
