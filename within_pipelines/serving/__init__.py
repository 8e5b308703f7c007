"""How does a request get its answer?

A FastAPI app on top of the registry: the champion answers (a canary or an experiment's arm, for the units that are in it), a shadow answers
beside and is never heard, and what was answered is written down without keeping anybody waiting."""

from within_pipelines.serving.app import create_app
from within_pipelines.serving.keys import SCOPES, KeyRing, NewKey, create_key
from within_pipelines.serving.running import serve
from within_pipelines.serving.settings import ServeSettings
from within_pipelines.serving.spool import Loaded, load_spool, recover_spool
from within_pipelines.serving.traffic import Canary, CanaryShares, Experiment, RegistryTraffic, Routed, TrafficPlan, TrafficSource, route

__all__ = [
    "SCOPES",
    "Canary",
    "CanaryShares",
    "Experiment",
    "KeyRing",
    "Loaded",
    "NewKey",
    "RegistryTraffic",
    "Routed",
    "ServeSettings",
    "TrafficPlan",
    "TrafficSource",
    "create_app",
    "create_key",
    "load_spool",
    "recover_spool",
    "route",
    "serve",
]
