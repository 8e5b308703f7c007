"""Is the data fit to use?

Great Expectations suites over the facts: critical expectations stop what comes after, warnings are shown."""

from within_pipelines.quality.facts import check_facts
from within_pipelines.quality.feeds import BLOCKING, faulty_feeds
from within_pipelines.quality.report import CRITICAL, WARNING, ExpectationResult, QualityReport

__all__ = ["BLOCKING", "CRITICAL", "WARNING", "ExpectationResult", "QualityReport", "check_facts", "faulty_feeds"]
