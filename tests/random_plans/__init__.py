"""Sagas that nobody thought of, against a model that knows nothing of Temporal."""
