"""How sure may we be: intervals, p-values and verdicts that keep the error rates they state.

Rows of one account, campaign or test are not independent, so intervals resample whole clusters and null distributions permute whole
clusters. Every function takes its randomness as `rng` and answers with a frozen value or an array."""

from within_pipelines.stats.auc import auc_delong, delong_test
from within_pipelines.stats.bca import bca_bootstrap, bca_ends
from within_pipelines.stats.bootstrap import cluster_bootstrap, cluster_mean, paired_difference, resampled_rows
from within_pipelines.stats.cuped import Cuped, cuped_difference
from within_pipelines.stats.equivalence import MarginTest, equivalence, non_inferiority
from within_pipelines.stats.multiple import benjamini_hochberg, holm
from within_pipelines.stats.online_fdr import addis_level, lord_level, saffron_level
from within_pipelines.stats.permutation import PermutationTest, permutation_p_value, permute_clusters, two_sample_permutation
from within_pipelines.stats.power import power_of_means, power_of_proportions, sample_size_means, sample_size_proportions, sequential_power
from within_pipelines.stats.proportions import TwoProportions, two_proportion_z, wilson_interval
from within_pipelines.stats.ratio import ratio_delta, ratio_difference
from within_pipelines.stats.sequential import (
    SequentialTest,
    confidence_sequence,
    empirical_bernstein_sequence,
    mixture_half_width,
    mixture_sprt,
    mixture_wealth,
)
from within_pipelines.stats.two_samples import MeanDifference, paired_t, sign_flip_permutation, welch_t
from within_pipelines.stats.two_way import two_way_bootstrap, two_way_rows
from within_pipelines.stats.verdict import Estimate, Status, Verdict, judge_at_least

__all__ = [
    "Cuped",
    "Estimate",
    "MarginTest",
    "MeanDifference",
    "PermutationTest",
    "SequentialTest",
    "Status",
    "TwoProportions",
    "Verdict",
    "addis_level",
    "auc_delong",
    "bca_bootstrap",
    "bca_ends",
    "benjamini_hochberg",
    "cluster_bootstrap",
    "cluster_mean",
    "confidence_sequence",
    "cuped_difference",
    "delong_test",
    "empirical_bernstein_sequence",
    "equivalence",
    "holm",
    "judge_at_least",
    "lord_level",
    "mixture_half_width",
    "mixture_sprt",
    "mixture_wealth",
    "non_inferiority",
    "paired_difference",
    "paired_t",
    "permutation_p_value",
    "permute_clusters",
    "power_of_means",
    "power_of_proportions",
    "ratio_delta",
    "ratio_difference",
    "resampled_rows",
    "saffron_level",
    "sample_size_means",
    "sample_size_proportions",
    "sequential_power",
    "sign_flip_permutation",
    "two_proportion_z",
    "two_sample_permutation",
    "two_way_bootstrap",
    "two_way_rows",
    "welch_t",
    "wilson_interval",
]
