"""Consul: the live mirror of its catalog, and the routes and policies that operators keep in its KV."""
