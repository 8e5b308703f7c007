"""Keep the stores small: merge the lake's files, forget tables that nothing needs any more, remove what killed writers left."""

from __future__ import annotations

from dataclasses import dataclass

from within_pipelines.files import remove_temporaries
from within_pipelines.pipeline.tables import FEATURE_TABLE
from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Tidied:
    """How many derived tables were forgotten and how many leftovers of killed writers were removed."""

    tables_forgotten: int
    temporaries_removed: int


def tidy(ws: Workspace) -> Tidied:
    """Compact the lake; forget feature tables but the newest, and training sets but those of registered versions and the newest.

    Answers do not change: versions are read from the lake by knowledge time, and derived tables can be computed again. Artifacts are
    never touched. Run it while no other job runs: it removes temporary files of writers."""
    ws.lake.compact()
    forgotten = 0
    for model in MODELS:
        kept = {version.spec_sha256 for version in ws.registry.versions(model)}
        forgotten += ws.derived.forget(FEATURE_TABLE[model], keep=())
        forgotten += ws.derived.forget(f"{model}_training_set", keep=kept)
    removed = sum(remove_temporaries(root) for root in (ws.derived.root, ws.settings.artifacts) if root.is_dir())
    return Tidied(forgotten, removed)
