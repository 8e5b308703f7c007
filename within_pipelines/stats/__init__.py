"""How sure may we be: intervals, p-values and verdicts that keep the error rates they state.

Rows of one account, campaign or test are not independent, so intervals resample whole clusters and null distributions permute whole
clusters. Every function takes its randomness as `rng` and answers with a frozen value or an array."""

from within_pipelines.stats.bootstrap import cluster_bootstrap, cluster_mean, paired_difference, resampled_rows
from within_pipelines.stats.multiple import benjamini_hochberg, holm
from within_pipelines.stats.permutation import PermutationTest, permutation_p_value, permute_clusters, two_sample_permutation
from within_pipelines.stats.proportions import TwoProportions, two_proportion_z, wilson_interval
from within_pipelines.stats.sequential import (
    SequentialTest,
    confidence_sequence,
    empirical_bernstein_sequence,
    mixture_half_width,
    mixture_sprt,
    mixture_wealth,
)
from within_pipelines.stats.two_way import two_way_bootstrap, two_way_rows
from within_pipelines.stats.verdict import Estimate, Status, Verdict, judge_at_least

__all__ = [
    "Estimate",
    "PermutationTest",
    "SequentialTest",
    "Status",
    "TwoProportions",
    "Verdict",
    "benjamini_hochberg",
    "cluster_bootstrap",
    "cluster_mean",
    "confidence_sequence",
    "empirical_bernstein_sequence",
    "holm",
    "judge_at_least",
    "mixture_half_width",
    "mixture_sprt",
    "mixture_wealth",
    "paired_difference",
    "permutation_p_value",
    "permute_clusters",
    "resampled_rows",
    "two_proportion_z",
    "two_sample_permutation",
    "two_way_bootstrap",
    "two_way_rows",
    "wilson_interval",
]
