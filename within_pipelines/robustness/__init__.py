"""Does a model still answer, and answer alike, when its input is a little wrong?"""

from within_pipelines.robustness.answers import Answers, Predict, ask

__all__ = ["Answers", "Predict", "ask"]
