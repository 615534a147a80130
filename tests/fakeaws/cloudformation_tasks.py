"""Kinds of resource that run things: ECS, ECR, builds.

Called through the list in cloudformation_registry. Knows no stack.
"""

from __future__ import annotations

from typing import Any

from tests.fakeaws.cloudformation_client import Calls, Refused
from tests.fakeaws.cloudformation_kinds import Kind, Made, Place, Props, looked, only, without


class Cluster(Kind):
    type = "AWS::ECS::Cluster"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("ClusterName") or place.name()
        if self._living(call, name):
            raise Refused(f"{name} already exists")
        found = call(
            "ecs",
            "create_cluster",
            ClusterName=name,
            Settings=props.get("ClusterSettings"),
            Configuration=props.get("Configuration"),
            Tags=place.lower_tags(props.get("Tags")),
        )
        return Made(name, {"Arn": found["cluster"]["clusterArn"]})

    def _living(self, call: Calls, name: str) -> list[dict[str, Any]]:
        found = call("ecs", "describe_clusters", Clusters=[name])["clusters"]
        return [one for one in found if one["status"] == "ACTIVE"]

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        call(
            "ecs",
            "update_cluster",
            Cluster=made.physical,
            Settings=new.get("ClusterSettings"),
            Configuration=new.get("Configuration"),
        )
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ecs", "delete_cluster", Cluster=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        living = self._living(call, made.physical)
        return {"ClusterSettings": living[0].get("settings", [])} if living else None


class TaskDefinition(Kind):
    type = "AWS::ECS::TaskDefinition"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = without(props, "Tags", "ProxyConfiguration")
        proxy = props.get("ProxyConfiguration")
        if proxy:
            proxy = {
                **without(proxy, "ProxyConfigurationProperties"),
                "Properties": proxy.get("ProxyConfigurationProperties"),
            }
        asked.setdefault("Family", place.name(255))
        found = call(
            "ecs",
            "register_task_definition",
            **asked,
            ProxyConfiguration=proxy,
            Tags=place.lower_tags(props.get("Tags")),
        )
        arn = found["taskDefinition"]["taskDefinitionArn"]
        return Made(arn, {"TaskDefinitionArn": arn})

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        tags = place.lower_tags(new.get("Tags"))
        call("ecs", "tag_resource", ResourceArn=made.physical, Tags=tags)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ecs", "deregister_task_definition", TaskDefinition=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        arn = made.physical
        found = looked(call, "ecs", "describe_task_definition", TaskDefinition=arn)
        active = found is not None and found["taskDefinition"]["status"] == "ACTIVE"
        return {} if active else None


class Service(Kind):
    type = "AWS::ECS::Service"
    changing = (
        "DesiredCount",
        "TaskDefinition",
        "DeploymentConfiguration",
        "NetworkConfiguration",
        "HealthCheckGracePeriodSeconds",
        "EnableExecuteCommand",
        "LoadBalancers",
        "ServiceRegistries",
        "CapacityProviderStrategy",
        "PlatformVersion",
        "PropagateTags",
        "EnableECSManagedTags",
        "ForceNewDeployment",
    )

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        external = props.get("DeploymentController", {}).get("Type") == "EXTERNAL"
        asked = without(props, "Tags")
        if external and "TaskDefinition" in props:
            raise Refused(
                "Invalid request provided: CreateService error: "
                "task definition must be empty for the EXTERNAL deployment controller"
            )
        asked.setdefault("ServiceName", place.name(255))
        asked.setdefault("DesiredCount", 0 if external else 1)
        found = call("ecs", "create_service", **asked, Tags=place.lower_tags(props.get("Tags")))
        service = found["service"]
        arn = service["serviceArn"]
        return Made(arn, {"Name": service["serviceName"], "ServiceArn": arn})

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        changed = {
            name: new.get(name)
            for name in self.changing
            if old.get(name) != new.get(name) and new.get(name) is not None
        }
        where = {"Cluster": new.get("Cluster"), "Service": made.attributes["Name"]}
        call("ecs", "update_service", **where, **changed)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        where = {"Cluster": props.get("Cluster"), "Service": made.attributes["Name"]}
        call.gone("ecs", "delete_service", **where, Force=True)

    def _seen(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        names = [made.attributes["Name"]]
        found = looked(
            call, "ecs", "describe_services", Cluster=props.get("Cluster"), Services=names
        )
        return found["services"][0] if found and found["services"] else None

    def settled(self, call: Calls, made: Made, props: Props) -> bool:
        service = self._seen(call, made, props)
        if service is None or service.get("deploymentController", {}).get("type") == "EXTERNAL":
            return True
        states = [one.get("rolloutState") for one in service.get("deployments", [])]
        if "FAILED" in states:
            raise Refused(
                "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'."
            )
        return bool(service["runningCount"] >= service["desiredCount"])

    def drained(self, call: Calls, made: Made, props: Props) -> bool:
        service = self._seen(call, made, props)
        return service is None or service["status"] == "INACTIVE"

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        names = [made.attributes["Name"]]
        found = looked(
            call, "ecs", "describe_services", Cluster=props.get("Cluster"), Services=names
        )
        living = [s for s in found["services"] if s["status"] == "ACTIVE"] if found else []
        if not living:
            return None
        return {
            "DesiredCount": living[0]["desiredCount"],
            "TaskDefinition": living[0].get("taskDefinition", ""),
        }


class Repository(Kind):
    type = "AWS::ECR::Repository"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("RepositoryName") or place.name().lower()
        found = call(
            "ecr",
            "create_repository",
            RepositoryName=name,
            **only(
                props, "ImageTagMutability", "ImageScanningConfiguration", "EncryptionConfiguration"
            ),
            Tags=place.tagged(props.get("Tags")),
        )
        thing = found["repository"]
        return Made(name, {"Arn": thing["repositoryArn"], "RepositoryUri": thing["repositoryUri"]})

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        self._policies(call, made.physical, {}, props)

    def _policies(self, call: Calls, name: str, old: Props, new: Props) -> None:
        policy = new.get("RepositoryPolicyText")
        if policy != old.get("RepositoryPolicyText") and policy:
            call("ecr", "set_repository_policy", RepositoryName=name, PolicyText=policy)
        life = new.get("LifecyclePolicy", {}).get("LifecyclePolicyText")
        if life and new.get("LifecyclePolicy") != old.get("LifecyclePolicy"):
            call("ecr", "put_lifecycle_policy", RepositoryName=name, LifecyclePolicyText=life)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        name = {"RepositoryName": made.physical}
        if "ImageTagMutability" in new:
            value = new["ImageTagMutability"]
            call("ecr", "put_image_tag_mutability", **name, ImageTagMutability=value)
        if "ImageScanningConfiguration" in new:
            scan = new["ImageScanningConfiguration"]
            call("ecr", "put_image_scanning_configuration", **name, ImageScanningConfiguration=scan)
        self._policies(call, made.physical, old, new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        force = str(props.get("EmptyOnDelete", False)).lower() == "true"
        call.gone("ecr", "delete_repository", RepositoryName=made.physical, Force=force)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "ecr", "describe_repositories", RepositoryNames=[made.physical])
        if found is None:
            return None
        thing = found["repositories"][0]
        scan = thing.get("imageScanningConfiguration", {}).get("scanOnPush")
        return {
            "ImageTagMutability": thing["imageTagMutability"],
            "ImageScanningConfiguration": {"ScanOnPush": scan},
        }


class BuildProject(Kind):
    type = "AWS::CodeBuild::Project"
    same = (
        "Description",
        "ServiceRole",
        "TimeoutInMinutes",
        "ConcurrentBuildLimit",
        "Artifacts",
        "Environment",
        "LogsConfig",
        "Source",
        "QueuedTimeoutInMinutes",
        "Cache",
        "VpcConfig",
        "EncryptionKey",
    )

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("Name") or place.name()
        tags = place.lower_tags(props.get("Tags"))
        asked = only(props, *self.same)
        if asked["Source"]["Type"] == "NO_SOURCE":  # moto wants a place even then
            asked["Source"] = {"Location": "none", **asked["Source"]}
        found = call("codebuild", "create_project", Name=name, **asked, Tags=tags or None)
        return Made(name, {"Arn": found["project"]["arn"]})

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        call.gone("codebuild", "delete_project", Name=made.physical)  # moto lacks update_project
        return self.create(call, place, {**new, "Name": made.physical})

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("codebuild", "delete_project", Name=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = call("codebuild", "batch_get_projects", Names=[made.physical])
        return {} if found["projects"] else None


KINDS: list[type[Kind]] = [Cluster, TaskDefinition, Service, Repository, BuildProject]
