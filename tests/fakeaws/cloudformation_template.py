"""A template: parameters, rules, conditions, intrinsic functions, order of resources.

Called by stacks and change sets. It decides nothing about resources: what ``Ref`` and ``GetAtt``
of a resource give, it asks its caller.
"""

from __future__ import annotations

import base64
import functools
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from tests.fakeaws.cloudformation_client import Calls, Refused

# What a change set shows in place of a value that only the running update will know.
KNOWN_AFTER = "{{changeSet:KNOWN_AFTER_APPLY}}"
NO_VALUE = object()
PSEUDO = "AWS::"
Attribute = Callable[[str, str | None], Any]


class TemplateWrong(Exception):
    """The template or its parameters cannot be used; the text is CloudFormation's."""


class _Loader(yaml.SafeLoader):
    """YAML with !Ref and its like; a date such as 2012-10-17 stays text, as in CloudFormation."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


@functools.lru_cache(maxsize=64)
def parse(body: str) -> dict[str, Any]:
    """The template as a mapping, which nobody may change. Raises TemplateWrong."""
    try:
        parsed = yaml.load(body, Loader=_Loader)
    except yaml.YAMLError as error:
        raise TemplateWrong("Template format error: YAML not well-formed.") from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("Resources"), dict):
        raise TemplateWrong("Template format error: At least one Resources member must be defined.")
    return parsed


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")] if value else []


def _check_parameter(name: str, slot: Mapping[str, Any], value: str) -> None:
    said = slot.get("ConstraintDescription")
    allowed = [str(item) for item in slot.get("AllowedValues", [])]
    if allowed and value not in allowed:
        raise TemplateWrong(
            f"Parameter '{name}' must be one of AllowedValues" + (f": {said}" if said else "")
        )
    pattern = slot.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, value):
        raise TemplateWrong(f"Parameter {name} failed to satisfy constraint: {said or pattern}")
    if slot["Type"] == "Number":
        _check_number(name, slot, value)


def _check_number(name: str, slot: Mapping[str, Any], value: str) -> None:
    try:
        number = float(value)
    except ValueError as error:
        raise TemplateWrong(f"Parameter '{name}' must be a number.") from error
    if number < float(slot.get("MinValue", number)):
        raise TemplateWrong(f"Parameter '{name}' must be a number not less than {slot['MinValue']}")
    if number > float(slot.get("MaxValue", number)):
        raise TemplateWrong(
            f"Parameter '{name}' must be a number not greater than {slot['MaxValue']}"
        )


def parameters(parsed: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """Each parameter's text: what was given, or the default. Raises TemplateWrong."""
    slots: Mapping[str, Mapping[str, Any]] = parsed.get("Parameters") or {}
    strangers = sorted(set(given) - set(slots))
    if strangers:
        raise TemplateWrong(f"Parameters: [{', '.join(strangers)}] do not exist in the template")
    missing = [name for name, slot in slots.items() if name not in given and "Default" not in slot]
    if missing:
        raise TemplateWrong(f"Parameters: [{', '.join(missing)}] must have values")
    values = {name: str(given.get(name, slot.get("Default"))) for name, slot in slots.items()}
    for name, slot in slots.items():
        _check_parameter(name, slot, values[name])
    return values


def typed(parsed: Mapping[str, Any], values: Mapping[str, str], calls: Calls) -> dict[str, Any]:
    """What ``Ref`` of each parameter gives: text, a list, or what the parameter store holds."""
    typed_values: dict[str, Any] = {}
    for name, slot in (parsed.get("Parameters") or {}).items():
        kind, value = str(slot["Type"]), values[name]
        if kind.startswith("AWS::SSM::Parameter::Value"):
            try:
                value = calls("ssm", "get_parameter", Name=value)["Parameter"]["Value"]
            except Refused as refused:
                raise TemplateWrong(
                    f"Unable to fetch parameters [{value}] from parameter store for this account."
                ) from refused
        typed_values[name] = _listed(value) if "List" in kind else value
    return typed_values


class Scope:
    """Evaluates a template's expressions for one stack.

    ``attribute(logical, None)`` is Ref of a resource, ``attribute(logical, name)`` its GetAtt.
    """

    def __init__(
        self,
        parsed: Mapping[str, Any],
        refs: Mapping[str, Any],
        attribute: Attribute,
        exports: Mapping[str, str],
    ) -> None:
        self.parsed = parsed
        self._refs = refs
        self._attribute = attribute
        self._exports = exports
        self._conditions: dict[str, bool] = {}

    def condition(self, name: str) -> bool:
        """Whether a named condition holds."""
        if name not in self._conditions:
            conditions = self.parsed.get("Conditions") or {}
            if name not in conditions:
                raise TemplateWrong(f"Template format error: Unresolved condition {name}")
            self._conditions[name] = bool(self.value(conditions[name]))
        return self._conditions[name]

    def wanted(self) -> dict[str, dict[str, Any]]:
        """The resources whose condition holds."""
        return {
            name: resource
            for name, resource in self.parsed["Resources"].items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }

    def check_rules(self) -> None:
        """Raises TemplateWrong with the description of the first assertion that fails."""
        for rule in (self.parsed.get("Rules") or {}).values():
            if "RuleCondition" in rule and not self.value(rule["RuleCondition"]):
                continue
            for assertion in rule.get("Assertions", []):
                if not self.value(assertion["Assert"]):
                    text = assertion.get("AssertDescription", "a rule of the template")
                    raise TemplateWrong(f"Template error: Rule failed: {text}")

    def value(self, node: Any) -> Any:
        """The node with every function replaced by what it gives; NO_VALUE parts are left out."""
        if isinstance(node, list):
            return [item for item in map(self.value, node) if item is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref":
                return self._ref(argument)
            if name == "Condition" and isinstance(argument, str):
                return self.condition(argument)
            if name.startswith("Fn::"):
                return self._function(name.removeprefix("Fn::"), argument)
        pairs = ((key, self.value(item)) for key, item in node.items())
        return {key: item for key, item in pairs if item is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._refs:
            return self._refs[name]
        return self._attribute(name, None)

    def _function(self, name: str, argument: Any) -> Any:
        method = _FUNCTIONS.get(name)
        if method is None:
            raise TemplateWrong(f"Template format error: Unrecognized function Fn::{name}")
        return method(self, argument)

    def _sub(self, argument: Any) -> str:
        text, names = argument if isinstance(argument, list) else (argument, {})

        def filled(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in names:
                return str(self.value(names[name]))
            if "." in name:
                logical, attribute = name.split(".", 1)
                return str(self._attribute(logical, attribute))
            return str(self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", filled, text)

    def _get_att(self, argument: Any) -> Any:
        logical, attribute = argument
        return self._attribute(logical, self.value(attribute))

    def _if(self, argument: Any) -> Any:
        name, yes, no = argument
        return self.value(yes if self.condition(name) else no)

    def _split(self, argument: Any) -> Any:
        separator, text = argument[0], self.value(argument[1])
        return KNOWN_AFTER if KNOWN_AFTER in text else text.split(separator)

    def _select(self, argument: Any) -> Any:
        index, values = int(self.value(argument[0])), self.value(argument[1])
        if values == KNOWN_AFTER:
            return KNOWN_AFTER
        if index >= len(values):
            raise TemplateWrong(
                f"Template error: Fn::Select cannot select nonexistent value at index {index}"
            )
        return values[index]

    def _join(self, argument: Any) -> str:
        return str(argument[0]).join(str(item) for item in self.value(argument[1]))

    def _find_in_map(self, argument: Any) -> Any:
        found: Any = self.parsed.get("Mappings") or {}
        for key in map(self.value, argument[:3]):
            if key not in found:
                raise TemplateWrong(f"Template error: Unable to get mapping for {key}")
            found = found[key]
        return found

    def _import_value(self, argument: Any) -> str:
        name = self.value(argument)
        if name not in self._exports:
            raise TemplateWrong(f"No export named {name} found.")
        return self._exports[name]

    def _zones(self, argument: Any) -> list[str]:
        region = self.value(argument) or self._refs["AWS::Region"]
        return [f"{region}{letter}" for letter in "abc"]

    def _cidr(self, argument: Any) -> Any:
        block, count, bits = (self.value(item) for item in argument)
        if block == KNOWN_AFTER:
            return KNOWN_AFTER
        ranges = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
        return [str(next(ranges)) for _ in range(int(count))]

    def _equals(self, argument: Any) -> bool:
        left, right = (self.value(item) for item in argument)
        return str(left) == str(right)

    def _contains(self, argument: Any) -> bool:
        values, wanted = (self.value(item) for item in argument)
        return str(wanted) in [str(item) for item in values]


_FUNCTIONS: dict[str, Callable[[Scope, Any], Any]] = {
    "Sub": Scope._sub,
    "GetAtt": Scope._get_att,
    "If": Scope._if,
    "Split": Scope._split,
    "Select": Scope._select,
    "Join": Scope._join,
    "FindInMap": Scope._find_in_map,
    "ImportValue": Scope._import_value,
    "GetAZs": Scope._zones,
    "Cidr": Scope._cidr,
    "Equals": Scope._equals,
    "Contains": Scope._contains,
    "Not": lambda scope, argument: not scope.value(argument[0]),
    "And": lambda scope, argument: all(map(scope.value, argument)),
    "Or": lambda scope, argument: any(map(scope.value, argument)),
    "Length": lambda scope, argument: len(scope.value(argument)),
    "Base64": lambda scope, argument: base64.b64encode(scope.value(argument).encode()).decode(),
    "ToJsonString": lambda scope, argument: json.dumps(scope.value(argument)),
}


def names_in(node: Any) -> set[str]:
    """Every name that an expression refers to: resources, parameters, pseudo parameters."""
    if isinstance(node, list):
        return set().union(*map(names_in, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    found = set().union(*map(names_in, node.values())) if node else set()
    if "Ref" in node:
        found.add(node["Ref"])
    if "Fn::GetAtt" in node:
        found.add(node["Fn::GetAtt"][0])
    if "Fn::Sub" in node:
        text = node["Fn::Sub"]
        text = text[0] if isinstance(text, list) else text
        found |= {name.split(".")[0] for name in re.findall(r"\$\{([^!}][^}]*)\}", text)}
    return found


def needs(resource: Mapping[str, Any], names: set[str]) -> set[str]:
    """Which of these resources must exist before this one."""
    after = resource.get("DependsOn", [])
    listed = {after} if isinstance(after, str) else set(after)
    return (listed | names_in(resource.get("Properties", {}))) & names


def in_order(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names so that each comes after what it needs. Raises TemplateWrong for a circle."""
    waiting = {name: needs(resource, set(resources)) for name, resource in resources.items()}
    ordered: list[str] = []
    while waiting:
        ready = [name for name, needed in waiting.items() if needed <= set(ordered)]
        if not ready:
            circle = ", ".join(sorted(waiting))
            raise TemplateWrong(f"Circular dependency between resources: [{circle}]")
        ordered += ready
        for name in ready:
            del waiting[name]
    return ordered
