"""Kinds of resource around what runs: roles, secrets, logs, buckets.

Called through the list in cloudformation_registry. Knows no stack.
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakeaws.cloudformation_client import Calls
from tests.fakeaws.cloudformation_kinds import Kind, Made, Place, Props, looked, only, without


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


KINDS: list[type[Kind]] = [Role, InstanceProfile, Secret, LogGroup, Bucket, BucketPolicy]
