"""Kinds of resource that run things: ECS, ECR, logs, roles, secrets, builds.

Called through the list in cloudformation_registry. Knows no stack.
"""

from __future__ import annotations

import json
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


class LogGroup(Kind):
    type = "AWS::Logs::LogGroup"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("LogGroupName") or place.name()
        tags = {tag["Key"]: tag["Value"] for tag in place.tagged(props.get("Tags"))}
        call(
            "logs",
            "create_log_group",
            LogGroupName=name,
            KmsKeyId=props.get("KmsKeyId"),
            Tags=tags or None,
        )
        return Made(name, {"Arn": f"arn:aws:logs:{call.region}:{call.account}:log-group:{name}:*"})

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        if "RetentionInDays" in props:
            self._keep(call, made.physical, props)

    def _keep(self, call: Calls, name: str, props: Props) -> None:
        days = props.get("RetentionInDays")
        if days is None:
            call.gone("logs", "delete_retention_policy", LogGroupName=name)
        else:
            call("logs", "put_retention_policy", LogGroupName=name, RetentionInDays=days)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        self._keep(call, made.physical, new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("logs", "delete_log_group", LogGroupName=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = call("logs", "describe_log_groups", LogGroupNamePrefix=made.physical)["logGroups"]
        here = [one for one in found if one["logGroupName"] == made.physical]
        return (
            only(here[0], "retentionInDays") and {"RetentionInDays": here[0]["retentionInDays"]}
            if here
            else None
        )


class Role(Kind):
    type = "AWS::IAM::Role"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("RoleName") or place.name(64)
        found = call(
            "iam",
            "create_role",
            RoleName=name,
            **only(
                props,
                "AssumeRolePolicyDocument",
                "Description",
                "MaxSessionDuration",
                "Path",
                "PermissionsBoundary",
            ),
            Tags=place.tagged(props.get("Tags")),
        )["Role"]
        return Made(name, {"Arn": found["Arn"], "RoleId": found["RoleId"]})

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        self._policies(call, made.physical, {}, props)

    def _policies(self, call: Calls, name: str, old: Props, new: Props) -> None:
        before = {one["PolicyName"]: one for one in old.get("Policies", [])}
        after = {one["PolicyName"]: one for one in new.get("Policies", [])}
        for policy in before.keys() - after.keys():
            call.gone("iam", "delete_role_policy", RoleName=name, PolicyName=policy)
        for policy in after.values():
            call("iam", "put_role_policy", RoleName=name, **policy)
        held, wanted = (set(props.get("ManagedPolicyArns", [])) for props in (old, new))
        for arn in held - wanted:
            call.gone("iam", "detach_role_policy", RoleName=name, PolicyArn=arn)
        for arn in wanted - held:
            call("iam", "attach_role_policy", RoleName=name, PolicyArn=arn)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        trust = new["AssumeRolePolicyDocument"]
        if trust != old["AssumeRolePolicyDocument"]:
            call("iam", "update_assume_role_policy", RoleName=made.physical, PolicyDocument=trust)
        self._policies(call, made.physical, old, new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        self._strip(call, made.physical, props)
        call.gone("iam", "delete_role", RoleName=made.physical)

    def _strip(self, call: Calls, name: str, props: Props) -> None:
        for policy in props.get("Policies", []):
            call.gone("iam", "delete_role_policy", RoleName=name, PolicyName=policy["PolicyName"])
        for arn in props.get("ManagedPolicyArns", []):
            call.gone("iam", "detach_role_policy", RoleName=name, PolicyArn=arn)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "iam", "list_role_policies", RoleName=made.physical)
        if found is None:
            return None
        policies = {
            name: call("iam", "get_role_policy", RoleName=made.physical, PolicyName=name)
            for name in found["PolicyNames"]
        }
        return {"Policies": {name: one["PolicyDocument"] for name, one in policies.items()}}


class InstanceProfile(Kind):
    type = "AWS::IAM::InstanceProfile"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("InstanceProfileName") or place.name()
        found = call(
            "iam", "create_instance_profile", InstanceProfileName=name, Path=props.get("Path")
        )
        return Made(name, {"Arn": found["InstanceProfile"]["Arn"]})

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        name = {"InstanceProfileName": made.physical}
        for role in props["Roles"]:
            call("iam", "add_role_to_instance_profile", **name, RoleName=role)

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        name = {"InstanceProfileName": made.physical}
        for role in props["Roles"]:
            call.gone("iam", "remove_role_from_instance_profile", **name, RoleName=role)
        call.gone("iam", "delete_instance_profile", **name)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        name = made.physical
        found = looked(call, "iam", "get_instance_profile", InstanceProfileName=name)
        return None if found is None else {}


class Secret(Kind):
    type = "AWS::SecretsManager::Secret"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("Name") or place.name()
        found = call(
            "secretsmanager",
            "create_secret",
            Name=name,
            **only(props, "Description", "KmsKeyId"),
            SecretString=self._value(call, props),
            Tags=place.tagged(props.get("Tags")),
        )
        return Made(found["ARN"], {"Id": found["ARN"]})

    def _value(self, call: Calls, props: Props) -> str | None:
        wish = props.get("GenerateSecretString")
        if wish is None:
            return props.get("SecretString")
        asked = without(wish, "SecretStringTemplate", "GenerateStringKey")
        word: str = call("secretsmanager", "get_random_password", **asked)["RandomPassword"]
        if "GenerateStringKey" not in wish:
            return word
        return json.dumps(
            {**json.loads(wish.get("SecretStringTemplate", "{}")), wish["GenerateStringKey"]: word}
        )

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        call(
            "secretsmanager",
            "update_secret",
            SecretId=made.physical,
            **only(new, "Description", "SecretString"),
        )
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone(
            "secretsmanager",
            "delete_secret",
            SecretId=made.physical,
            ForceDeleteWithoutRecovery=True,
        )

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "secretsmanager", "describe_secret", SecretId=made.physical)
        if found is None or "DeletedDate" in found:
            return None
        return {"Description": found.get("Description", "")}


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


class Bucket(Kind):
    type = "AWS::S3::Bucket"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        name = props.get("BucketName") or place.name(63).lower()
        where = {"LocationConstraint": call.region} if call.region != "us-east-1" else None
        call("s3", "create_bucket", Bucket=name, CreateBucketConfiguration=where)
        return Made(name, {"Arn": f"arn:aws:s3:::{name}", "DomainName": f"{name}.s3.amazonaws.com"})

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("s3", "delete_bucket", Bucket=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        names = [one["Name"] for one in call("s3", "list_buckets")["Buckets"]]
        return {} if made.physical in names else None


class BucketPolicy(Kind):
    type = "AWS::S3::BucketPolicy"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        call("s3", "put_bucket_policy", Bucket=props["Bucket"], Policy=props["PolicyDocument"])
        return Made(props["Bucket"])

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        return self.create(call, place, new)

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("s3", "delete_bucket_policy", Bucket=props["Bucket"])


KINDS: list[type[Kind]] = [
    Cluster,
    TaskDefinition,
    Service,
    Repository,
    LogGroup,
    Role,
    InstanceProfile,
    Secret,
    BuildProject,
    Bucket,
    BucketPolicy,
]
