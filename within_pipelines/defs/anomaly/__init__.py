"""Definitions of the group anomaly."""
