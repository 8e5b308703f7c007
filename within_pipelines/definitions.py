"""What Dagster loads (`workspace.yaml` names this module)."""

from within_pipelines.defs.catalogue import defs

__all__ = ["defs"]
