"""Definitions of the group ad_score."""
