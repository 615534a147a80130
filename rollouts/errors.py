"""Every error that meshui raises on purpose, as one tree.

    MeshuiError                     a sentence for a person; ``permanent``: a retry cannot help
    ├── ActionRefused               a person asked for something that is not possible now
    │   ├── NotAllowed              … because of who asks
    │   └── Stale                   … because the page they looked at is out of date
    ├── InvalidInput                a value is wrong; ``field`` names it
    │   ├── InvalidPlan
    │   └── InvalidMesh             a mesh that cannot be turned into Envoy configuration
    ├── PlatformError               tasks cannot be started, stopped or seen
    │   ├── PlatformUnreachable     … because nobody answers (retry)
    │   └── PlatformRefused         … because the answer was no (permanent unless it says otherwise)
    ├── RouterError                 weights cannot be set or read
    │   └── RouterUnreachable       … because the control plane does not answer (retry)
    └── ProvisionerError            a stack cannot be created or destroyed

Adapters turn the errors of their libraries into these at the edge. Nobody catches ``Exception``.
"""


class MeshuiError(Exception):
    """The root. ``str(error)`` is a whole sentence for the person who reads it."""

    permanent = False

    def __init__(self, sentence: str, *, permanent: bool | None = None) -> None:
        super().__init__(sentence)
        if permanent is not None:
            self.permanent = permanent


class ActionRefused(MeshuiError):
    permanent = True


class NotAllowed(ActionRefused):
    pass


class Stale(ActionRefused):
    pass


class InvalidInput(MeshuiError):
    """``field`` is the name of the wrong field as forms and the API call it."""

    permanent = True

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class InvalidPlan(InvalidInput):
    pass


class InvalidMesh(InvalidInput):
    pass


class PlatformError(MeshuiError):
    pass


class PlatformUnreachable(PlatformError):
    pass


class PlatformRefused(PlatformError):
    permanent = True


class RouterError(MeshuiError):
    pass


class RouterUnreachable(RouterError):
    pass


class ProvisionerError(MeshuiError):
    pass
