"""What will happen: how well will this creative do, will this account degrade, which metric misbehaves?

Heavy libraries load inside the functions that use them, so importing this room is cheap."""

from within_pipelines.prediction.artifact import Artifact, read_artifact, write_artifact
from within_pipelines.prediction.champion import ChampionSource, champion_folder, set_champion_source
from within_pipelines.prediction.evaluation import Evaluation

__all__ = [
    "Artifact",
    "ChampionSource",
    "Evaluation",
    "champion_folder",
    "read_artifact",
    "set_champion_source",
    "write_artifact",
]
