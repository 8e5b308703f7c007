"""Definitions of the group account_health."""
