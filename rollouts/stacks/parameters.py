"""The parameters of a stack: outputs of the mesh's other stacks, the mesh's settings, defaults.

Called by ``proposing``. PURE apart from the rows that it reads; whose value is missing it says by
name, so that a person knows which setting or which stack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rollouts.errors import ProvisionerError
from rollouts.models import Mesh, Stack
from rollouts.stacks.cfn import ORDER, template_of

SECTION = re.compile(r"^Parameters:\n((?:[ #].*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^  (\w+):\n((?:    .*\n|\n)*)", re.MULTILINE)
OUTPUTS = re.compile(r"^Outputs:\n((?:[ #].*\n|\n)*)", re.MULTILINE)


def declared(template: str) -> dict[str, bool]:
    """Every parameter of a template of ours, and whether it has a default."""
    section = SECTION.search(template)
    entries = ENTRY.findall(section[1]) if section else []
    return {name: "    Default:" in rest for name, rest in entries}


def setting_of(parameter: str) -> str:
    """``LogRetentionDays`` → ``log_retention_days``"""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", parameter).lower()


def outputs_of_others(stack: Stack) -> dict[str, str]:
    """Outputs of the mesh's other stacks; those of a later one never reach an earlier one."""
    earlier = ORDER[: ORDER.index(stack.name)]
    rows = Stack.objects.filter(mesh=stack.mesh, name__in=earlier).values_list("outputs", flat=True)
    return {name: value for outputs in rows for name, value in outputs.items()}


def fill(stack: Stack, template: str, images: Mapping[str, str]) -> dict[str, str]:
    """A value for every parameter that is not left to its default. Raises ProvisionerError.

    ``images``: digests by parameter, which outdo the settings of the same name.
    """
    outputs = outputs_of_others(stack)
    found: dict[str, str] = {}
    for name, has_default in declared(template).items():
        value = images.get(name) or outputs.get(name) or _given(stack.mesh, name)
        if value:
            found[name] = value
        elif not has_default:
            raise ProvisionerError(_missing(name), permanent=True)
    return found


def _given(mesh: Mesh, name: str) -> str:
    own = {"ProjectName": mesh.slug, "Router": mesh.router}
    value = own.get(name) or mesh.settings.get(setting_of(name))
    if value in (None, "") and name == "DeletionProtection" and mesh.production:
        return "true"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _missing(name: str) -> str:
    from_stack = _stack_that_gives(name)
    if from_stack:
        return f"The stack {from_stack} is needed first: it tells {name}."
    return f"The mesh has no setting {setting_of(name)}, which the parameter {name} needs."


def _stack_that_gives(name: str) -> str:
    return next((stack for stack in ORDER if name in _outputs(template_of(stack))), "")


def _outputs(template: str) -> list[str]:
    section = OUTPUTS.search(template)
    return re.findall(r"^  (\w+):", section[1], re.MULTILINE) if section else []
