"""The ``aws`` command line, as an independent client that knows nothing of meshui."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

AWS = Path(__file__).resolve().parents[2] / ".venv-awscli" / "bin" / "aws"
DRIVER = Path(__file__).with_name("outsider_driver.py")


class Cli:
    """Reads what is on AWS at ``url``."""

    def __init__(self, url: str, region: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self._environment = {
            **kept,
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": region,
            "AWS_ACCESS_KEY_ID": "fake",
            "AWS_SECRET_ACCESS_KEY": "fake",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

        self._driver: subprocess.Popen[str] | None = None

    def ask(self, *words: str) -> Any:
        """What ``aws …`` prints, read as JSON."""
        if self._driver is None:
            self._driver = self._started()
        assert self._driver.stdin
        assert self._driver.stdout
        print(json.dumps([*words, "--output", "json"]), file=self._driver.stdin, flush=True)
        told = json.loads(self._driver.stdout.readline())
        assert told["code"] == 0, f"aws {' '.join(words)}: {told['err']}"
        return json.loads(told["out"] or "{}")

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(AWS.with_name("python")), str(DRIVER)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        if self._driver is not None:
            self._driver.communicate()
            self._driver = None

    def stacks(self) -> dict[str, str]:
        """Name → status, without those that are gone."""
        found = self.ask("cloudformation", "describe-stacks")["Stacks"]
        return {s["StackName"]: s["StackStatus"] for s in found}

    def task_sets(self, cluster: str, service: str) -> dict[str, tuple[str, int, str]]:
        """External id → (status, running tasks, image digest of its container ``app``)."""
        found = self.ask("ecs", "describe-services", "--cluster", cluster, "--services", service)
        return {
            each["externalId"]: (each["status"], each["runningCount"], self._digest(each))
            for each in found["services"][0]["taskSets"]
        }

    def _digest(self, task_set: dict[str, Any]) -> str:
        name = task_set["taskDefinition"]
        found = self.ask("ecs", "describe-task-definition", "--task-definition", name)
        containers = found["taskDefinition"]["containerDefinitions"]
        image = next(c["image"] for c in containers if c["name"] == "app")
        return str(image.rpartition("@")[2])

    def weights(self, router: str, outputs: dict[str, str]) -> dict[str, int]:
        """Percent by virtual node or by the tag of a target group; only what has a share."""
        pairs = self._appmesh(outputs) if router == "appmesh" else self._alb(outputs)
        total = sum(weight for _, weight in pairs)
        return {name: round(100 * weight / total) for name, weight in pairs if weight}

    def _appmesh(self, outputs: dict[str, str]) -> list[tuple[str, int]]:
        found = self.ask(
            "appmesh", "describe-route",
            "--mesh-name", outputs["MeshName"],
            "--virtual-router-name", outputs["EchoServerRouter"],
            "--route-name", outputs["EchoServerRoute"],
        )  # fmt: skip
        targets = found["route"]["spec"]["grpcRoute"]["action"]["weightedTargets"]
        return [(each["virtualNode"], each["weight"]) for each in targets]

    def _alb(self, outputs: dict[str, str]) -> list[tuple[str, int]]:
        rule = outputs["EchoServerListenerRule"]
        found = self.ask("elbv2", "describe-rules", "--rule-arns", rule)["Rules"][0]
        groups = found["Actions"][0]["ForwardConfig"]["TargetGroups"]
        arns = [group["TargetGroupArn"] for group in groups]
        told = self.ask("elbv2", "describe-tags", "--resource-arns", *arns)["TagDescriptions"]
        names = {
            each["ResourceArn"]: tag["Value"]
            for each in told
            for tag in each["Tags"]
            if tag["Key"] == "meshui:target"
        }
        return [(names.get(g["TargetGroupArn"], "spare"), g["Weight"]) for g in groups]
