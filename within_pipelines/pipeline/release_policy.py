"""How does a version that passed its gates come to serve: at once, or through a canary? One file says it, a section a model.

    # HOME/release.yaml
    account_health:
      through: canary
      outcomes: replay
      metrics: ["score:0.02"]

Without the file, or without a section, a version that passed its gates serves at once: a fresh deployment has no traffic to try it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.pipeline.canary_feed import told_by_log
from within_pipelines.pipeline.canary_replay import told_by_replay
from within_pipelines.pipeline.training import MODELS
from within_pipelines.validation import STAGES, CanaryMetric, CanarySpec
from within_pipelines.validation.canary import MINIMUM_UNITS, Outcomes
from within_pipelines.validation.late_outcomes import Missing

if TYPE_CHECKING:
    from within_pipelines.pipeline.workspace import Workspace


class ReleaseRule(BaseModel):
    """One model's section. All but `through` says what the canary is like; see `validation.CanarySpec`.

    `outcomes` is `live` (answers of the HTTP API and the outcomes that came back), `replay` (days of the lake after the training, answered
    by both versions) or `recorded` (`within canary record`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    through: Literal["direct", "canary"] = "direct"
    outcomes: Outcomes = "live"
    metrics: tuple[str, ...] = ("score:0.02",)
    shares: tuple[float, ...] = STAGES
    alpha: float = 0.05
    days_per_stage: int = 1
    maturity_days: int = 7
    missing: Missing = "exclude"
    minimum_units: int = MINIMUM_UNITS

    def canary_metrics(self) -> tuple[CanaryMetric, ...]:
        """The success metric, then the guardrails.

        Raises `SampleError` for a text of another form."""
        return tuple(CanaryMetric.of(text) for text in self.metrics)


def release_rules(ws: Workspace) -> Mapping[str, ReleaseRule]:
    """The rule of every model, as HOME/release.yaml declares it.

    Raises `SchemaError` when the file is no YAML, names something unknown or asks for what cannot be measured: a release then waits until
    it is corrected, because promoting at once is not what somebody wanted who wrote it."""
    import yaml

    path = ws.settings.releases
    if not path.is_file():
        return dict.fromkeys(MODELS, ReleaseRule())
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path} is no valid YAML: {error}.") from error
    if not isinstance(values, dict) or (unknown := sorted(str(name) for name in set(values) - set(MODELS))):
        wrong = "is no table of models" if not isinstance(values, dict) else f"names {', '.join(unknown)}"
        raise SchemaError(f"{path} {wrong}; give a section for any of {', '.join(MODELS)}.")
    return {model: _rule(model, values.get(model) or {}, str(path)) for model in MODELS}


def _rule(model: str, section: object, path: str) -> ReleaseRule:
    try:
        rule = ReleaseRule.model_validate(section)
        metrics = rule.canary_metrics()
        # The checks of a canary are those of its specification.
        CanarySpec(
            f"{model}/canary", model, 2, 1, metrics, key="k", shares=rule.shares, alpha=rule.alpha, days_per_stage=rule.days_per_stage,
            maturity_days=rule.maturity_days, missing=rule.missing, minimum_units=rule.minimum_units,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SchemaError(f"{path}: {model}{f'.{place}' if place else ''}: {first['msg']}.") from error
    except SampleError as error:
        raise SchemaError(f"{path}: {model}: {error}") from error
    told = {"live": told_by_log, "replay": told_by_replay}.get(rule.outcomes)
    if rule.through == "canary" and told is not None:
        known = told(model)
        if strange := [metric.name for metric in metrics if metric.name not in known]:
            raise SchemaError(
                f"{path}: {model}: {rule.outcomes} outcomes say nothing about {', '.join(strange)}; they tell "
                f"{', '.join(known) or 'nothing of this model'}. Name these, or give outcomes: recorded."
            )
    return rule
