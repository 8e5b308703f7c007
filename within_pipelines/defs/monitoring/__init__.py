"""Definitions of the group monitoring."""
