"""Hundreds of open sagas, while everything around them is killed: ``make chaos``."""
