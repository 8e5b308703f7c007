"""Definitions of the group release."""
