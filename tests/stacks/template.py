"""Templates as CloudFormation would read them: conditions and parameters resolved.

For the assertions of ``test_templates``. What only AWS knows (a resource's id) stays as it is
written, so an assertion can ask what a property refers to.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped]

FOLDER = Path(__file__).parents[2] / "templates" / "cloudformation"
NO_VALUE = object()


@cache
def written(name: str) -> dict[str, Any]:
    """The template ``name`` as it is written, short forms spelled out."""
    parsed: dict[str, Any] = cfn_yaml.load(str(FOLDER / f"{name}.yaml"))
    return parsed


class Template:
    """One template with these parameters."""

    def __init__(self, name: str, **parameters: str) -> None:
        self.raw = written(name)
        defaults = {k: v.get("Default") for k, v in self.raw["Parameters"].items()}
        self.parameters = {**defaults, "ProjectName": "echo", **parameters}
        self.resources = {
            logical: self._resolved(resource)
            for logical, resource in self.raw["Resources"].items()
            if self._holds(resource.get("Condition"))
        }
        self.outputs = {
            name: self._resolved(output["Value"])
            for name, output in self.raw["Outputs"].items()
            if self._holds(output.get("Condition"))
        }

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties by logical id of every resource of a kind, as in ``EC2::Subnet``."""
        return {
            logical: resource.get("Properties", {})
            for logical, resource in self.resources.items()
            if resource["Type"] == f"AWS::{kind}"
        }

    def _holds(self, condition: str | None) -> bool:
        return condition is None or self._true(self.raw["Conditions"][condition])

    def _true(self, test: Any) -> bool:
        (how, what), *_ = test.items()
        if how == "Condition":
            return self._holds(what)
        if how == "Fn::Equals":
            one, other = (self._resolved(side) for side in what)
            return bool(one == other)
        if how == "Fn::Not":
            return not self._true(what[0])
        return {"Fn::And": all, "Fn::Or": any}[how](self._true(each) for each in what)

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            found = (self._resolved(each) for each in value)
            return [each for each in found if each is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if value.get("Ref") == "AWS::NoValue":
            return NO_VALUE
        if self.parameters.get(str(value.get("Ref"))) is not None:
            return self.parameters[str(value["Ref"])]
        if "Fn::If" in value:
            condition, yes, no = value["Fn::If"]
            return self._resolved(yes if self._holds(condition) else no)
        if isinstance(value.get("Fn::Sub"), str):
            return self._filled(value["Fn::Sub"])
        pairs = ((key, self._resolved(each)) for key, each in value.items())
        return {key: each for key, each in pairs if each is not NO_VALUE}

    def _filled(self, text: str) -> str:
        def known(found: re.Match[str]) -> str:
            given = self.parameters.get(found[1])
            return found[0] if given is None else str(given)

        return re.sub(r"\$\{([\w:.]+)\}", known, text)
