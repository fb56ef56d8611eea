"""Requests and responses that break proxies, by class, each with the rule that says why and what has to come of it."""
