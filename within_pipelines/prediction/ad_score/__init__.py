"""How well will this creative do beside the ones that it competes with?"""

from within_pipelines.prediction.ad_score.evaluation import evaluate_ad_score, split_ad_score, train_ad_score
from within_pipelines.prediction.ad_score.predictor import AD_SCORE_KINDS, AdScorePredictor
from within_pipelines.prediction.ad_score.scores import AdScore, AdScores

__all__ = ["AD_SCORE_KINDS", "AdScore", "AdScorePredictor", "AdScores", "evaluate_ad_score", "split_ad_score", "train_ad_score"]
