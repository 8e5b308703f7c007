"""WITHIN Pipelines."""
