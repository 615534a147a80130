"""Why tasks do not live, in words for the person who has to mend it. Pure.

``explain`` is a table over the words of ECS and of the local supervisor. Pages call it to draw a
card beside the words themselves; nothing decides by it. Unknown words have no card: the words
themselves are shown then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """``text`` says what happened, ``offers`` what to do about it, likeliest first.

    ``grey``: nothing is wrong, somebody wanted this.
    """

    title: str
    text: str
    offers: tuple[str, ...] = ()
    grey: bool = False


def explain(reason: str) -> Card | None:
    """The card for the platform's own words; None when they are not known."""
    for pattern, card in TABLE:
        found = re.search(pattern, reason, re.IGNORECASE | re.DOTALL)
        if found is not None:
            return _filled(card, found)
    return None


def brief(reason: str, most: int = 160) -> str:
    """A reason of at most ``most`` characters as it is, a longer one as what it means.

    "1.1 does not start: CannotPullContainerError: … not found" is "1.1 does not start: Image not
    found". Long words that are not known are cut.
    """
    if len(reason) <= most:
        return reason
    card = explain(reason)
    if card is None:
        return f"{reason[: most - 1].rstrip()}…"
    ours, _, rest = reason.partition(": ")
    own = bool(rest) and " " in ours and explain(rest) is not None
    return f"{ours}: {card.title}" if own else card.title


def _filled(card: Card, found: re.Match[str]) -> Card:
    """The card with what the pattern's named groups caught in place of {name}."""
    words = {name: caught.strip(" .,:;'\"") for name, caught in found.groupdict("").items()}
    if not words:
        return card
    return Card(
        card.title,
        card.text.format_map(words),
        tuple(offer.format_map(words) for offer in card.offers),
        card.grey,
    )


NO_RIGHT = (
    "Add {action} to the execution role: ECS itself uses that one, to pull the image, read secrets "
    "and write logs.",
    "If it is the program that asks, add it to the task role instead.",
)
NOT_FOUND = Card(
    "Image not found",
    "The registry has no such image. A version names its image by digest, which is never given to "
    "another image.",
    (
        "Was it pushed to this repository, in this region?",
        "Has a lifecycle rule of the repository expired it? Build it again as a new version.",
    ),
)
NO_WAY = Card(
    "No way to the registry or the secrets",
    "The task could not reach ECR or Secrets Manager from its subnet.",
    (
        "Give the private subnets a NAT gateway, or endpoints for ecr.api, ecr.dkr, s3, "
        "secretsmanager and logs.",
        "Let the task's security group send to port 443.",
    ),
)
MEMORY = Card(
    "Out of memory, or killed",
    "A container was killed (137, signal 9). That is what happens when it needs more memory than "
    "it was given.",
    (
        "Compare what it needs with the memory of the task definition and of its containers.",
        "Is nothing wrong with its memory? Then something ended it with signal 9.",
    ),
)
CRASH = Card(
    "The program crashed",
    "A container ended with a memory fault (139, signal 11): a bug in native code, or an image for "
    "another kind of processor.",
    (
        "Was the image built for the platform of the task definition (X86_64 or ARM64)?",
        "Read the last lines of its log.",
    ),
)
TERMINATED = Card(
    "Ended by a request to stop",
    "A container ended because it was asked to (143, signal 15), while it should have gone on.",
    ("Find out who stops it: its own supervisor inside the container, or a person.",),
)
NOT_RUNNABLE = Card(
    "The command cannot be run",
    "A container found no program to start, or may not run it (126, 127).",
    ("Check command and entry point of the version against what is in the image.",),
)
ENDED = Card(
    "A container ended",
    "A container without which the task cannot be ended by itself, with exit code {code}.",
    ("Read the last lines of its log.", "Run the same image with the same environment by hand."),
)
ENDED_LOCALLY = Card(
    "The program ended",
    "It ended by itself, with exit code {code}.",
    ("Read the last lines of its log.", "Start its command by hand."),
)
UNHEALTHY = Card(
    "Never became healthy",
    "The task ran, but its health check did not pass in time, so ECS took it away.",
    (
        "Does the program listen on the port that is checked, and on every address?",
        "Does it need longer to start? Raise the start period or the grace period.",
        "Read what the last check was answered.",
    ),
)
SECRET = Card(
    "A secret cannot be read",
    "ECS could not read a secret that the task definition names.",
    (
        "Does the secret exist, with this key, in this region?",
        "Allow secretsmanager:GetSecretValue on it in the execution role.",
    ),
)
LOGS = Card(
    "No place for its logs",
    "ECS could not set up the log of a container.",
    (
        "Does the log group exist, in this region?",
        "Allow logs:CreateLogStream and logs:PutLogEvents in the execution role.",
        "Without NAT the subnets need the endpoint logs.",
    ),
)
NO_ADDRESS = Card(
    "No address or network interface left",
    "The task got no network interface in its subnets.",
    ("Count the free addresses of the private subnets.", "Check the quota of network interfaces."),
)
CAPACITY = Card(
    "No capacity on Fargate",
    "AWS has no room for such a task in this zone just now.",
    ("It goes on trying.", "Allow subnets of another zone.", "Ask for another size of task."),
)
QUOTA = Card(
    "A quota is reached",
    "AWS lets this account run no more of it.",
    ("Stop versions that nobody needs.", "Ask AWS for a higher quota."),
)
TAKEN_BACK = Card(
    "AWS took the machine back",
    "Nothing is wrong with the version. ECS replaces the task by itself.",
    grey=True,
)
STOPPED_BY_ECS = Card(
    "Stopped by ECS",
    "It was one too many, as its version was scaled in or removed. Not a failure.",
    grey=True,
)
STOPPED_BY_A_PERSON = Card(
    "Stopped by a person",
    "Somebody stopped this one task. ECS replaces it by itself.",
    grey=True,
)
DENIED = Card(
    "A role lacks a right",
    "AWS does not allow {action}.",
    NO_RIGHT,
)
DENIED_SOMETHING = Card(
    "A role lacks a right",
    "AWS does not allow what starting the task needs.",
    tuple(offer.format(action="what is missing") for offer in NO_RIGHT),
)
PULL = Card(
    "The image cannot be pulled",
    "ECS could not fetch the image from its registry.",
    ("Does the repository allow this account?", *NO_WAY.offers),
)
CANNOT_START = Card(
    "A container cannot be started",
    "The image was pulled, but a container of it cannot be made or started.",
    ("Check command, user, volumes and size of the task definition.",),
)
SETUP = Card(
    "The task cannot be set up",
    "ECS could not get together what the task needs before its start.",
    ("Read the words below.", *NO_WAY.offers),
)

ACTION = r"\b(?P<action>[a-z][a-z0-9-]+:[A-Z][A-Za-z]+)"
# The first that fits. Words of one cause may stand inside the words of another ("ResourceInit…:
# unable to pull secrets … AccessDenied"), so what can be mended most exactly comes first.
TABLE: tuple[tuple[str, Card], ...] = (
    (r"Scaling activity initiated by|\AServiceSchedulerInitiated", STOPPED_BY_ECS),
    (r"Task stopped by user|\AUserInitiated", STOPPED_BY_A_PERSON),
    (r"SpotInterruption|Spot Task was interrupted|InfrastructureHealth|TerminationNotice"
     r"|(scheduled for|AWS).{0,40}(retirement|maintenance)|host (was )?terminated", TAKEN_BACK),
    (r"not authorized to perform:?\s*" + ACTION, DENIED),
    (r"does not allow " + ACTION, DENIED),
    (r"AccessDenied|not authorized|no basic auth credentials|pull access denied|\b403 Forbidden",
     DENIED_SOMETHING),
    (r"(CannotPull|pull).*(not found|no such (image|manifest)|manifest unknown|does not exist)",
     NOT_FOUND),
    (r"CannotPull.*(i/o timeout|dial tcp|timed? ?out|no such host|connection refused"
     r"|request canceled|context deadline)", NO_WAY),
    (r"(ResourceNotFoundException|can't find).*secret|secret.*(can't find|did not contain)"
     r"|retrieved secret.*(did not|not contain)", SECRET),
    (r"ResourceInitializationError.*(logger|log driver|awslogs|log group)"
     r"|failed to validate logger args", LOGS),
    (r"ResourceInitializationError.*(pull secrets|registry auth|i/o timeout|dial tcp)", NO_WAY),
    (r"Timeout waiting for network interface|\bENIs?\b|(free|available) (ip )?addresses"
     r"|network interface.*(limit|provision)", NO_ADDRESS),
    (r"Capacity is unavailable|InsufficientCapacity", CAPACITY),
    (r"quota of AWS is reached|reached the limit|LimitExceeded|limit on the number of", QUOTA),
    (r"Task failed (container|ELB|load balancer).{0,20}health check|failed ELB health checks"
     r"|failed container health checks|is unhealthy in \(?target-group", UNHEALTHY),
    (r"OutOfMemory|\b(exit|exited with) code:? 137\b|signal 9\b", MEMORY),
    (r"\b(exit|exited with) code:? 139\b|signal 11\b", CRASH),
    (r"\b(exit|exited with) code:? 143\b|signal 15\b", TERMINATED),
    (r"\b(exit|exited with) code:? 12[67]\b|executable file not found|exec format error"
     r"|no such file or directory", NOT_RUNNABLE),
    (r"Essential container.*\bcode:? (?P<code>-?\d+)", ENDED),
    (r"exited with code (?P<code>-?\d+)", ENDED_LOCALLY),
    (r"EssentialContainerExited|Essential container in task exited",
     Card(ENDED.title, "A container without which the task cannot be ended by itself.",
          ENDED.offers)),
    (r"CannotPull", PULL),
    (r"Cannot(Start|Create)ContainerError|CannotStartContainer|ContainerRuntime", CANNOT_START),
    (r"ResourceInitializationError", SETUP),
)  # fmt: skip
