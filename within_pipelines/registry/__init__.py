"""Which version may serve, and on what evidence?

Values and rules only: versions, the policy of required gates, the artifact folders, the read-only view. The database keeps them."""

from within_pipelines.registry.artifacts import ArtifactStore
from within_pipelines.registry.policy import BESIDE, POLICY_VERSION, REQUIRED_GATES, missing_gates
from within_pipelines.registry.store import RegistryStore
from within_pipelines.registry.version import AliasMove, ModelVersion
from within_pipelines.registry.view import ModelRegistryView

__all__ = [
    "BESIDE",
    "POLICY_VERSION",
    "REQUIRED_GATES",
    "AliasMove",
    "ArtifactStore",
    "ModelRegistryView",
    "ModelVersion",
    "RegistryStore",
    "missing_gates",
]
