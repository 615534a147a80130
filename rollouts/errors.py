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
    │   ├── PlatformStale           … because a newer tick was first
    │   └── PlatformRefused         … because the answer was no (permanent unless it says otherwise)
    ├── RouterError                 weights cannot be set or read
    │   └── RouterUnreachable       … because the control plane does not answer (retry)
    ├── ProvisionerError            a stack cannot be created or destroyed
    ├── BuildError                  an image cannot be built, pushed or found
    ├── PkiError                    certificates cannot be issued or read
    ├── PeerRefused                 a proxy is not who it says, or asks for what is not its own
    ├── LockBusy                    somebody else writes the same thing now (retry)
    └── AwsError                    AWS said no, or nothing; ``code`` is its own word for it
        ├── AwsUnreachable          … nobody answers (retry; ``maybe_done``: look before writing)
        ├── AwsThrottled            … too many calls (retry after ``retry_after_s`` seconds)
        ├── AwsOdd                  … an answer that makes no sense, as 500 (retry)
        ├── AwsExpired              … the session has ended (retry with fresh credentials)
        ├── AwsGone                 … there is no such thing
        ├── AwsConflict             … somebody else holds it (retry)
        ├── AwsLimit                … a quota is reached
        ├── AwsDenied               … not with these rights
        ├── AwsNothingToDo          … it is so already
        └── AwsRefused              … this request is wrong

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


class PlatformStale(PlatformError):
    pass


class PlatformRefused(PlatformError):
    permanent = True


class RouterError(MeshuiError):
    pass


class RouterUnreachable(RouterError):
    pass


class ProvisionerError(MeshuiError):
    pass


class BuildError(MeshuiError):
    pass


class PkiError(MeshuiError):
    permanent = True


class PeerRefused(MeshuiError):
    permanent = True


class LockBusy(MeshuiError):
    pass


class AwsError(MeshuiError):
    """``code``: AWS's own; ``request_id``: what its support asks for.

    ``maybe_done``: a write may have taken effect although it failed: look before writing again.
    """

    def __init__(
        self,
        sentence: str,
        *,
        code: str = "",
        request_id: str = "",
        maybe_done: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.request_id = request_id
        self.maybe_done = maybe_done
        self.retry_after_s = retry_after_s


class AwsUnreachable(AwsError):
    pass


class AwsThrottled(AwsError):
    pass


class AwsOdd(AwsError):
    pass


class AwsExpired(AwsError):
    pass


class AwsConflict(AwsError):
    pass


class AwsGone(AwsError):
    permanent = True


class AwsLimit(AwsError):
    permanent = True


class AwsDenied(AwsError):
    permanent = True


class AwsNothingToDo(AwsError):
    permanent = True


class AwsRefused(AwsError):
    permanent = True
